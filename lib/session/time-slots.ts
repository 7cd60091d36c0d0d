import { isPlace, ListNode, type Place } from './list-node.js'
import type { SessionRecord } from './session-record.js'

// Sessions by the time of their last access, in slots of time that do not overlap:
//
//   [100, 200)   [200, 300)   [500, 600)
//       |            |            |
//    a, b, c, d      e         f, g, h
//
// A touch costs nothing here: it writes `lastAccessedAt` and leaves the session in its slot, so that a slot may hold
// sessions of later times, and never of earlier ones. Whoever looks at a slot moves on those that have been touched since.
//
// Which session is the oldest? It is in the first slot. A few sessions are searched for it. Many are split into parts by
// their times, and the first part is looked at in the same way:
//
//   [100, 200)       [130, 131)   [131, 132)   [164, 165)   [200, 300)   [500, 600)
//       |        ->      |            |            |            |            |
//   thousands        thousands      a few         one           e         f, g, h
//
// A slot to which many have come is ended at the next session that is younger than all of them, which opens another slot:
// so no split is of so many that somebody has to wait for it.
//
// In a slot of one millisecond all are equally old, so the first that still belongs there is the oldest: thousands
// that were opened together are not searched again. An hour is down to milliseconds after four splits. So a session is
// moved four times at most between its last touch and its end, however many sessions there are.

interface Slot {
  /** The first millisecond that belongs to the slot. */
  readonly start: number
  /** The first millisecond after it. */
  end: number
  /** How many sessions have come to it. Some of them may have left since. */
  arrivals: number
  /** The latest time of those that have come. */
  latest: number
  /** Head of the circular list of the sessions in the slot. */
  readonly head: ListNode
}

interface Survey {
  count: number
  oldest: Place | undefined
  /** The latest `lastAccessedAt` of those that were counted. */
  newest: number
}

// Up to so many slots nobody looks for empty ones.
const FEW_SLOTS = 128
// Up to so many sessions a slot is searched, and not split.
const FEW_SESSIONS = 64
// Into so many parts a slot is split.
const PARTS = 64
// A slot to which so many have come is ended at the next that is younger than all of them.
const FULL_SLOT = 1024

/** Sessions in the order of their last access, which is found out only as far as it is asked for. */
export class TimeSlots {
  readonly #width: number
  readonly #belongs: (session: SessionRecord) => boolean
  readonly #dismiss: (place: Place) => void
  #slots: Slot[] = []
  #pruneAt = FEW_SLOTS
  // Sessions that a pass puts back into the slot it is visiting line up behind the mark.
  readonly #mark = new ListNode()
  #markedSlot: Slot | undefined
  #markedFor = NaN

  /**
   * @param width milliseconds of a slot; Infinity: one slot for all times
   * @param belongs whether a session is in the right place here
   * @param dismiss gets the place of a session that does not belong here any more, after it was taken out
   */
  constructor (width: number, belongs: (session: SessionRecord) => boolean, dismiss: (place: Place) => void) {
    this.#width = width
    this.#belongs = belongs
    this.#dismiss = dismiss
  }

  /** Adds a place that is in no list. */
  add (place: Place): void {
    const { lastAccessedAt } = place.session
    const slot = this.#slotAt(lastAccessedAt)
    slot.arrivals++
    slot.latest = Math.max(slot.latest, lastAccessedAt)
    place.linkBefore(slot.head)
  }

  /** The place of the session that was accessed longest ago; of equally old ones that which came first. It stays. */
  oldest (): Place | undefined {
    for (let slot = this.#slots[0]; slot !== undefined; slot = this.#slots[0]) {
      const isInstant = slot.end - slot.start <= 1
      const { count, oldest, newest } = this.#survey(slot, isInstant ? 1 : Infinity)
      if (oldest === undefined) this.#drop(slot)
      else if (isInstant || count <= FEW_SESSIONS) return oldest
      else this.#split(slot, oldest.session.lastAccessedAt, newest)
    }
    return undefined
  }

