import type { EventStore } from '@modelcontextprotocol/sdk/server/webStandardStreamableHttp.js'
import { randomBytes } from 'node:crypto'
import { isJSONRPCErrorResponse, isJSONRPCResultResponse, type JSONRPCMessage } from '@modelcontextprotocol/sdk/types.js'

interface BufferedEvent {
  readonly sequence: number
  readonly streamId: string
  readonly message: JSONRPCMessage
}

interface BufferedStream {
  /** Events of the stream that are still here. */
  events: number
  /** Whether its response is among the events that it had. */
  complete: boolean
}

const EVENT_ID = /^(.+)_([0-9a-f]{8})_(\d+)$/
const nowhere = { streamId: '', sequence: 0 }

export type SendEvent = (eventId: string, message: JSONRPCMessage) => Promise<void>

/** Keeps the last events of one session, for clients that come back with `Last-Event-ID`. */
export class EventBuffer implements EventStore {
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
    this.#events.push({ sequence: ++this.#sequence, streamId, message })
    if (this.#events.length > this.#maxEvents) this.#dropOldest()
    return this.#toEventId(streamId, this.#sequence)
  }

  async replayEventsAfter (lastEventId: string, { send }: { send: SendEvent }): Promise<string> {
    const { streamId, sequence } = this.#parse(lastEventId)
    for (const event of this.#events.slice()) {
      if (event.streamId !== streamId || event.sequence <= sequence) continue
      // A priming event has no message: it only gives the client an id to come back with.
      if ('jsonrpc' in event.message) await send(this.#toEventId(streamId, event.sequence), event.message)
    }
    return streamId
  }

  /** What is known of the stream that the event belongs to; undefined: nothing, so it cannot be resumed. */
  findStream (eventId: string): Readonly<BufferedStream> | undefined {
    return this.#streams.get(this.#parse(eventId).streamId)
  }

  #dropOldest (): void {
    const oldest = this.#events.shift()
    const stream = oldest && this.#streams.get(oldest.streamId)
    if (oldest === undefined || stream === undefined) return
    stream.events--
    // A call that is running can be resumed without its events; one that was cancelled never ends.
    if (stream.events === 0 && (stream.complete || this.#streams.size > this.#maxEvents)) this.#streams.delete(oldest.streamId)
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
