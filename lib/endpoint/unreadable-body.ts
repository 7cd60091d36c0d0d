import { ParseError, type SessionError } from '../base/errors.js'

/** What is wrong with a body that the JSON parser of Fastify does not take. It has one error for all but the first. */
export function explainUnreadable (body: string): SessionError {
  if (body === '') return new ParseError('the body is empty')
  if (isJson(body)) return new ParseError('the body has a key that is not allowed, __proto__ or constructor.prototype')
  return new ParseError('the body is not JSON')
}

function isJson (body: string): boolean {
  try {
    // Fastify passes over a byte order mark.
    JSON.parse(body.replace(/^\uFEFF/, ''))
    return true
  } catch {
    return false
  }
}
