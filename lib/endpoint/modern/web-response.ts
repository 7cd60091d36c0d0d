import type { FastifyReply } from 'fastify'
import { setImmediate } from 'node:timers/promises'
import type { ReadableStream, ReadableStreamDefaultReader, ReadableStreamReadResult } from 'node:stream/web'
import { asError } from '../../base/safe-call.js'
import type { HeardAnswer } from './heard-answer.js'
import { EventStream, sendEvents, type EventStreamOptions } from '../transport/event-stream.js'

export interface WebAnswerOptions extends EventStreamOptions {
  /** Is given what goes to the client. Undefined: nobody wants to know. */
  readonly heard?: HeardAnswer | undefined
}

type ByteReader = ReadableStreamDefaultReader<Uint8Array>
type ByteRead = Promise<ReadableStreamReadResult<Uint8Array>>

const EVENTS = /^text\/event-stream\s*(?:;|$)/i

/**
 * Answers with a web `Response` as an ordinary Fastify reply, so that hooks run
 * and headers set by other plugins are kept.
 */
export async function sendWebResponse (reply: FastifyReply, response: Response, options: WebAnswerOptions): Promise<void> {
  // The reply may have been sent by somebody else, such as a timeout of the app.
  if (reply.sent) return
  setHead(reply, response)
  const { body } = response
  if (body !== null && hasEvents(response)) {
    await sendWebEvents(reply, body, options)
  } else {
    const answer = body === null ? undefined : Buffer.from(await response.arrayBuffer())
    if (answer !== undefined) options.heard?.hearJson(answer)
    reply.send(answer)
  }
}

/** Sets status and headers to those of a response. */
export function setHead (reply: FastifyReply, { status, headers }: Response): void {
  reply.code(status)
  for (const [name, value] of headers) {
    // Node.js looks after the connection itself, and HTTP/2 has no such header.
    if (name !== 'connection') reply.header(name, value)
  }
}

export function hasEvents ({ headers }: Response): boolean {
  return EVENTS.test(headers.get('content-type') ?? '')
}

// A stream that has ended before the event loop turns is sent as one piece, which costs half as much.
async function sendWebEvents (reply: FastifyReply, body: ReadableStream<Uint8Array>, options: WebAnswerOptions): Promise<void> {
  const reader = body.getReader()
  const chunks: Uint8Array[] = []
  const turn = setImmediate(undefined)
  for (;;) {
    const next = reader.read()
    const result = await Promise.race([next, turn])
    if (result === undefined) return pump(reply, reader, next, chunks, options)
    if (result.done) {
      const events = Buffer.concat(chunks)
      options.heard?.hearEvents(events)
      reply.send(events)
      return
    }
    chunks.push(result.value)
  }
}

async function pump (
  reply: FastifyReply,
  reader: ByteReader,
  begun: ByteRead,
  first: Uint8Array[],
  options: WebAnswerOptions
): Promise<void> {
  const stream = new EventStream(options)
  const { heard } = options
  for (const chunk of first) {
    heard?.hearEvents(chunk)
    stream.write(chunk)
  }
  sendEvents(reply, stream)
  await pipeEvents(reply, reader, begun, stream, heard)
}

/** Writes what is read to the stream of a reply, until either is over. */
export async function pipeEvents (
  { log }: FastifyReply,
  reader: ByteReader,
  begun: ByteRead,
  stream: EventStream,
  heard: HeardAnswer | undefined
): Promise<void> {
  // Tells the source that the client has gone.
  stream.once('close', () => { reader.cancel().catch(() => {}) })
  try {
    for (let next = await begun; !next.done; next = await reader.read()) {
      heard?.hearEvents(next.value)
      stream.write(next.value)
    }
    stream.end()
  } catch (reason) {
    if (!stream.isOver) log.error(asError(reason), 'The answer to a client without a session has broken off')
    // So that the client does not take what has come so far for all of it.
    stream.fail()
  }
}
