import type { FastifyReply } from 'fastify'
import { Readable } from 'node:stream'
import type { PacedSink } from './outlet.js'

export interface EventStreamOptions {
  /** Milliseconds; 0: no heartbeats. */
  readonly heartbeatInterval: number
  /** Bytes that may wait for the reader. */
  readonly maxBuffered: number
  /** Called at every heartbeat. */
  readonly onHeartbeat?: (() => void) | undefined
  /** Called when the stream is cut because its reader takes too little. */
  readonly onCut?: ((waiting: number) => void) | undefined
}

// A line that starts with a colon is a comment: https://html.spec.whatwg.org/multipage/server-sent-events.html
const COMMENT = Buffer.from(':\n\n')

// What Node.js 20 has for byte streams.
const HIGH_WATER_MARK = 16_384

// Bytes of one write to the socket, of which nobody can see how much is taken before all of it is: so a slow reader can be
// told from one that takes nothing.
const LARGEST_PIECE = 65_536

/**
 * Server-sent events on their way to a client, as the payload of a Fastify reply.
 *
 * What waits for the reader is bounded: when more than `maxBuffered` bytes wait, the next message cuts the stream, even if the
 * reader still takes a little now and then. A stream is also cut when its reader has taken nothing for a whole heartbeat: that
 * one has gone without a word.
 */
export class EventStream extends Readable implements PacedSink {
  readonly #maxBuffered: number
  readonly #onHeartbeat: (() => void) | undefined
  readonly #onCut: ((waiting: number) => void) | undefined
  readonly #heartbeat: NodeJS.Timeout | undefined
  #ended = false
  #pushed = 0
  #takenAtLastBeat = -1
  #onTaken: (() => void) | undefined

  constructor ({ heartbeatInterval, maxBuffered, onHeartbeat, onCut }: EventStreamOptions) {
    super({ highWaterMark: Math.min(HIGH_WATER_MARK, maxBuffered) })
    this.#maxBuffered = maxBuffered
    this.#onHeartbeat = onHeartbeat
    this.#onCut = onCut
    if (heartbeatInterval === 0) return
    this.#heartbeat = setInterval(() => this.#beat(), heartbeatInterval)
    this.#heartbeat.unref()
  }

  /** Whether nothing can be written any more. */
  get isOver (): boolean {
    return this.#ended || this.destroyed
  }

  /** @param events whole ones, see `formatEvent` */
  write (events: string | Uint8Array): void {
    if (this.isOver) return
    if (this.readableLength > this.#maxBuffered) this.#cut()
    else this.#push(typeof events === 'string' ? Buffer.from(events) : events)
  }

  /** What has been written still goes out. */
  end (): void {
    if (this.isOver) return
    this.#ended = true
    this.push(null)
  }

  fail (): void {
    this.destroy()
  }

  /** Resolves when little enough waits for the reader to write more, or when the stream is over. Undefined: it is so already. */
  whenTaken (): Promise<void> | undefined {
    if (this.isOver || this.readableLength < this.readableHighWaterMark) return undefined
    return new Promise((resolve) => { this.#onTaken = resolve })
  }

  // There is nothing to fetch: what is written is pushed at once.
  override _read (): void {
    this.#onTaken?.()
  }

  override _destroy (error: Error | null, callback: (error: Error | null) => void): void {
    clearInterval(this.#heartbeat)
    this.#onTaken?.()
    callback(error)
  }

  #push (bytes: Uint8Array): void {
    this.#pushed += bytes.byteLength
    for (let start = 0; start < bytes.byteLength; start += LARGEST_PIECE) this.push(bytes.subarray(start, start + LARGEST_PIECE))
  }

  #beat (): void {
    const waiting = this.readableLength
    const taken = this.#pushed - waiting
    if (waiting > 0 && taken === this.#takenAtLastBeat) this.#cut()
    else if (waiting === 0 && !this.#ended) this.#push(COMMENT)
    this.#takenAtLastBeat = taken
    this.#onHeartbeat?.()
  }

  #cut (): void {
    this.#onCut?.(this.readableLength)
    this.destroy()
  }
}

const EVENT_HEADERS = {
  'content-type': 'text/event-stream',
  'cache-control': 'no-cache, no-transform',
  // nginx would keep events back until a buffer is full.
  'x-accel-buffering': 'no'
}

export function setEventHeaders (reply: FastifyReply): void {
  reply.headers(EVENT_HEADERS)
}

/** Takes the headers back, for an answer that is no stream after all. */
export function removeEventHeaders (reply: FastifyReply): void {
  for (const [name, value] of Object.entries(EVENT_HEADERS)) {
    if (reply.getHeader(name) === value) reply.removeHeader(name)
  }
}

/** Sends a stream as the reply. Its head goes out at once, and not with the first event. */
export function sendEvents (reply: FastifyReply, stream: EventStream): void {
  setEventHeaders(reply)
  reply.raw.once('pipe', () => reply.raw.flushHeaders())
  reply.send(stream)
}
