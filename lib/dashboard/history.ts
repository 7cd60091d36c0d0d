import { channels } from '../observe/channels.js'
import { listen, type Stop } from '../observe/listen.js'
import type { SessionManager } from '../session/session-manager.js'

/** A minute. */
export interface HistoryBucket {
  /** When it began, in milliseconds since the epoch. */
  readonly at: number
  /** How many sessions there were at its end. */
  readonly active: number
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

/** Milliseconds. */
export const INTERVAL = 60_000
const MOST_BUCKETS = 60

/** The last hour of an app, minute by minute. Without a timer: minutes in which nothing happened are filled in when they are asked for. */
export class History {
  readonly #sessions: Pick<SessionManager, 'getActiveSessionCount'>
  readonly #now: () => number
  // The oldest first, without a gap.
  readonly #buckets: Bucket[]
  // The running one.
  #last: Bucket
  // As of what happened last.
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
      // One that another node had opened was opened there.
      listen(channels['session.created'], sessions, ({ how }) => this.#note((bucket) => { if (how !== 'adopted') bucket.opened++ })),
      listen(channels['session.closed'], sessions, ({ reason }) => this.#note(({ closed }) => { closed[reason] = (closed[reason] ?? 0) + 1 })),
      listen(channels['request.rejected'], sessions, ({ code }) => this.#note(({ rejected }) => { rejected[code] = (rejected[code] ?? 0) + 1 }))
    ]
    return () => { for (const stop of stops) stop() }
  }

  /** The running minute is the last one. */
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

  // A clock that was set back goes on in the last minute.
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

function beginOf (now: number): number {
  return now - now % INTERVAL
}

function createBucket (at: number, active: number): Bucket {
  return { at, active, opened: 0, closed: {}, rejected: {} }
}
