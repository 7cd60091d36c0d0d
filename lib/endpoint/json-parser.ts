import type { FastifyInstance, FastifyRequest } from 'fastify'
import { InvalidRequestError } from '../base/errors.js'

type Done = (error: Error | null, body?: unknown) => void

/** Reads bodies as the app wants them: it says what becomes of keys such as `__proto__`. */
export function createJsonParser (app: FastifyInstance): (request: FastifyRequest, body: string, done: Done) => void {
  const { onProtoPoisoning = 'error', onConstructorPoisoning = 'error' } = app.initialConfig
  const parse = app.getDefaultJsonParser(onProtoPoisoning, onConstructorPoisoning)

  return function parseBody (request, body, done) {
    // Some clients put a content type on every request, those without a body among them.
    if (body === '' && request.method === 'DELETE') {
      done(null)
      return
    }
    parse(request, body, function tellWhy (error: Error | null, value: unknown) {
      // Fastify has one error for both.
      if (error !== null && isJson(body)) done(new InvalidRequestError('the keys "__proto__" and "constructor.prototype" are not allowed in the body'))
      else done(error, value)
    })
  }
}

function isJson (body: string): boolean {
  try {
    JSON.parse(body)
    return true
  } catch {
    return false
  }
}
