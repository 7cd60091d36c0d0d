import type { EventLog, KeptEvent, RequestId, Resumption } from '../../http/event-log.js'
import { formatEvent, formatPriming } from './event-format.js'

/** What has to be waited for before something goes out. Undefined: nothing. */
export type Barrier = () => Promise<void> | undefined

/** Where the events of an outlet go while there is a client. */
export interface EventSink {
  readonly isOver: boolean
  write (text: string): void
  end (): void
  /** Is told that something which should have gone out cannot. */
  fail (error: Error): void
}

/** A sink that can be filled at the pace of its reader. */
export interface PacedSink extends EventSink {
  /** Resolves when there is room for more. Undefined: there is. */
  whenTaken (): Promise<void> | undefined
}

export interface OutletOptions {
  /** The name of its stream, for a client that comes back. */
  readonly streamId: string
  /** Undefined: its events are not kept. */
  readonly log: EventLog | undefined
  readonly barrier: Barrier | undefined
  /** Milliseconds after which a client comes back for a stream that has ended. */
  readonly retryInterval: number
}

/**
 * One stream of messages to the client, which outlives the connection that carries it: a client that comes back goes on where
 * it was. Each message waits for the barrier, is kept in the log, and is written, one after the other.
 */
export class Outlet {
  readonly streamId: string
  readonly #log: EventLog | undefined
  readonly #barrier: Barrier | undefined
  readonly #retryInterval: number
  #sink: EventSink | undefined
  // The sink, or the one that takes its place as soon as it has got what its client has missed.
  #newest: EventSink | undefined
  #hasCursor = false
  #isFinished = false
  // The last step that is under way. It never rejects.
  #tail: Promise<void> | undefined

  constructor ({ streamId, log, barrier, retryInterval }: OutletOptions) {
    this.streamId = streamId
    this.#log = log
    this.#barrier = barrier
    this.#retryInterval = retryInterval
  }

  /** Whether a message can reach the client, now or when it comes back. */
  get isReachable (): boolean {
    return this.#sink?.isOver === false || this.#hasCursor
  }

  /** Gives the events a sink; the newest wins. */
  attach (sink: EventSink): void {
    this.#sink?.end()
    this.#sink = sink
    this.#newest = sink
  }

  /** Is told that the connection behind a sink has gone. */
  detach (sink: EventSink): void {
    if (this.#sink === sink) this.#sink = undefined
    if (this.#newest === sink) this.#newest = this.#sink
  }

  /** Gives the client an id to come back with, before there is anything to say. */
  prime (pending: readonly RequestId[]): void {
    this.#inOrder(() => this.#keep('', pending, (id) => {
      if (id !== '') this.#write(formatPriming(id, this.#retryInterval), id)
    }))?.catch((error: Error) => this.#sink?.fail(error))
  }

  /**
   * Sends a message, as JSON. When it cannot go out, the stream ends, and the reason is what this rejects with.
   *
   * @param pending the requests of this stream that wait for an answer after it
   * @param shorten what a client that comes back gets of a message that is too large to be kept; by default nothing
   */
  emit (data: string, pending: readonly RequestId[], shorten?: () => string): void | Promise<void> {
    return this.#inOrder(() => {
      const settled = this.#barrier?.()
      const sent = settled === undefined ? this.#put(data, pending, shorten) : settled.then(() => this.#put(data, pending, shorten))
      return sent?.catch((error: Error) => {
        this.#sink?.fail(error)
        throw error
      })
    })
  }

  /** Sends something else than an event in its turn, when the barrier lets it pass. */
  pass (send: () => void | Promise<void>, onHeld: (error: Error) => void): void | Promise<void> {
    return this.#inOrder(() => {
      const settled = this.#barrier?.()
      return settled === undefined ? send() : settled.then(send, onHeld)
    })
  }

  /** Goes on where the client was: what it has missed comes before what is new. Rejects when the log does. */
  async resume (sink: PacedSink, resumption: Resumption): Promise<void> {
    this.#newest = sink
    this.#hasCursor = true
    // The first time not in its turn: new messages need not wait until the client has read, for they are kept. The second time
    // gives it those.
    await writeMissed(sink, resumption)
    await this.#inOrder(async () => {
      await writeMissed(sink, resumption)
      if (this.#isFinished || this.#newest !== sink) sink.end()
      else if (!sink.isOver) this.attach(sink)
    })
  }

  /** Notes, without a word to the client, which requests still wait for an answer. */
  note (pending: readonly RequestId[]): void {
    this.#inOrder(() => this.#keep('', pending, () => {}))?.catch(() => {})
  }

  /** Ends the connection after all that was sent; the client may come back for more. */
  end (): void | Promise<void> {
    return this.#inOrder(() => { this.#sink?.end() })
  }

  /** Ends the stream after all that was sent. A client that comes back gets what it has missed, and the end. */
  finish (): void | Promise<void> {
    return this.#inOrder(() => {
      this.#isFinished = true
      this.#sink?.end()
    })
  }

  /** Is told that the stream is over, and its client has got all of it. */
  release (): void {
    this.#log?.release(this.streamId)
  }

  /** Resolves when all that was sent has gone out, or failed. */
  async settle (): Promise<void> {
    await this.#tail
  }

  #put (data: string, pending: readonly RequestId[], shorten: (() => string) | undefined): void | Promise<void> {
    const isTooLarge = this.#log !== undefined && Buffer.byteLength(data) > this.#log.maxBytes
    return this.#keep(isTooLarge ? shorten?.() ?? '' : data, pending, (id) => this.#write(formatEvent(data, id), id))
  }

  #keep (data: string, pending: readonly RequestId[], onKept: (id: string) => void): void | Promise<void> {
    if (this.#log === undefined) return onKept('')
    const id = this.#log.append(this.streamId, data, pending)
    return typeof id === 'string' ? onKept(id) : id.then(onKept)
  }

  #write (text: string, id: string): void {
    if (this.#sink === undefined || this.#sink.isOver) return
    this.#sink.write(text)
    if (id !== '') this.#hasCursor = true
  }

  // Runs a step after those that are under way. Where there is none, and the step does not wait either, it is done at once.
  #inOrder (step: () => void | Promise<void>): void | Promise<void> {
    if (this.#tail !== undefined) return this.#follow(this.#tail.then(step))
    const result = step()
    return result && this.#follow(result)
  }

  #follow (work: Promise<void>): Promise<void> {
    const tail = work.catch(() => {}).then(() => {
      if (this.#tail === tail) this.#tail = undefined
    })
    this.#tail = tail
    return work
  }
}

/** The first page of what a client has missed. Empty: it has missed nothing. */
export async function readMissed (resumption: Resumption): Promise<readonly KeptEvent[]> {
  for await (const page of resumption.pages()) if (page.length > 0) return page
  return []
}

/** @param first what has been read of it already */
export async function writeMissed (sink: PacedSink, resumption: Resumption, first: readonly KeptEvent[] = []): Promise<void> {
  await writePage(sink, first)
  for await (const page of resumption.pages()) {
    if (sink.isOver) return
    await writePage(sink, page)
  }
}

async function writePage (sink: PacedSink, page: readonly KeptEvent[]): Promise<void> {
  for (const { id, data } of page) {
    await sink.whenTaken()
    if (sink.isOver) return
    sink.write(formatEvent(data, id))
  }
}
