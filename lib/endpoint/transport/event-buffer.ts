import { randomBytes } from 'node:crypto'
import type { EventLog, EventLogBounds, KeptEvent, RequestId, Resumption } from '../../http/event-log.js'

interface BufferedStream {
  readonly id: string
  /** The events that are still kept, oldest first. */
  readonly events: Set<BufferedEvent>
  pending: readonly RequestId[]
}

interface BufferedEvent extends KeptEvent {
  readonly sequence: number
  readonly stream: BufferedStream
  readonly bytes: number
}

const EVENT_ID = /^([\w-]{8})-(\d{1,15})\/([\w-]+)$/

/** The event log of a session that lives in this process alone. */
export class EventBuffer implements EventLog {
  readonly maxBytes: number
  readonly #maxEvents: number
  // Part of each event id, because the GET stream has the same name in every session, and a client may come with the id of an
  // event of an earlier one.
  readonly #mark = randomBytes(6).toString('base64url')
  readonly #streams = new Map<string, BufferedStream>()
  // Both in the order in which they are let go of.
  readonly #events = new Set<BufferedEvent>()
  readonly #released = new Set<BufferedStream>()
  #bytes = 0
  #sequence = 0

  constructor ({ maxEvents, maxBytes }: EventLogBounds) {
    this.#maxEvents = maxEvents
    this.maxBytes = maxBytes
  }

  /** Whether there is nothing that a client could come back for. */
  get isEmpty (): boolean {
    return this.#events.size === 0
  }

  append (streamId: string, data: string, pending: readonly RequestId[]): string {
    const stream = this.#streams.get(streamId) ?? { id: streamId, events: new Set(), pending }
    this.#streams.set(streamId, stream)
    stream.pending = pending
    const sequence = ++this.#sequence
    const id = `${this.#mark}-${sequence}/${streamId}`
    const event = { id, data, sequence, stream, bytes: Buffer.byteLength(data) }
    stream.events.add(event)
    this.#events.add(event)
    this.#bytes += event.bytes
    this.#makeRoom()
    return id
  }

  async after (lastEventId: string): Promise<Resumption | undefined> {
    const [, mark, digits, streamId = ''] = EVENT_ID.exec(lastEventId) ?? []
    const sequence = Number(digits)
    if (!this.#streams.has(streamId) || mark !== this.#mark || sequence > this.#sequence) return undefined
    return new BufferedResumption(streamId, sequence, this.#streams)
  }

  release (streamId: string): void {
    const stream = this.#streams.get(streamId)
    if (stream !== undefined && stream.events.size > 0) this.#released.add(stream)
  }

  #makeRoom (): void {
    for (const event of this.#inDropOrder()) {
      if (this.#events.size <= this.#maxEvents && this.#bytes <= this.maxBytes) return
      this.#drop(event)
    }
  }

  * #inDropOrder (): Generator<BufferedEvent> {
    for (const stream of this.#released) yield * stream.events
    yield * this.#events
  }

  #drop (event: BufferedEvent): void {
    const { stream, bytes } = event
    this.#events.delete(event)
    stream.events.delete(event)
    this.#bytes -= bytes
    if (stream.events.size > 0) return
    this.#released.delete(stream)
    // A call that is still running can be resumed, even if none of its events is kept.
    if (stream.pending.length === 0) this.#streams.delete(stream.id)
  }
}

class BufferedResumption implements Resumption {
  readonly streamId: string
  // Looked up anew for each page: a stream can be forgotten, and begin again, while its client is reading.
  readonly #streams: ReadonlyMap<string, BufferedStream>
  #sequence: number

  constructor (streamId: string, sequence: number, streams: ReadonlyMap<string, BufferedStream>) {
    this.streamId = streamId
    this.#streams = streams
    this.#sequence = sequence
  }

  get pending (): readonly RequestId[] {
    return this.#streams.get(this.streamId)?.pending ?? []
  }

  async * pages (): AsyncGenerator<readonly KeptEvent[]> {
    for (let page = this.#next(); page.length > 0; page = this.#next()) yield page.filter(({ data }) => data !== '')
  }

  #next (): BufferedEvent[] {
    const page = Array.from(this.#streams.get(this.streamId)?.events ?? []).filter(({ sequence }) => sequence > this.#sequence)
    this.#sequence = page.at(-1)?.sequence ?? this.#sequence
    return page
  }
}
