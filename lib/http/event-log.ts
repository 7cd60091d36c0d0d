/** The id of a request in JSON-RPC. */
export type RequestId = string | number

export interface KeptEvent {
  readonly id: string
  /** The message, as JSON; never empty. */
  readonly data: string
}

/** What a stream has had since an event that its client has seen. */
export interface Resumption {
  readonly streamId: string
  /** The events, oldest first, some at a time, with those that come meanwhile. A second call goes on where the first has ended. */
  pages (): AsyncIterable<readonly KeptEvent[]>
  /** Whether the event that the client has seen is not kept any more: others after it may be lost, too. */
  readonly hasGap?: boolean
  /** The requests of the stream that have no answer among its events. Known when all pages are read. */
  readonly pending: readonly RequestId[]
}

export interface EventLogBounds {
  readonly maxEvents: number
  /** Bytes of the messages, as they are sent. */
  readonly maxBytes: number
}

/**
 * The last events of one session, for clients that come back with `Last-Event-ID`. Bounded by number and by bytes:
 * what has reached its client is let go of first, then what is oldest.
 */
export interface EventLog {
  /** Whether there is nothing that a client could come back for, as far as this process knows. */
  readonly isEmpty?: boolean
  /** A message of more bytes is not kept. */
  readonly maxBytes: number

  /**
   * Keeps an event of a stream, and returns its id. An empty id means that it cannot be kept now, and is sent without one.
   *
   * @param data the message, as JSON; empty: the event only gives the client an id to come back with
   * @param pending the requests of the stream that wait for an answer after this event
   */
  append (streamId: string, data: string, pending: readonly RequestId[]): string | Promise<string>

  /** What came after an event. Undefined: the event is not known, or not any more. Rejects when the store does not answer. */
  after (lastEventId: string): Promise<Resumption | undefined>

  /** The stream is over, and its client has got all of it. */
  release (streamId: string): void
}
