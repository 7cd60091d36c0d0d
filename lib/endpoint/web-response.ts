import type { FastifyReply } from 'fastify'
import { setImmediate } from 'node:timers/promises'
import type { ReadableStream } from 'node:stream/web'
import { EventStream, type Barrier } from './event-stream.js'

export interface WebResponseOptions {
  /** Milliseconds between two comments on a stream; 0: none. */
  readonly heartbeatInterval: number
  /** What has to be waited for before anything goes out; what it rejects with ends the answer. */
  readonly barrier?: Barrier | undefined
}

/**
 * Answers with a web `Response` as an ordinary Fastify reply, so that hooks run
 * and headers set by other plugins are kept.
 */
export async function sendWebResponse (reply: FastifyReply, response: Response, options: WebResponseOptions): Promise<FastifyReply> {
  reply.code(response.status)
  for (const [name, value] of response.headers) {
    // The connection is the business of Node.js, and HTTP/2 has no such header.
    if (name !== 'connection') reply.header(name, value)
  }
  if (response.headers.get('content-type') === 'text/event-stream' && response.body !== null) {
    return sendEvents(reply, response.body, options)
  }
  const body = response.body === null ? undefined : Buffer.from(await response.arrayBuffer())
  await options.barrier?.()
  return reply.send(body)
}

// Most calls are answered before the event loop turns: they need no stream, and cost half without one.
async function sendEvents (reply: FastifyReply, body: ReadableStream<Uint8Array>, options: WebResponseOptions): Promise<FastifyReply> {
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
