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

// Letting go of a server takes up to a hundred microseconds, so a slice stays below some milliseconds.
const VISITS_PER_SLICE = 64
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
    if (this.#slice === undefined) this.#run(Array.from(this.#options.sessions()), 0)
  }

  #run (sessions: readonly S[], from: number): void {
    const to = Math.min(from + VISITS_PER_SLICE, sessions.length)
    for (const session of sessions.slice(from, to)) runGuarded(() => this.#options.park(session), this.#options.onError)
    this.#slice = to < sessions.length ? setImmediate(() => this.#run(sessions, to)) : undefined
    this.#slice?.unref()
  }
}
