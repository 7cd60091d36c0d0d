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

// Looking at a session takes next to nothing, letting go of its server a hundred microseconds, and more while V8 collects
// garbage: so a slice is bounded by time. In milliseconds.
const LONGEST_SLICE = 2
const SHORTEST_INTERVAL = 100
const LONGEST_INTERVAL = 60_000

/** Looks, twice in the time after which a session is parked, for those to park: in slices, so that many do not hold up the event loop. */
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

  // One that takes longer than the interval goes on instead.
  #start (): void {
    if (this.#slice === undefined) this.#run(this.#options.sessions()[Symbol.iterator]())
  }

  #run (sessions: Iterator<S>): void {
    this.#slice = this.#runSlice(sessions) ? undefined : setImmediate(() => this.#run(sessions))
    this.#slice?.unref()
  }

  // Whether it has come to the end.
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
