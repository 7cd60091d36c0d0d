import { SessionRecord } from './session-record.js'

interface Slot {
  /** The first millisecond that belongs to the slot. */
  readonly start: number
  /** Head of the circular list of the sessions in the slot. */
  readonly head: SessionRecord
}

export interface IdleBatch {
  /** Idle since before the time asked for, and no longer in the queue. */
  readonly sessions: SessionRecord[]
  /** Whether the visits ran out before the queue did. */
  readonly more: boolean
}

// A slot is this part of the ttl, so a sweep looks twice at 1/64 of the sessions at most.
const SLOTS_PER_TTL = 64
const SLOT_WITHOUT_TTL = 60_000
const FEW_SLOTS = 2 * SLOTS_PER_TTL

/**
 * Who expires next. Sessions wait in slots of time, the longest idle first.
 *
 * A touch costs the queue nothing: it writes `lastAccessedAt` and leaves the
 * session where it is, which is never too late a slot. Whoever looks at a slot
 * moves on what has been touched since, so each session is visited about once
 * per ttl, however often it is touched and however often a sweep runs. Sessions
 * that turn out to be active leave; the end of their last request brings them
 * back.
 */
export class IdleQueue {
  readonly #width: number
  #slots: Slot[] = []
  #pruneAt = FEW_SLOTS
  // Sessions that a pass puts back into the slot it is visiting line up behind the mark.
  readonly #mark = new SessionRecord('', 0)
  #markedSlot: Slot | undefined
  #markedFor = NaN

  /** @param ttl milliseconds; Infinity when sessions never expire */
  constructor (ttl: number) {
    this.#width = ttl === Infinity ? SLOT_WITHOUT_TTL : Math.max(1, Math.ceil(ttl / SLOTS_PER_TTL))
  }

  /** Adds a session that is in no slot. */
  add (session: SessionRecord): void {
    session.linkBefore(this.#slotAt(session.lastAccessedAt).head)
  }

  /**
   * Takes out sessions that have been idle since before `time`, looking at no
   * more than `visits` of them. Call it again with the same `time` for the rest.
   */
  takeIdleBefore (time: number, visits: number): IdleBatch {
    const sessions: SessionRecord[] = []
    if (this.#markedFor !== time) this.#markedSlot = undefined
    this.#markedFor = time
    for (; visits > 0; visits--) {
      const session = this.#takeBefore(time)
      if (session === undefined) return { sessions, more: false }
      if (session.activeRequests > 0) continue
      if (session.lastAccessedAt < time) sessions.push(session)
      else this.add(session)
    }
    return { sessions, more: true }
  }

  /** The session that has been idle longest; it stays in the queue. */
  longestIdle (): SessionRecord | undefined {
    for (let slot = this.#slots[0]; slot !== undefined; slot = this.#slots[0]) {
      const session = this.#settle(slot)
      if (session !== undefined) return session
      // Moving its last session on can have made the queue clear it out.
      if (this.#slots[0] === slot) this.#slots.shift()
    }
    return undefined
  }

  // Moves on what no longer belongs to the slot, and returns the oldest of what does.
  #settle (slot: Slot): SessionRecord | undefined {
    const end = slot.start + this.#width
    let oldest: SessionRecord | undefined
    for (let session = slot.head.next, next = session.next; session !== slot.head; session = next, next = session.next) {
      if (session === this.#mark) continue
      if (session.activeRequests > 0) {
        session.unlink()
      } else if (session.lastAccessedAt >= end) {
        session.unlink()
        this.add(session)
      } else if (oldest === undefined || session.lastAccessedAt < oldest.lastAccessedAt) {
        oldest = session
      }
    }
    return oldest
  }

  #takeBefore (time: number): SessionRecord | undefined {
    for (let slot = this.#slots[0]; slot !== undefined && slot.start < time; slot = this.#slots[0]) {
      if (this.#markedSlot !== slot) this.#moveMark(slot)
      const session = slot.head.next
      if (session !== this.#mark) {
        session.unlink()
        return session
      }
      this.#mark.unlink()
      this.#markedSlot = undefined
      // What is left was put back: it is younger than `time`, and so are all other slots.
      if (slot.head.isLinked) return undefined
      this.#slots.shift()
    }
    return undefined
  }

  #moveMark (slot: Slot): void {
    this.#mark.unlink()
    this.#mark.linkBefore(slot.head)
    this.#markedSlot = slot
  }

  #slotAt (time: number): Slot {
    const start = time - time % this.#width
    let index = this.#slots.length
    let slot = this.#slots[index - 1]
    while (slot !== undefined && slot.start > start) slot = this.#slots[--index - 1]
    if (slot?.start === start) return slot
    const added: Slot = { start, head: new SessionRecord('', start) }
    this.#slots.splice(index, 0, added)
    if (this.#slots.length > this.#pruneAt) this.#prune(added)
    return added
  }

  // Sessions leave their slots without looking back, so empty ones are found here.
  #prune (keep: Slot): void {
    const filled = this.#slots.filter((slot) => slot === keep || slot.head.isLinked)
    this.#slots = filled
    this.#pruneAt = Math.max(FEW_SLOTS, 2 * filled.length)
  }
}
