import type { FastifyReply, FastifyRequest } from 'fastify'
import { retryAfterOf, toJsonRpcError, type SessionError } from '../base/errors.js'
import { asError } from '../base/safe-call.js'

/** The body of a rejection. */
export type ErrorResponseBuilder = (request: FastifyRequest, error: SessionError) => unknown

/** Answers a request with what is wrong with it. */
export type Reject = (request: FastifyRequest, reply: FastifyReply, error: SessionError) => FastifyReply

export function createReject (buildBody?: ErrorResponseBuilder): Reject {
  return function reject (request, reply, error) {
    const seconds = retryAfterOf(error)
    if (seconds !== undefined) reply.header('retry-after', seconds)
    if (buildBody === undefined) {
      // As a string: the response schemas and serializers of the route are for its own bodies.
      return reply.code(error.statusCode).type('application/json; charset=utf-8').send(JSON.stringify(toJsonRpcError(error)))
    }
    try {
      // Before the status: a builder that throws is a fault of the app, and answers 500.
      const body = buildBody(request, error)
      return reply.code(error.statusCode).send(body)
    } catch (reason) {
      return reply.send(asError(reason))
    }
  }
}