  /**
   * Takes the next place out of the slots that begin before `time`, in the order of slots. What is added again is not
   * taken a second time by a pass for the same `time`, unless its slot has been split.
   */
  takeBefore (time: number): Place | undefined {
    if (this.#markedFor !== time) this.#removeMark()
    this.#markedFor = time
    for (let slot = this.#slots[0]; slot !== undefined && slot.start < time; slot = this.#slots[0]) {
      if (this.#markedSlot !== slot) this.#moveMark(slot)
      const place = slot.head.next
      if (isPlace(place)) {
        place.unlink()
        return place
      }
      this.#removeMark()
      // What is left was put back: it is younger than `time`, and so are all other slots.
      if (slot.head.isLinked) return undefined
      this.#slots.shift()
    }
    return undefined
  }

  // Looks at the sessions of the slot until it has found enough that belong there, and moves the others to where they belong.
  #survey (slot: Slot, enough: number): Survey {
    const survey: Survey = { count: 0, oldest: undefined, newest: -Infinity }
    for (let node = slot.head.next, next = node.next; node !== slot.head && survey.count < enough; node = next, next = node.next) {
      if (!isPlace(node) || this.#moveOn(node, slot)) continue
      const time = node.session.lastAccessedAt
      survey.count++
      survey.newest = Math.max(survey.newest, time)
      if (survey.oldest === undefined || time < survey.oldest.session.lastAccessedAt) survey.oldest = node
    }
    return survey
  }

  #moveOn (place: Place, slot: Slot): boolean {
    const belongs = this.#belongs(place.session)
    if (belongs && place.session.lastAccessedAt < slot.end) return false
    place.unlink()
    if (belongs) this.add(place)
    else this.#dismiss(place)
    return true
  }

  // When its last session was moved on, #prune() may have removed the slot already.
  #drop (slot: Slot): void {
    if (this.#slots[0] === slot) this.#slots.shift()
  }

  // Puts in the place of the first slot those of its parts that have sessions. All its sessions must belong to it.
  #split (slot: Slot, oldest: number, newest: number): void {
    if (this.#markedSlot === slot) this.#removeMark()
    const isInstant = newest === oldest
    const parts = isInstant
      ? [{ start: oldest, end: oldest + 1, arrivals: slot.arrivals, latest: oldest, head: slot.head }]
      : divide(slot, oldest, newest)
    this.#slots.splice(0, 1, ...parts)
  }

  #moveMark (slot: Slot): void {
    this.#removeMark()
    this.#mark.linkBefore(slot.head)
    this.#markedSlot = slot
  }

  #removeMark (): void {
    this.#mark.unlink()
    this.#markedSlot = undefined
  }

  // Where there is no slot for the time, one is made: `width` wide, less what its neighbours cover.
  #slotAt (time: number): Slot {
    // From the end, because most times are late ones.
    const index = this.#slots.findLastIndex(({ start }) => start <= time) + 1
    const before = this.#slots[index - 1]
    if (before !== undefined && time < before.end) {
      if (before.arrivals < FULL_SLOT || time <= before.latest) return before
      before.end = time
    }
    const start = time - time % this.#width
    const added: Slot = {
      start: Math.max(start, before?.end ?? start),
      end: Math.min(start + this.#width, this.#slots[index]?.start ?? Infinity),
      arrivals: 0,
      latest: -Infinity,
      head: new ListNode()
    }
    this.#slots.splice(index, 0, added)
    if (this.#slots.length > this.#pruneAt) this.#prune(added)
    return added
  }

  // A session does not tell its slot when it leaves, so empty slots are found here.
  #prune (keep: Slot): void {
    const filled = this.#slots.filter((slot) => slot === keep || slot.head.isLinked)
    this.#slots = filled
    this.#pruneAt = Math.max(FEW_SLOTS, 2 * filled.length)
  }
}

function divide (slot: Slot, oldest: number, newest: number): Slot[] {
  const width = Math.ceil((newest - oldest + 1) / PARTS)
  const parts: Slot[] = []
  for (let node = slot.head.next, next = node.next; isPlace(node); node = next, next = node.next) {
    const index = Math.floor((node.session.lastAccessedAt - oldest) / width)
    const start = oldest + index * width
    const part = parts[index] ??= { start, end: Math.min(start + width, slot.end), arrivals: 0, latest: start, head: new ListNode() }
    part.arrivals++
    part.latest = Math.max(part.latest, node.session.lastAccessedAt)
    node.unlink()
    node.linkBefore(part.head)
  }
  // flat() leaves out the parts to which no session belongs.
  return parts.flat()
}
