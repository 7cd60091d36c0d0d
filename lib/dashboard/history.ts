import { channels } from '../observe/channels.js'
import { listen, type Stop } from '../observe/listen.js'
import type { SessionManager } from '../session/session-manager.js'

/** What has happened in one minute. */
export interface HistoryBucket {
  /** When it began, in milliseconds since the epoch. */
  readonly at: number
  /** How many sessions there were at its end. */
  readonly active: number
  /** How many were opened on this node. */
  readonly opened: number
  /** How many ended, by reason. */
  readonly closed: Readonly<Record<string, number>>
  /** How many requests were turned away, by code. */
  readonly rejected: Readonly<Record<string, number>>
}

interface Bucket extends HistoryBucket {
  active: number
  opened: number
  readonly closed: Record<string, number>
  readonly rejected: Record<string, number>
}

/** The length of a bucket, in milliseconds. */
export const INTERVAL = 60_000
const MOST_BUCKETS = 60

/**
 * The last hour of an app, minute by minute. It needs no timer: minutes in which nothing happened are filled in when somebody
 * asks.
 */
export class History {
  readonly #sessions: Pick<SessionManager, 'getActiveSessionCount'>
  readonly #now: () => number
  // The oldest first, without a gap.
  readonly #buckets: Bucket[]
  // The bucket of the running minute.
  #last: Bucket
  // How many sessions there were after what happened last.
  #active: number

  constructor (sessions: Pick<SessionManager, 'getActiveSessionCount'>, now: () => number = Date.now) {
    this.#sessions = sessions
    this.#now = now
    this.#active = sessions.getActiveSessionCount()
    this.#last = createBucket(beginOf(now()), this.#active)
    this.#buckets = [this.#last]
  }

  /** Hears what happens from now on. */
  listen (): Stop {
    const sessions = this.#sessions
    const stops = [
      // A session that was adopted has been opened on another node.
      listen(channels['session.created'], sessions, ({ how }) => this.#note((bucket) => { if (how !== 'adopted') bucket.opened++ })),
      listen(channels['session.closed'], sessions, ({ reason }) => this.#note(({ closed }) => countOne(closed, reason))),
      listen(channels['request.rejected'], sessions, ({ code }) => this.#note(({ rejected }) => countOne(rejected, code)))
    ]
    return () => { for (const stop of stops) stop() }
  }

  /** The oldest first; the last one is the running minute. */
  get buckets (): readonly HistoryBucket[] {
    this.#current()
    return this.#buckets
  }

  /** When the running minute began. */
  get since (): number {
    return this.#current().at
  }

  #note (change: (bucket: Bucket) => void): void {
    const bucket = this.#current()
    change(bucket)
    this.#active = this.#sessions.getActiveSessionCount()
    bucket.active = this.#active
  }

  // The bucket of the running minute. When the clock was set back, the last one goes on.
  #current (): Bucket {
    const at = beginOf(this.#now())
    if (this.#last.at < at - MOST_BUCKETS * INTERVAL) this.#append(at - MOST_BUCKETS * INTERVAL)
    while (this.#last.at < at) this.#append(this.#last.at + INTERVAL)
    return this.#last
  }

  #append (at: number): void {
    this.#last = createBucket(at, this.#active)
    this.#buckets.push(this.#last)
    if (this.#buckets.length > MOST_BUCKETS) this.#buckets.shift()
  }
}

function countOne (counts: Record<string, number>, name: string): void {
  counts[name] = (counts[name] ?? 0) + 1
}

function beginOf (now: number): number {
  return now - now % INTERVAL
}

function createBucket (at: number, active: number): Bucket {
  return { at, active, opened: 0, closed: {}, rejected: {} }
}
