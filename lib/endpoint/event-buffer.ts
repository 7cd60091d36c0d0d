import { isJSONRPCErrorResponse, isJSONRPCResultResponse, type JSONRPCMessage, type RequestId } from '@modelcontextprotocol/sdk/types.js'
import type { ResumableEvents, ResumePoint } from '../session/session-cluster.js'

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

export type SendEvent = (eventId: string, message: JSONRPCMessage) => Promise<void>

/** Keeps the last events of one session, for clients that come back with `Last-Event-ID`. */
export class EventBuffer implements ResumableEvents {
  readonly #maxEvents: number
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
    return toEventId(streamId, this.#sequence)
  }

  async replayEventsAfter (lastEventId: string, { send }: { send: SendEvent }): Promise<string> {
    const { streamId, sequence } = parseEventId(lastEventId)
    for (const event of this.#events.slice()) {
      if (event.streamId !== streamId || event.sequence <= sequence) continue
      // A priming event has no message: it only gives the client an id to come back with.
      if ('jsonrpc' in event.message) await send(toEventId(streamId, event.sequence), event.message)
    }
    return streamId
  }

  async find (lastEventId: string): Promise<ResumePoint | undefined> {
    const stream = this.#streams.get(parseEventId(lastEventId).streamId)
    return stream && { complete: stream.complete, lost: [] }
  }

  // Everything happens in this process, so there is nothing to note.
  during<T> (_requests: readonly RequestId[], handle: () => T): T {
    return handle()
  }

  #dropOldest (): void {
    const oldest = this.#events.shift()
    const stream = oldest && this.#streams.get(oldest.streamId)
    if (oldest === undefined || stream === undefined) return
    stream.events--
    if (stream.events === 0 && stream.complete) this.#streams.delete(oldest.streamId)
  }
}

function toEventId (streamId: string, sequence: number): string {
  return `${streamId}_${sequence}`
}

function parseEventId (eventId: string): { streamId: string, sequence: number } {
  const end = eventId.lastIndexOf('_')
  return { streamId: eventId.slice(0, end), sequence: Number(eventId.slice(end + 1)) }
}
