import { AsyncLocalStorage } from 'node:async_hooks'
import { randomBytes } from 'node:crypto'
import { performance } from 'node:perf_hooks'
import { setImmediate as turn } from 'node:timers/promises'
import type { JSONRPCMessage, RequestId } from '@modelcontextprotocol/sdk/types.js'
import { ClusterUnavailableError } from '../../base/errors.js'
import type { ResumableEvents, ResumePoint as EndpointResumePoint } from '../../http/session-cluster.js'
import { DirectoryUnavailableError, SessionLostError } from '../directory.js'
import type { RedisCommands } from './commands.js'

/** What the SDK calls the stream of a GET, which belongs to no request. */
const STANDALONE_STREAM = '_GET_stream'

/** The id never came from this store, or the store has lost it: there is nothing to resume. */
export class UnknownEventError extends Error {
  override name = 'UnknownEventError'
}

/** What can be resumed after an event that a client has seen. */
export interface ResumePoint {
  /** The SDK's id of the stream. */
  streamId: string
  /** Older events had to make room: some after the one that was seen may be missing. */
  gap: boolean
  /** Every response of the stream is stored: after the replay nothing more comes, and it can be ended. */
  complete: boolean
  /** The requests of the stream without a stored response, as far as `during` has named them. */
  pending: RequestId[]
  /** The last event was stored by this very copy of the session: what is pending may still be running. */
  live: boolean
}

export interface RedisEventStoreOptions {
  commands: RedisCommands
  /** The session. */
  id: string
  /** The epoch at which this node holds the session now. */
  epoch: () => number | Promise<number>
  /** How many events of the session are kept. */
  maxEvents: number
  /** Called with every `DirectoryUnavailableError`: those events are sent, but cannot be replayed. */
  onUnavailable: (error: DirectoryUnavailableError) => void
  /** Resolves when the epoch is known and this node's; undefined: it is. Rejects when it will not be. */
  ready?: () => Promise<void> | undefined
  /** Called when this node does not hold the session any more. */
  onLost?: () => void
}

interface StoredEvent {
  redisId: string
  message: JSONRPCMessage | Record<string, never>
  writer: string | undefined
  requests: RequestId[] | undefined
}

interface Resumed {
  point: ResumePoint
  /** What came after the event that was seen. */
  events: StoredEvent[]
}

const requestsInProgress = new AsyncLocalStorage<readonly RequestId[]>()

/**
 * The SSE events of one session, where every node can replay them. They are in one bounded stream, live as
 * long as the session, and are written only by the node that holds it.
 *
 * There is no `getStreamIdForEventId`: with it, the SDK answers 409 to a client whose last connection has
 * not been noticed to be dead; without it, the new connection takes over. Ask `locate` before a replay.
 */
export class RedisEventStore implements ResumableEvents {
  readonly #options: RedisEventStoreOptions
  /** Tells the events of this copy of the session from those of copies on other nodes. */
  readonly #writer = randomBytes(6).toString('base64url')
  #replay: Promise<unknown> = Promise.resolve()
  #retryAt = -Infinity

  constructor (options: RedisEventStoreOptions) {
    this.#options = options
  }

  /**
   * Runs the handling of a POST, so that the events that come of it are known to belong to these requests:
   * `locate` can then say what is pending, also after the node that ran them has died.
   */
  during<T> (requests: readonly RequestId[], handle: () => T): T {
    return requestsInProgress.run(requests, handle)
  }

