import { asError } from '../../base/safe-call.js'

// As Redis quotes a command that it does not know.
const QUOTED = /, with args beginning with: .*$/s

/**
 * What went wrong, without what was sent: ioredis keeps the arguments of a command with its errors, and here they are
 * session ids, who is calling and metadata. Serializers of logs write all that an error has, those of its causes too.
 */
export function withoutArguments (reason: unknown): Error {
  const { name, message } = asError(reason)
  const error = new Error(message.replace(QUOTED, ''))
  error.name = name
  return error
}
