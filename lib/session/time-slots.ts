import { isPlace, ListNode, type Place } from './list-node.js'
import type { SessionRecord } from './session-record.js'

// Sessions by the time of their last access, in slots of time that do not overlap:
//
//   [100, 200)   [200, 300)   [500, 600)
//       |            |            |
//    a, b, c, d      e         f, g, h
//
// A touch costs nothing here: it writes `lastAccessedAt` and leaves the session in its slot, which is never too late
// a one. Whoever looks at a slot moves on what has been touched since, so each touch is paid for by one look at most.
//
// Which one is the oldest? It is in the first slot. Few sessions are searched for it. Many are split, by what times
// there are among them, and the first part is looked at in the same way:
//
//   [100, 200)       [130, 131)   [131, 132)   [164, 165)   [200, 300)   [500, 600)
//       |        ->      |            |            |            |            |
//   thousands        thousands      a few         one           e         f, g, h
//
// So that nobody has to wait for a split of all, a slot that many have come to ends before the next one who is younger
// than all of them: that one opens another slot.
//
// In a slot of one millisecond all are equally old, so the first that still belongs there is the oldest: thousands
// that were opened together are not looked at again. Four splits make milliseconds of an hour, and so often at most is
// a session moved between its last touch and its end, however many there are.

interface Slot {
  /** The first millisecond that belongs to the slot. */
  readonly start: number
  /** The first millisecond after it. */
  end: number
  /** How many sessions have come to it: no fewer than there are. */
  arrivals: number
  /** The latest time with which one has come. */
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

const FEW_SLOTS = 128
const FEW_SESSIONS = 64
const PARTS = 64
const FULL_SLOT = 1024

/** Keeps sessions in the order of their last access, as far as somebody wants to know it. */
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
   * @param dismiss gets the place, then in no list, of one that was found not to be
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

  // Looks at the sessions of the slot until it has found enough that belong there, and lets the others go on.
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

  // Moving its last session on can have made #prune() clear it out.
  #drop (slot: Slot): void {
    if (this.#slots[0] === slot) this.#slots.shift()
  }

  // In place of the first slot come the parts of it that have sessions; all of them belong there.
  #split (slot: Slot, oldest: number, newest: number): void {
    if (this.#markedSlot === slot) this.#removeMark()
    const isInstant = newest === oldest
    const parts = isInstant ? [{ start: oldest, end: oldest + 1, arrivals: slot.arrivals, latest: oldest, head: slot.head }] : divide(slot, oldest, newest)
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

  // A slot is made where no other is: as wide as all, but for what its neighbours have of that.
  #slotAt (time: number): Slot {
    // From the end, where most of them come to.
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

  // Sessions leave their slots without looking back, so empty ones are found here.
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
  // Without the holes.
  return parts.flat()
}
