import { isJSONRPCErrorResponse, isJSONRPCResultResponse, type JSONRPCMessage, type RequestId } from '@modelcontextprotocol/sdk/types.js'
import { randomBytes } from 'node:crypto'
import type { ResumableEvents, ResumePoint } from '../../http/session-cluster.js'

interface BufferedStream {
  /** Events of the stream that are still here. */
  events: number
  /** Whether its response is among the events that it had. */
  complete: boolean
}

interface BufferedEvent {
  readonly streamId: string
  readonly stream: BufferedStream
  readonly message: JSONRPCMessage
}

const EVENT_ID = /^(.+)_([0-9a-f]{8})_(\d+)$/
const nowhere = { streamId: '', sequence: 0 }

export type SendEvent = (eventId: string, message: JSONRPCMessage) => Promise<void>

/** Keeps the last events of one session, for clients that come back with `Last-Event-ID`. */
export class EventBuffer implements ResumableEvents {
  readonly #maxEvents: number
  // The GET stream has the same name in every session, and a client may come with an id of an older one.
  readonly #mark = randomBytes(4).toString('hex')
  readonly #events: BufferedEvent[] = []
  readonly #streams = new Map<string, BufferedStream>()
  #sequence = 0

  constructor (maxEvents: number) {
    this.#maxEvents = maxEvents
  }

  async storeEvent (streamId: string, message: JSONRPCMessage): Promise<string> {
    const stream = this.#streams.get(streamId) ?? { events: 0, complete: false }
    this.#streams.set(streamId, stream)
    stream.events++
    stream.complete = isJSONRPCResultResponse(message) || isJSONRPCErrorResponse(message)
    this.#sequence++
    this.#events.push({ streamId, stream, message })
    this.#dropOldest()
    return this.#toEventId(streamId, this.#sequence)
  }

  async replayEventsAfter (lastEventId: string, { send }: { send: SendEvent }): Promise<string> {
    const { streamId, sequence } = this.#parse(lastEventId)
    // What is stored meanwhile has no stream to go to yet, so it goes along.
    for (let next = Math.max(sequence + 1, this.#oldest); next <= this.#sequence; next++) {
      const event = this.#events[next - this.#oldest]
      // A priming event has no message: it only gives the client an id to come back with.
      if (event?.streamId === streamId && 'jsonrpc' in event.message) await send(this.#toEventId(streamId, next), event.message)
    }
    return streamId
  }

  async find (lastEventId: string): Promise<ResumePoint | undefined> {
    const stream = this.#streams.get(this.#parse(lastEventId).streamId)
    return stream && { complete: stream.complete, lost: [] }
  }

  // Everything happens in this process, so there is nothing to note.
  during<T> (_requests: readonly RequestId[], handle: () => T): T {
    return handle()
  }

  get #oldest (): number {
    return this.#sequence - this.#events.length + 1
  }

  #dropOldest (): void {
    if (this.#events.length <= this.#maxEvents) return
    for (const { streamId, stream } of this.#events.splice(0, 1)) {
      stream.events--
      // A call that is running can be resumed without its events; one that was cancelled never ends.
      if (stream.events === 0 && (stream.complete || this.#streams.size > this.#maxEvents)) this.#streams.delete(streamId)
    }
  }

  #toEventId (streamId: string, sequence: number): string {
    return `${streamId}_${this.#mark}_${sequence}`
  }

  #parse (eventId: string): { streamId: string, sequence: number } {
    const [, streamId = '', mark, digits] = EVENT_ID.exec(eventId) ?? []
    const sequence = Number(digits)
    return mark === this.#mark && sequence <= this.#sequence ? { streamId, sequence } : nowhere
  }
}
