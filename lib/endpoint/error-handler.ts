import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { SessionError } from '../base/errors.js'
import type { Reject } from '../http/rejection.js'
import { removeEventHeaders } from './transport/event-stream.js'

type ErrorHandler = (this: FastifyInstance, error: FastifyError, request: FastifyRequest, reply: FastifyReply) => FastifyReply

/**
 * Answers in JSON-RPC what is the client's fault: a body that cannot be read,
 * a session that cannot be had. Everything else is for the app's own handler.
 */
export function createErrorHandler (reject: Reject): ErrorHandler {
  return function handleError (error, request, reply) {
    // Of the answer that could not be sent. The session that it named does not exist.
    reply.removeHeader('mcp-session-id')
    removeEventHeaders(reply)
    const rejection = toRejection(error)
    if (rejection === undefined) throw error
    return reject(request, reply, rejection)
  }
}

function toRejection (error: FastifyError): SessionError | undefined {
  const { code, statusCode = 500 } = error
  const ours = code?.startsWith('FST_ERR_MCP_SESSION_') || code?.startsWith('FST_ERR_CTP_')
  if (!ours || statusCode === 500) return undefined
  return Object.assign(error, { statusCode })
}
