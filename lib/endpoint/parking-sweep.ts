import { runGuarded } from '../base/safe-call.js'
import { clampToTimer } from '../base/option-checks.js'

export interface ParkingSweepOptions<S> {
  /** Milliseconds after which a session may be parked. */
  readonly parkAfter: number
  readonly sessions: () => Iterable<S>
  /** Parks the session, if it can be. */
  readonly park: (session: S) => void
  readonly onError: (error: Error) => void
}

// In milliseconds, for a number of sessions says little: to look at one takes next to nothing, to let go of its server a
// hundred microseconds, and more while V8 collects garbage.
const LONGEST_SLICE = 2
const SHORTEST_INTERVAL = 100
const LONGEST_INTERVAL = 60_000

/**
 * Looks for sessions to park, twice in the time after which one is parked. It does so in slices, so that many sessions do not
 * hold up the event loop.
 */
export class ParkingSweep<S> {
  readonly #options: ParkingSweepOptions<S>
  readonly #timer: NodeJS.Timeout
  #slice: NodeJS.Immediate | undefined

  constructor (options: ParkingSweepOptions<S>) {
    this.#options = options
    const interval = Math.min(Math.max(options.parkAfter / 2, SHORTEST_INTERVAL), LONGEST_INTERVAL)
    this.#timer = setInterval(() => this.#start(), clampToTimer(interval))
    this.#timer.unref()
  }

  stop (): void {
    clearInterval(this.#timer)
    clearImmediate(this.#slice)
    this.#slice = undefined
  }

  // A sweep that takes longer than the interval goes on, and no other begins.
  #start (): void {
    if (this.#slice === undefined) this.#run(this.#options.sessions()[Symbol.iterator]())
  }

  #run (sessions: Iterator<S>): void {
    this.#slice = this.#runSlice(sessions) ? undefined : setImmediate(() => this.#run(sessions))
    this.#slice?.unref()
  }

  // Returns whether it has come to the end.
  #runSlice (sessions: Iterator<S>): boolean {
    const end = performance.now() + LONGEST_SLICE
    do {
      const next = sessions.next()
      if (next.done === true) return true
      runGuarded(() => this.#options.park(next.value), this.#options.onError)
    } while (performance.now() < end)
    return false
  }
}
