import type { FastifyReply } from 'fastify'
import { setImmediate } from 'node:timers/promises'
import type { ReadableStream, ReadableStreamDefaultReader, ReadableStreamReadResult } from 'node:stream/web'
import { EventStream, sendEvents, type EventStreamOptions } from './transport/event-stream.js'

type ByteReader = ReadableStreamDefaultReader<Uint8Array>
type ByteRead = Promise<ReadableStreamReadResult<Uint8Array>>

const EVENTS = /^text\/event-stream\s*(?:;|$)/i

/**
 * Answers with a web `Response` as an ordinary Fastify reply, so that hooks run
 * and headers set by other plugins are kept.
 */
export async function sendWebResponse (reply: FastifyReply, response: Response, options: EventStreamOptions): Promise<void> {
  reply.code(response.status)
  for (const [name, value] of response.headers) {
    // The connection is the business of Node.js, and HTTP/2 has no such header.
    if (name !== 'connection') reply.header(name, value)
  }
  const { body } = response
  if (body !== null && EVENTS.test(response.headers.get('content-type') ?? '')) {
    await sendWebEvents(reply, body, options)
  } else {
    reply.send(body === null ? undefined : Buffer.from(await response.arrayBuffer()))
  }
}

// What ends before the event loop turns needs no stream, and costs half without one.
async function sendWebEvents (reply: FastifyReply, body: ReadableStream<Uint8Array>, options: EventStreamOptions): Promise<void> {
  const reader = body.getReader()
  const chunks: Uint8Array[] = []
  const turn = setImmediate(undefined)
  for (;;) {
    const next = reader.read()
    const result = await Promise.race([next, turn])
    if (result === undefined) return pump(reply, reader, next, chunks, options)
    if (result.done) {
      reply.send(Buffer.concat(chunks))
      return
    }
    chunks.push(result.value)
  }
}

async function pump (reply: FastifyReply, reader: ByteReader, begun: ByteRead, first: Uint8Array[], options: EventStreamOptions): Promise<void> {
  const stream = new EventStream(options)
  for (const chunk of first) stream.write(chunk)
  // This is how the source learns that the client has gone.
  stream.once('close', () => { reader.cancel().catch(() => {}) })
  sendEvents(reply, stream)
  try {
    for (let next = await begun; !next.done; next = await reader.read()) stream.write(next.value)
    stream.end()
  } catch {
    // Nobody must take what has come so far for all of it.
    stream.fail()
  }
}
