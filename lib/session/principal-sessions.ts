import { IdleQueue } from './idle-queue.js'
import { ListNode } from './list-node.js'
import type { SessionRecord } from './session-record.js'

/** The sessions of each principal, for the limit within one principal. */
export class PrincipalSessions {
  readonly #max: number
  readonly #sessions = new Map<string, OwnSessions>()

  /** @param max sessions of one principal; Infinity: no limit, and nothing is kept */
  constructor (max: number) {
    this.#max = max
  }

  add (session: SessionRecord): void {
    const { principal } = session
    if (principal === undefined || this.#max === Infinity) return
    const own = this.#of(principal) ?? new OwnSessions()
    own.add(session)
    this.#sessions.set(principal, own)
  }

  delete (session: SessionRecord): void {
    const { principal } = session
    const own = this.#of(principal)
    if (principal === undefined || own === undefined) return
    own.delete(session)
    if (own.count === 0) this.#sessions.delete(principal)
  }

  /** Says that the session, which is among these, has got a new place in the queue of all sessions. */
  requeue (session: SessionRecord): void {
    this.#of(session.principal)?.requeue(session)
  }

  isFull (principal: string | undefined): boolean {
    return (this.#of(principal)?.count ?? 0) >= this.#max
  }

  /** Of the principal's sessions the one that `IdleQueue` would evict. */
  nextToEvict (principal: string | undefined): SessionRecord | undefined {
    return this.#of(principal)?.nextToEvict()
  }

  #of (principal: string | undefined): OwnSessions | undefined {
    return principal === undefined ? undefined : this.#sessions.get(principal)
  }
}

// So many are searched faster than they are kept in order, and do without the memory for it.
const FEW = 64

/** The sessions of one principal; from the first that is one too many to be searched, with a queue of their own. */
class OwnSessions {
  readonly #places = new Map<SessionRecord, OwnPlace | undefined>()
  #queue: IdleQueue | undefined

  get count (): number {
    return this.#places.size
  }

  add (session: SessionRecord): void {
    this.#places.set(session, this.#enqueue(session))
    if (this.#queue !== undefined || this.count <= FEW) return
    this.#queue = new IdleQueue(Infinity)
    for (const session of this.#places.keys()) this.#places.set(session, this.#enqueue(session))
  }

  delete (session: SessionRecord): void {
    this.#places.get(session)?.unlink()
    this.#places.delete(session)
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
