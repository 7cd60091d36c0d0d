import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { SessionError } from '../base/errors.js'
import { passOn, type Rejections } from '../http/rejection.js'
import { removeEventHeaders } from './transport/event-stream.js'

type ErrorHandler = (
  this: FastifyInstance,
  error: FastifyError,
  request: FastifyRequest,
  reply: FastifyReply
) => FastifyReply | Promise<FastifyReply>

/**
 * Answers in JSON-RPC what is the client's fault: a body that cannot be read,
 * a session that cannot be had. Everything else is for the app's own handler.
 */
export function createErrorHandler (rejections: Rejections): ErrorHandler {
  return function handleError (error, request, reply) {
    // Headers of the answer that could not be sent. The session that it names does not exist.
    reply.removeHeader('mcp-session-id')
    removeEventHeaders(reply)
    const rejection = toRejection(error)
    return rejection === undefined ? passOn(error) : rejections.answer(request, reply, rejection)
  }
}

function toRejection (error: FastifyError): SessionError | undefined {
  const { statusCode = 500 } = error
  // A string, because the code of a DOMException is a number.
  const code = String(error.code)
  const isOurs = code.startsWith('FST_ERR_MCP_SESSION_') || code.startsWith('FST_ERR_CTP_')
  return isOurs && statusCode !== 500 ? Object.assign(error, { statusCode }) : undefined
}
