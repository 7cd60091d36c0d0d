import type { FastifyReply, FastifyRequest } from 'fastify'
import { setImmediate } from 'node:timers/promises'
import type { ReadableStream } from 'node:stream/web'
import { onResponseEnd } from '../http/response-end.js'
import { EventStream, type EventStreamOptions } from './transport/event-stream.js'
import { readAnswers } from './messages.js'
import type { ResponseMode } from './options.js'

export interface AnswerOptions extends EventStreamOptions {
  readonly responseMode: ResponseMode
}

/**
 * Answers with a web `Response` as an ordinary Fastify reply, so that hooks run
 * and headers set by other plugins are kept.
 */
export async function sendWebResponse (reply: FastifyReply, response: Response, options: EventStreamOptions): Promise<FastifyReply> {
  reply.code(response.status)
  for (const [name, value] of response.headers) {
    // The connection is the business of Node.js, and HTTP/2 has no such header.
    if (name !== 'connection') reply.header(name, value)
  }
  if (response.body !== null && isEventStream(response)) return sendEvents(reply, response.body, options)
  const body = response.body === null ? undefined : Buffer.from(await response.arrayBuffer())
  await options.barrier?.()
  return reply.send(body)
}

/** Answers a POST, with JSON instead of a stream if the endpoint is to. */
export async function sendAnswer (request: FastifyRequest, reply: FastifyReply, response: Response, options: AnswerOptions): Promise<FastifyReply> {
  if (options.responseMode !== 'json' || response.body === null || !isEventStream(response)) {
    return sendWebResponse(reply, response, options)
  }
  const events = await readToEnd(request, reply, response.body)
  const answers = readAnswers(events.toString())
  // Without an answer its tool has let go of the stream, and the client is to come back for the rest.
  if (answers.length === 0) return sendWebResponse(reply, new Response(events, response), options)
  await options.barrier?.()
  const sessionId = response.headers.get('mcp-session-id')
  if (sessionId !== null) reply.header('mcp-session-id', sessionId)
  return reply.type('application/json').send(answers.length === 1 ? answers[0] : `[${answers.join()}]`)
}

function isEventStream ({ headers }: Response): boolean {
  return headers.get('content-type') === 'text/event-stream'
}

// The transport's own JSON mode leaves a call without an answer when its session
// ends, and forgets none that it has answered: typescript-sdk issue 2559.
async function readToEnd (request: FastifyRequest, reply: FastifyReply, body: ReadableStream<Uint8Array>): Promise<Buffer<ArrayBuffer>> {
  const reader = body.getReader()
  // This is how the transport learns that the client has gone.
  onResponseEnd(request, reply, () => { reader.cancel().catch(() => {}) })
  const chunks: Uint8Array[] = []
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return Buffer.concat(chunks)
    chunks.push(value)
  }
}

// Most calls are answered before the event loop turns: they need no stream, and cost half without one.
async function sendEvents (reply: FastifyReply, body: ReadableStream<Uint8Array>, options: EventStreamOptions): Promise<FastifyReply> {
  const reader = body.getReader()
  const chunks: Uint8Array[] = []
  const turn = setImmediate(undefined)
  for (;;) {
    const next = reader.read()
    const result = await Promise.race([next, turn])
    if (result === undefined) return reply.send(new EventStream(reader, chunks, next, options))
    if (result.done) {
      await options.barrier?.()
      return reply.send(Buffer.concat(chunks))
    }
    chunks.push(result.value)
  }
}
