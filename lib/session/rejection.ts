import type { FastifyReply, FastifyRequest } from 'fastify'
import { getRetryAfter, toJsonRpcError, type SessionError } from '../errors.js'
import { asError } from '../run-guarded.js'

/** The body of a rejection. */
export type ErrorResponseBuilder = (request: FastifyRequest, error: SessionError) => unknown

/** Answers a request with what is wrong with it. */
export type Reject = (request: FastifyRequest, reply: FastifyReply, error: SessionError) => FastifyReply

export function createReject (buildBody: ErrorResponseBuilder = buildJsonRpcBody): Reject {
  return function reject (request, reply, error) {
    const seconds = getRetryAfter(error)
    if (seconds !== undefined) reply.header('retry-after', seconds)
    reply.code(error.statusCode)
    try {
      return reply.send(buildBody(request, error))
    } catch (reason) {
      return reply.send(asError(reason))
    }
  }
}

function buildJsonRpcBody (_request: FastifyRequest, error: SessionError): unknown {
  return toJsonRpcError(error)
}
