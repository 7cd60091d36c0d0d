import { performance } from 'node:perf_hooks'
import { ClusterUnavailableError, OwnerFailedError } from '../../base/errors.js'
import type { EventLog, EventLogBounds, KeptEvent, RequestId, Resumption } from '../../http/event-log.js'
import { DirectoryUnavailableError } from '../directory.js'
import type { RedisCommands } from './commands.js'

export interface RedisEventStoreOptions {
  commands: RedisCommands
  /** The id of the session. */
  id: string
  bounds: EventLogBounds
  /** The epoch at which this node holds the session now. */
  epoch: () => string | Promise<string>
  /** Resolves when this node holds the session, at an epoch that it knows. Undefined: it does. Rejects when it will not. */
  ready: () => Promise<void> | undefined
  /** Called when Redis does not answer: the event is sent then, but cannot be replayed. */
  onUnavailable: (error: DirectoryUnavailableError) => void
  /** Called when this node does not hold the session any more. */
  onLost: () => void
}

interface StoredEvent extends KeptEvent {
  readonly pending: readonly RequestId[]
}

interface Page {
  /** The last id that was ever given. */
  readonly last: string
  /** The oldest one whose event is kept, or that of the page that was asked for. */
  readonly oldest: string
  /** The last one that was looked at; empty: there were none. */
  readonly end: string
  /** Those of the stream. */
  readonly events: readonly StoredEvent[]
}

const EVENT_ID = /^(\d{1,15}-\d{1,15})\/([\w-]{1,40})$/
// The most that is read at a time, so that a page does not keep others waiting: Redis copies a MiB in about two milliseconds.
const PAGE_SIZE = 16
const PAGE_BYTES = 128 * 1024
// How many ids of events that have reached their clients are remembered, and how many are told at once.
const MOST_DELIVERED = 512
const DELIVERED_AT_ONCE = 16
const MOST_STREAMS = 256

/**
 * The event log of a session of the cluster: every node can replay what is in it, and only the one that holds the session
 * writes it.
 */
export class RedisEventStore implements EventLog {
  readonly maxBytes: number
  readonly #options: RedisEventStoreOptions
  // By stream, the ids of its events, which are delivered when the stream has reached its client.
  readonly #written = new Map<string, string[]>()
  readonly #delivered = new Set<string>()
  #retryAt = -Infinity

  constructor (options: RedisEventStoreOptions) {
    this.#options = options
    this.maxBytes = options.bounds.maxBytes
  }

