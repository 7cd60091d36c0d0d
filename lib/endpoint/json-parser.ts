import type { FastifyInstance, FastifyRequest } from 'fastify'
import { explainUnreadable } from './unreadable-body.js'

type Done = (error: Error | null, body?: unknown) => void

/** A parser that treats keys such as `__proto__` as the app has told Fastify to, and says in JSON-RPC what is wrong. */
export function createJsonParser (app: FastifyInstance): (request: FastifyRequest, body: string, done: Done) => void {
  const { onProtoPoisoning = 'error', onConstructorPoisoning = 'error' } = app.initialConfig
  const parse = app.getDefaultJsonParser(onProtoPoisoning, onConstructorPoisoning)

  return function parseBody (request, body, done) {
    // Some clients put a content type on every request, those without a body among them.
    if (body === '' && request.method === 'DELETE') done(null)
    else parse(request, body, (error, value) => done(error === null ? null : explainUnreadable(body), value))
  }
}
