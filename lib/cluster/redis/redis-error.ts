import { asError } from '../../base/safe-call.js'

// How Redis quotes the arguments of a command that it does not know.
const QUOTED = /, with args beginning with: .*$/s

/**
 * An error of ioredis without the arguments of its command, which are session ids, principals and metadata. A serializer of a
 * log would write them, for it writes all properties of an error and of its causes.
 */
export function withoutArguments (reason: unknown): Error {
  const failure = asError(reason)
  const error = new Error(messageOf(failure).replace(QUOTED, ''))
  error.name = failure.name
  return error
}

// The message of an error. That of Node.js for a name with several addresses has none: its causes have.
function messageOf (error: Error): string {
  return error instanceof AggregateError ? error.errors.map((each) => asError(each).message).join(', ') : error.message
}
