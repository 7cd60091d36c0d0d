import { IdleQueue } from './idle-queue.js'
import { ListNode } from './list-node.js'
import { PrincipalWeights } from './principal-weights.js'
import type { SessionRecord } from './session-record.js'

// Of how many principals the longest-idle sessions are compared: more would hold up whoever opens a session.
const MOST_COMPARED = 32

/** The sessions of each principal: who has too many, and which of them goes first. */
export class PrincipalSessions {
  readonly #max: number
  // A principal with one session, as most have, needs no list of sessions.
  readonly #sessions = new Map<string, SessionRecord | OwnSessions>()
  readonly #weights = new PrincipalWeights<OwnSessions>()

  /** @param max sessions of one principal; Infinity: no limit */
  constructor (max: number) {
    this.#max = max
  }

  add (session: SessionRecord): void {
    const { principal } = session
    if (principal === undefined) return
    const own = this.#sessions.get(principal)
    if (own === undefined) {
      this.#sessions.set(principal, session)
    } else if (own instanceof OwnSessions) {
      own.add(session)
      this.#weights.update(own, own.count - 1)
    } else {
      const several = new OwnSessions([own, session])
      this.#sessions.set(principal, several)
      this.#weights.update(several, 1)
    }
  }

  delete (session: SessionRecord): void {
    const { principal } = session
    const own = this.#of(principal)
    if (principal === undefined || own === undefined) return
    if (own instanceof OwnSessions) {
      if (!own.delete(session)) return
      this.#weights.update(own, own.count + 1)
      if (own.count === 0) this.#sessions.delete(principal)
    } else if (own === session) {
      this.#sessions.delete(principal)
    }
  }

  /** Is told that a session, which has been added before, has moved in the queue of all sessions. */
  requeue (session: SessionRecord): void {
    const own = this.#of(session.principal)
    if (own instanceof OwnSessions) own.requeue(session)
  }

  isFull (principal: string | undefined): boolean {
    const own = this.#of(principal)
    return (own instanceof OwnSessions ? own.count : Number(own !== undefined)) >= this.#max
  }

  /** The session of the principal that makes room, chosen as `IdleQueue` does. */
  nextToEvict (principal: string | undefined): SessionRecord | undefined {
    const own = this.#of(principal)
    if (own instanceof OwnSessions) return own.nextToEvict()
    return own?.isIdle === true || own?.holdsOnlyStreams === true ? own : undefined
  }

  /** The same of the principal with the most sessions. Undefined: no principal with several sessions has one that can go. */
  heaviestToEvict (): SessionRecord | undefined {
    let compared = 0
    for (const principals of this.#weights.heaviestFirst()) {
      let next: SessionRecord | undefined
      for (const own of principals) {
        if (compared++ === MOST_COMPARED) return next
        next = earlier(next, own.nextToEvict())
      }
      if (next !== undefined) return next
    }
    return undefined
  }

  #of (principal: string | undefined): SessionRecord | OwnSessions | undefined {
    return principal === undefined ? undefined : this.#sessions.get(principal)
  }
}

// Idle ones go before those that hold streams.
function earlier (one: SessionRecord | undefined, other: SessionRecord | undefined): SessionRecord | undefined {
  if (one === undefined || other === undefined) return one ?? other
  if (one.isIdle !== other.isIdle) return one.isIdle ? one : other
  return other.lastAccessedAt < one.lastAccessedAt ? other : one
}

// Up to so many sessions, a search is faster than a queue, and takes no memory.
const FEW = 64

/** The sessions of one principal. When they are too many to be searched, they get a queue of their own. */
class OwnSessions {
  readonly #places = new Map<SessionRecord, OwnPlace | undefined>()
  #queue: IdleQueue | undefined

  constructor (sessions: readonly SessionRecord[]) {
    for (const session of sessions) this.add(session)
  }

  get count (): number {
    return this.#places.size
  }

  add (session: SessionRecord): void {
    this.#places.set(session, this.#enqueue(session))
    if (this.#queue !== undefined || this.count <= FEW) return
    this.#queue = new IdleQueue(Infinity)
    for (const session of this.#places.keys()) this.#places.set(session, this.#enqueue(session))
  }

  /** Returns whether it was there. */
  delete (session: SessionRecord): boolean {
    this.#places.get(session)?.unlink()
    return this.#places.delete(session)
  }

  requeue (session: SessionRecord): void {
    this.#places.get(session)?.unlink()
    this.#places.set(session, this.#enqueue(session))
  }

  nextToEvict (): SessionRecord | undefined {
    if (this.#queue !== undefined) return this.#queue.nextToEvict()
    return this.#search(({ isIdle }) => isIdle) ?? this.#search(({ holdsOnlyStreams }) => holdsOnlyStreams)
  }

  #enqueue (session: SessionRecord): OwnPlace | undefined {
    if (this.#queue === undefined) return undefined
    const place = new OwnPlace(session)
    this.#queue.add(place)
    return place
  }

  #search (mayGo: (session: SessionRecord) => boolean): SessionRecord | undefined {
    let oldest: SessionRecord | undefined
    for (const session of this.#places.keys()) {
      if (!mayGo(session)) continue
      if (oldest === undefined || session.lastAccessedAt < oldest.lastAccessedAt) oldest = session
    }
    return oldest
  }
}

/** The place of a session in the queue of its principal. */
class OwnPlace extends ListNode {
  readonly #session: SessionRecord

  constructor (session: SessionRecord) {
    super()
    this.#session = session
  }

  override get session (): SessionRecord {
    return this.#session
  }
}
