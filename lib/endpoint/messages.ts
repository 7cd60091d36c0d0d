import {
  CancelledNotificationSchema, isInitializeRequest, isJSONRPCRequest, JSONRPCMessageSchema, LATEST_PROTOCOL_VERSION,
  SUPPORTED_PROTOCOL_VERSIONS, type InitializeRequest, type RequestId
} from '@modelcontextprotocol/sdk/types.js'
import type { FastifyRequest } from 'fastify'
import { InvalidRequestError, MissingSessionIdError, type SessionError } from '../base/errors.js'

/** The ids of the requests in a body: one message, or a batch of them. */
export function readRequestIds (body: unknown): RequestId[] {
  const ids: RequestId[] = []
  for (const message of listMessages(body)) {
    if (typeof message !== 'object' || message === null || !('method' in message) || !('id' in message)) continue
    if (typeof message.id === 'string' || typeof message.id === 'number') ids.push(message.id)
  }
  return ids
}

/** The ids of the requests that a body, one message or a batch, says are cancelled. */
export function readCancelledIds (body: unknown): RequestId[] {
  return listMessages(body).flatMap((message) => {
    const { data } = CancelledNotificationSchema.safeParse(message)
    return data?.params.requestId ?? []
  })
}

/** The JSON of the responses among the messages of an SSE stream. */
export function readAnswers (events: string): string[] {
  return events.split('\n')
    .filter((line) => line.startsWith('data: {'))
    .map((line) => line.slice('data: '.length))
    .filter((message) => !('method' in JSON.parse(message)))
}

/** Whether a body opens a session. One without an id would be a notification, and open a session that nobody hears of. */
export function isOpening (body: unknown): body is InitializeRequest {
  return isJSONRPCRequest(body) && isInitializeRequest(body)
}

// Well-formed or not.
function hasMethod (body: unknown, method: string): boolean {
  return listMessages(body).some((message) => (
    typeof message === 'object' && message !== null && 'method' in message && message.method === method
  ))
}

/**
 * The revision that the SDK's server agrees to when a client asks for this one.
 *
 * @see https://modelcontextprotocol.io/specification/2025-11-25/basic/lifecycle#version-negotiation
 */
export function negotiateRevision (requested: string): string {
  return SUPPORTED_PROTOCOL_VERSIONS.includes(requested) ? requested : LATEST_PROTOCOL_VERSION
}

/** What is wrong with a body that comes without a session and does not open one. */
export function explainMissingSession (body: unknown): SessionError {
  if (hasMethod(body, 'initialize')) {
    return new InvalidRequestError(Array.isArray(body)
      ? 'initialize must be sent on its own'
      : 'initialize needs an id, protocolVersion, capabilities and clientInfo')
  }
  const messages = listMessages(body)
  return messages.length > 0 && messages.every((message) => JSONRPCMessageSchema.safeParse(message).success)
    ? new MissingSessionIdError()
    : new InvalidRequestError('not a JSON-RPC message')
}

/** Whether the `Accept` header of a request names all of these media types, as the transport demands. */
export function accepts ({ headers }: FastifyRequest, ...types: string[]): boolean {
  return types.every((type) => headers.accept?.includes(type))
}

// A body is one message, or a batch of them.
function listMessages (body: unknown): unknown[] {
  return Array.isArray(body) ? body : [body]
}
