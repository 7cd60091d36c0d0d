import { ParseError, type SessionError } from '../base/errors.js'

/**
 * What is wrong with a body that the JSON parser of Fastify does not take. Fastify has the same error for a body that is not
 * JSON and for a key that is not allowed, so they are told apart here.
 */
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
