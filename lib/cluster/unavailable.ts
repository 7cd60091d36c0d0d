import { ClusterUnavailableError, NotReplicatedError, type SessionError } from '../base/errors.js'
import { NotAcknowledgedError } from './directory.js'

/** How a caller is told that the directory did not do what the answer would follow from. */
export function toUnavailable (error: unknown): SessionError {
  return error instanceof NotAcknowledgedError ? new NotReplicatedError() : new ClusterUnavailableError()
}