  /** Rejects with an `OwnerFailedError` if this node does not hold the session any more. */
  async append (streamId: string, data: string, pending: readonly RequestId[]): Promise<string> {
    // During an outage, only one event in a while waits for a timeout.
    if (performance.now() < this.#retryAt) return ''
    try {
      const redisId = await this.#write(streamId, data, pending)
      this.#remember(streamId, redisId)
      return `${redisId}/${streamId}`
    } catch (error) {
      if (!(error instanceof DirectoryUnavailableError)) {
        this.#options.onLost()
        throw new OwnerFailedError()
      }
      this.#retryAt = performance.now() + this.#options.commands.timeout
      this.#options.onUnavailable(error)
      return ''
    }
  }

  /** Rejects with a `ClusterUnavailableError`. */
  async after (lastEventId: string): Promise<Resumption | undefined> {
    const [, redisId, streamId] = EVENT_ID.exec(lastEventId) ?? []
    if (redisId === undefined || streamId === undefined) return undefined
    const page = await this.#read(streamId, redisId)
    if (page === undefined || compareIds(redisId, page.last) > 0) return undefined
    // An id that is older than all that are kept is taken for a good one: its event had to make room.
    const isKept = page.events.some(({ id }) => id === lastEventId)
    if (!isKept && compareIds(redisId, page.oldest) >= 0) return undefined
    return new RedisResumption(streamId, lastEventId, page, !isKept, (from) => this.#read(streamId, from))
  }

  release (streamId: string): void {
    for (const redisId of this.#written.get(streamId) ?? []) this.#delivered.add(redisId)
    this.#written.delete(streamId)
    for (const oldest of first(this.#delivered, this.#delivered.size - MOST_DELIVERED)) this.#delivered.delete(oldest)
  }

  async #write (streamId: string, data: string, pending: readonly RequestId[]): Promise<string> {
    const { commands, id, bounds, epoch, ready } = this.#options
    await ready()
    const delivered = first(this.#delivered, DELIVERED_AT_ONCE)
    const keys = commands.sessionKeys(id)
    const holder = [await epoch(), bounds.maxEvents, bounds.maxBytes]
    const reply: unknown = await commands.run('store', keys, [...holder, streamId, JSON.stringify(pending), data, ...delivered])
    if (!Array.isArray(reply)) throw new OwnerFailedError()
    for (const dealtWith of delivered.slice(0, Number(reply[1]))) this.#delivered.delete(dealtWith)
    for (let isOver = Number(reply[2]); isOver === 1;) isOver = Number(await commands.run('trim', keys, holder))
    return String(reply[0])
  }

  #remember (streamId: string, redisId: string): void {
    const ids = this.#written.get(streamId)
    if (ids !== undefined) {
      ids.push(redisId)
      if (ids.length > MOST_DELIVERED) ids.shift()
      return
    }
    this.#written.set(streamId, [redisId])
    const [oldest] = this.#written.keys()
    if (this.#written.size > MOST_STREAMS && oldest !== undefined) this.#written.delete(oldest)
  }

  async #read (streamId: string, from: string): Promise<Page | undefined> {
    const { commands, id } = this.#options
    try {
      return readPage(streamId, await commands.run('events', commands.sessionKeys(id), [streamId, from, PAGE_SIZE, PAGE_BYTES]))
    } catch {
      throw new ClusterUnavailableError()
    }
  }
}

class RedisResumption implements Resumption {
  readonly streamId: string
  readonly hasGap: boolean
  pending: readonly RequestId[] = []
  readonly #seen: string
  readonly #read: (from: string) => Promise<Page | undefined>
  // A page that has been read, and not been handed out yet.
  #page: Page | undefined
  // From where to read the next page.
  #from: string

  constructor (streamId: string, seen: string, first: Page, hasGap: boolean, read: (from: string) => Promise<Page | undefined>) {
    this.streamId = streamId
    this.hasGap = hasGap
    this.#seen = seen
    this.#page = first
    this.#from = `(${first.last}`
    this.#read = read
  }

  async * pages (): AsyncGenerator<readonly KeptEvent[]> {
    for (;;) {
      const page = this.#page ?? await this.#read(this.#from)
      this.#page = undefined
      if (page === undefined || page.end === '') return
      this.#from = `(${page.end}`
      this.pending = page.events.at(-1)?.pending ?? this.pending
      yield page.events.filter(({ id, data }) => id !== this.#seen && data !== '')
    }
  }
}

function first (values: Iterable<string>, count: number): string[] {
  const taken: string[] = []
  for (const value of values) {
    if (taken.length >= count) break
    taken.push(value)
  }
  return taken
}

function readPage (streamId: string, reply: unknown): Page | undefined {
  const [last, oldest, end, ...fields] = [reply].flat().map(String)
  if (last === undefined || oldest === undefined || end === undefined) return undefined
  const events: StoredEvent[] = []
  for (let i = 0; i < fields.length; i += 3) {
    events.push({ id: `${fields[i]}/${streamId}`, pending: readIds(fields[i + 1]), data: String(fields[i + 2]) })
  }
  return { last, oldest, end, events }
}

function readIds (json: string | undefined): readonly RequestId[] {
  try {
    const ids: unknown = JSON.parse(String(json))
    return Array.isArray(ids) ? ids.filter(isRequestId) : []
  } catch {
    // It cannot be read: then it is not known what waits for an answer.
    return []
  }
}

// Compares ids of a stream of Redis: milliseconds, a dash, and a number within the millisecond.
function compareIds (a: string, b: string): number {
  const [aTime, aNumber] = a.split('-').map(Number)
  const [bTime, bNumber] = b.split('-').map(Number)
  return Number(aTime) - Number(bTime) || Number(aNumber) - Number(bNumber)
}

function isRequestId (value: unknown): value is RequestId {
  return typeof value === 'string' || typeof value === 'number'
}
