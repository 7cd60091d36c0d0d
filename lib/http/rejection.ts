import type { FastifyReply, FastifyRequest } from 'fastify'
import { retryAfterOf, toJsonRpcError, type SessionError } from '../base/errors.js'
import { asError } from '../base/safe-call.js'

/** The body of a rejection, or a promise of it. What it throws or rejects with is a fault of the app, and answers 500. */
export type ErrorResponseBuilder = (request: FastifyRequest, error: SessionError) => unknown

/** Answers a request with what is wrong with it. */
export type Reject = (request: FastifyRequest, reply: FastifyReply, error: SessionError) => FastifyReply

export function createReject (buildBody?: ErrorResponseBuilder): Reject {
  return function reject (request, reply, error) {
    if (buildBody === undefined) {
      // As a string: the response schemas and serializers of the route are for its own bodies.
      return prepare(reply, error).type('application/json; charset=utf-8').send(JSON.stringify(toJsonRpcError(error)))
    }
    sendBuilt(buildBody, request, reply, error).catch((reason: Error) => reply.send(reason))
    return reply
  }
}

// The status comes after the body: when that cannot be built, it is another one.
async function sendBuilt (buildBody: ErrorResponseBuilder, request: FastifyRequest, reply: FastifyReply, error: SessionError): Promise<void> {
  try {
    const body = await buildBody(request, error)
    prepare(reply, error).send(body)
  } catch (reason) {
    throw asError(reason)
  }
}

function prepare (reply: FastifyReply, error: SessionError): FastifyReply {
  const seconds = retryAfterOf(error)
  if (seconds !== undefined) reply.header('retry-after', seconds)
  return reply.code(error.statusCode)
}
