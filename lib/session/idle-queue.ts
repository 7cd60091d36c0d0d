import type { Place } from './list-node.js'
import type { SessionRecord } from './session-record.js'
import { TimeSlots } from './time-slots.js'

export interface IdleBatch {
  /** Idle since before the time asked for, and no longer in the queue. */
  readonly sessions: SessionRecord[]
  /** Whether the visits ran out before the queue did. */
  readonly more: boolean
}

// A slot is this part of the ttl, so a sweep looks twice at 1/64 of the sessions at most.
const SLOTS_PER_TTL = 64

/**
 * The order in which sessions expire, and make room for another one.
 *
 * The queue is not told when a session comes into use: it finds out when it next
 * looks at the place of that session. One that holds nothing but streams is then
 * put in a line of its own, which is used when no session is idle. One with a
 * request running leaves the queue; the end of the request brings it back.
 */
export class IdleQueue {
  readonly #idle: TimeSlots
  readonly #streaming: TimeSlots

  /** @param ttl milliseconds; Infinity when sessions never expire */
  constructor (ttl: number) {
    const width = ttl === Infinity ? Infinity : Math.max(1, Math.ceil(ttl / SLOTS_PER_TTL))
    const add = (place: Place): void => this.add(place)
    this.#idle = new TimeSlots(width, ({ isIdle }) => isIdle, add)
    this.#streaming = new TimeSlots(Infinity, ({ holdsOnlyStreams }) => holdsOnlyStreams, add)
  }

  /** Puts a place that is in no list where it belongs: nowhere, if its session has a request running. */
  add (place: Place): void {
    const { session } = place
    if (session.isIdle) this.#idle.add(place)
    else if (session.holdsOnlyStreams) this.#streaming.add(place)
    // The place may be one in the queue of a principal. `SessionManager` sees only the session's own links, and brings it
    // back to both queues when those are cut.
    else session.unlink()
  }

  /**
   * Takes out sessions that have been idle since before `time`, looking at no
   * more than `visits` of them. Call it again with the same `time` for the rest.
   */
  takeIdleBefore (time: number, visits: number): IdleBatch {
    const sessions: SessionRecord[] = []
    for (; visits > 0; visits--) {
      const place = this.#idle.takeBefore(time)
      if (place === undefined) return { sessions, more: false }
      const { session } = place
      if (session.isIdle && session.lastAccessedAt < time) sessions.push(session)
      else this.add(place)
    }
    return { sessions, more: true }
  }

  /**
   * The session that has been idle longest; if none is idle, of those that hold
   * nothing but streams the one that was accessed longest ago. It stays in the queue.
   */
  nextToEvict (): SessionRecord | undefined {
    return (this.#idle.oldest() ?? this.#streaming.oldest())?.session
  }
}