  /**
   * Returns the id of the event, or `''` while Redis is away: the SDK then sends it without an id.
   * Rejects with a `SessionLostError` if this node does not hold the session any more.
   */
  async storeEvent (streamId: string, message: JSONRPCMessage | Record<string, never>): Promise<string> {
    // Not every event of an outage has to wait for a timeout.
    if (performance.now() < this.#retryAt) return ''
    try {
      const redisId = await this.#write(streamId, message)
      // The SDK sends an event to the connection that is registered when this returns, and registers the
      // connection of a replay after it: an event must not slip through between the two.
      await this.#replay
      return `${redisId}/${encodeURIComponent(streamId)}`
    } catch (error) {
      if (!(error instanceof DirectoryUnavailableError)) {
        this.#options.onLost?.()
        throw error
      }
      this.#retryAt = performance.now() + this.#options.commands.timeout
      this.#options.onUnavailable(error)
      return ''
    }
  }

  async find (lastEventId: string): Promise<EndpointResumePoint | undefined> {
    try {
      const { complete, pending, live } = await this.locate(lastEventId)
      return { complete, lost: live ? [] : pending }
    } catch (error) {
      if (error instanceof UnknownEventError) return undefined
      if (error instanceof DirectoryUnavailableError) throw new ClusterUnavailableError()
      throw error
    }
  }

  /** Rejects with an `UnknownEventError`, or a `DirectoryUnavailableError`. */
  async locate (lastEventId: string): Promise<ResumePoint> {
    return (await this.#resume(lastEventId)).point
  }

  /** Sends what the stream of that event has had since. Rejects as `locate` does. */
  async replayEventsAfter (
    lastEventId: string, { send }: { send: (eventId: string, message: JSONRPCMessage) => Promise<void> }
  ): Promise<string> {
    const replay = this.#send(lastEventId, send)
    this.#replay = replay.then(() => turn(), () => {})
    return replay
  }

  async #send (
    lastEventId: string, send: (eventId: string, message: JSONRPCMessage) => Promise<void>
  ): Promise<string> {
    const { point, events } = await this.#resume(lastEventId)
    for (const { redisId, message } of events) {
      if (isMessage(message)) await send(`${redisId}/${encodeURIComponent(point.streamId)}`, message)
    }
    return point.streamId
  }

  async #write (streamId: string, message: JSONRPCMessage | Record<string, never>): Promise<string> {
    const { commands, id, epoch, maxEvents, ready } = this.#options
    await ready?.()
    const requests = streamId === STANDALONE_STREAM ? undefined : requestsInProgress.getStore()
    const fields = ['stream', streamId, 'message', JSON.stringify(message), 'writer', this.#writer]
    if (requests !== undefined) fields.push('requests', JSON.stringify(requests))
    const reply = await commands.run('store', commands.sessionKeys(id), [await epoch(), maxEvents, ...fields])
    if (reply == null) throw new SessionLostError('The session has moved to another node or is gone')
    return String(reply)
  }

  async #resume (lastEventId: string): Promise<Resumed> {
    const { redisId, streamId } = parseEventId(lastEventId)
    const { commands, id } = this.#options
    const reply = await commands.run('events', commands.sessionKeys(id), [streamId])
    const [last, oldest, ...stored]: unknown[] = [reply].flat()
    const events = stored.map(storedEvent)
    const gap = compareIds(redisId, String(oldest)) < 0
    const known = gap || events.some(event => event.redisId === redisId)
    if (!known || compareIds(redisId, String(last)) > 0) throw new UnknownEventError('No such event')
    return {
      point: { streamId, gap, ...progress(events), live: events.at(-1)?.writer === this.#writer },
      events: events.filter(event => compareIds(event.redisId, redisId) > 0)
    }
  }
}

/** What is none only gave the client an id to come back with. */
function isMessage (message: StoredEvent['message']): message is JSONRPCMessage {
  return 'jsonrpc' in message
}

function progress (events: StoredEvent[]): { complete: boolean, pending: RequestId[] } {
  const requests = events.find(event => event.requests !== undefined)?.requests
  const answered = new Set(events.map(({ message }) => 'method' in message ? undefined : message['id']))
  answered.delete(undefined)
  const pending = (requests ?? []).filter(request => !answered.has(request))
  return { complete: answered.size > 0 && pending.length === 0, pending }
}

function storedEvent (reply: unknown): StoredEvent {
  const [redisId, list]: unknown[] = [reply].flat()
  const fields = new Map<string, string>()
  const pairs = [list].flat().map(String)
  for (let i = 0; i < pairs.length; i += 2) fields.set(String(pairs[i]), String(pairs[i + 1]))
  const requests = fields.get('requests')
  return {
    redisId: String(redisId),
    message: JSON.parse(String(fields.get('message'))),
    writer: fields.get('writer'),
    requests: requests === undefined ? undefined : JSON.parse(requests)
  }
}

function parseEventId (eventId: string): { redisId: string, streamId: string } {
  const [, redisId, stream] = /^(\d{1,15}-\d{1,15})\/([\w%!'()*~.-]+)$/.exec(eventId) ?? []
  if (redisId === undefined || stream === undefined) throw new UnknownEventError('Not an event id')
  try {
    return { redisId, streamId: decodeURIComponent(stream) }
  } catch (cause) {
    throw new UnknownEventError('Not an event id', { cause })
  }
}

/** Of what Redis calls them: milliseconds, a dash, and a number within the millisecond. */
function compareIds (a: string, b: string): number {
  const [aTime, aNumber] = a.split('-').map(Number)
  const [bTime, bNumber] = b.split('-').map(Number)
  return Number(aTime) - Number(bTime) || Number(aNumber) - Number(bNumber)
}
