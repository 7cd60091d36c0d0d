import { Readable } from 'node:stream'
import type { ReadableStreamDefaultReader, ReadableStreamReadResult } from 'node:stream/web'
import { asError } from '../../base/safe-call.js'

export type ByteReader = ReadableStreamDefaultReader<Uint8Array>
export type ByteRead = Promise<ReadableStreamReadResult<Uint8Array>>

/** Says what has to be waited for before something goes out; undefined: nothing. */
export type Barrier = () => Promise<void> | undefined

export interface EventStreamOptions {
  /** Milliseconds; 0: no heartbeats. */
  readonly heartbeatInterval: number
  readonly barrier?: Barrier | undefined
}

// A line that starts with a colon is a comment: https://html.spec.whatwg.org/multipage/server-sent-events.html
const COMMENT = Buffer.from(':\n\n')

// A chunk goes to the socket in one write, and nothing is seen of it until all is taken.
// In pieces, a slow client can be told from one that takes nothing.
const LARGEST_PIECE = 65_536

/**
 * An SSE stream of the SDK's transport, on its way to a client.
 *
 * It starts with a comment, since the head of a response goes out with the
 * first byte of the body, and carries one in every heartbeat. A client that
 * has taken nothing for a whole heartbeat is given up: it has gone without a
 * word, or would make us keep all that it does not read.
 */
export class EventStream extends Readable {
  readonly #reader: ByteReader
  readonly #barrier: Barrier | undefined
  readonly #heartbeat: NodeJS.Timeout | undefined
  // What was read before the stream was needed.
  readonly #first: Uint8Array[]
  // A read that nobody waits for would be an unhandled rejection if the source failed, so there is only this one.
  #begun: ByteRead | undefined
  #reading = false
  #ended = false
  #pushed = 0
  #takenAtLastBeat = -1

  /**
   * @param first what has been read already
   * @param begun the read that has been begun
   */
  constructor (reader: ByteReader, first: Uint8Array[], begun: ByteRead, { heartbeatInterval, barrier }: EventStreamOptions) {
    super()
    this.#reader = reader
    this.#first = first
    this.#begun = begun
    this.#barrier = barrier
    this.#pass(COMMENT)
    if (heartbeatInterval > 0) {
      this.#heartbeat = setInterval(() => this.#beat(), heartbeatInterval)
      this.#heartbeat.unref()
    }
  }

  override _read (): void {
    // A heartbeat makes Node.js ask again while a read is under way.
    if (this.#reading) return
    this.#reading = true
    this.#take().then(
      (chunk) => this.#give(chunk),
      (reason: unknown) => this.destroy(asError(reason))
    )
  }

  override _destroy (error: Error | null, callback: (error: Error | null) => void): void {
    clearInterval(this.#heartbeat)
    // This is how the transport learns that the client has gone.
    this.#reader.cancel(error).then(() => callback(error), () => callback(error))
  }

  // Null at the end.
  async #take (): Promise<Uint8Array | null> {
    const chunk = this.#first.shift() ?? await this.#readOn()
    if (chunk !== null) await this.#barrier?.()
    return chunk
  }

  async #readOn (): Promise<Uint8Array | null> {
    const next = this.#begun ?? this.#reader.read()
    this.#begun = undefined
    const { done, value } = await next
    return done ? null : value
  }

  #give (chunk: Uint8Array | null): void {
    this.#reading = false
    if (this.destroyed) return
    if (chunk !== null) {
      this.#pass(chunk)
      return
    }
    this.#ended = true
    this.push(null)
  }

  #pass (chunk: Uint8Array): void {
    this.#pushed += chunk.byteLength
    let start = 0
    do {
      this.push(chunk.subarray(start, start += LARGEST_PIECE))
    } while (start < chunk.byteLength)
  }

  #beat (): void {
    if (this.readableLength === 0) {
      if (!this.#ended) this.#pass(COMMENT)
      return
    }
    const taken = this.#pushed - this.readableLength
    if (taken === this.#takenAtLastBeat) this.destroy()
    this.#takenAtLastBeat = taken
  }
}
