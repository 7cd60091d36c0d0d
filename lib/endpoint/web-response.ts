import type { FastifyReply } from 'fastify'
import { setImmediate } from 'node:timers/promises'
import type { ReadableStream } from 'node:stream/web'
import { EventStream } from './event-stream.js'

/**
 * Answers with a web `Response` as an ordinary Fastify reply, so that hooks run
 * and headers set by other plugins are kept.
 *
 * @param heartbeatInterval milliseconds between two comments on a stream; 0: none
 */
export async function sendWebResponse (reply: FastifyReply, response: Response, heartbeatInterval: number): Promise<FastifyReply> {
  reply.code(response.status)
  for (const [name, value] of response.headers) {
    // The connection is the business of Node.js, and HTTP/2 has no such header.
    if (name !== 'connection') reply.header(name, value)
  }
  if (response.body === null) return reply.send()
  if (response.headers.get('content-type') !== 'text/event-stream') {
    return reply.send(Buffer.from(await response.arrayBuffer()))
  }
  return sendEvents(reply, response.body, heartbeatInterval)
}

// Most calls are answered before the event loop turns: they need no stream, and cost half without one.
async function sendEvents (reply: FastifyReply, body: ReadableStream<Uint8Array>, heartbeatInterval: number): Promise<FastifyReply> {
  const reader = body.getReader()
  const chunks: Uint8Array[] = []
  const turn = setImmediate(undefined)
  for (;;) {
    const next = reader.read()
    const result = await Promise.race([next, turn])
    if (result === undefined) return reply.send(new EventStream(reader, chunks, next, heartbeatInterval))
    if (result.done) return reply.send(Buffer.concat(chunks))
    chunks.push(result.value)
  }
}
