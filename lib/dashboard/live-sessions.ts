import { channels } from '../observe/channels.js'
import { listen, type Stop } from '../observe/listen.js'
import type { SessionManager } from '../session/session-manager.js'
import type { Session } from '../session/session.js'
import { OwnSession, type Place } from './shown-session.js'

/** Of all sessions of this process. */
export interface Totals {
  readonly sessions: number
  readonly parked: number
  readonly inFlight: number
  readonly streams: number
}

export interface LiveSessionsOptions {
  readonly sessions: SessionManager
  /** The id of this node; empty without a cluster. */
  readonly node: () => string
}

/** The sessions of this process, those included that were there before. */
export class LiveSessions implements Place {
  readonly #sessions: SessionManager
  readonly #node: () => string
  readonly #parked = new Set<object>()
  // What has been made of them to be shown.
  #shown = new WeakMap<Session, OwnSession>()
  #events = 0
  readonly #startedAt = Date.now()

  constructor ({ sessions, node }: LiveSessionsOptions) {
    this.#sessions = sessions
    this.#node = node
  }

  /** Hears what happens from now on. */
  listen (): Stop {
    const sessions = this.#sessions
    // One whose server cannot be made stays parked, and is parked again.
    const wake = ({ session }: { session: object }): void => {
      this.#parked.delete(session)
      this.#events++
    }
    const count = (): void => { this.#events++ }
    const stops = [
      listen(channels['session.created'], sessions, count),
      listen(channels['session.closed'], sessions, wake),
      listen(channels['session.restored'], sessions, wake),
      listen(channels['session.parked'], sessions, ({ session }) => {
        this.#parked.add(session)
        this.#events++
      }),
      listen(channels['request.rejected'], sessions, count)
    ]
    return () => { for (const stop of stops) stop() }
  }

  get node (): string {
    return this.#node()
  }

  isParked (session: Session): boolean {
    return this.#parked.has(session)
  }

  has (id: string): boolean {
    return this.#sessions.get(id) !== undefined
  }

  /** False: it is not here, or not any more. */
  end (id: string): boolean {
    return this.#sessions.cleanup(id).success
  }

  /** The sessions as they are shown. */
  * [Symbol.iterator] (): Generator<OwnSession> {
    for (const session of this.#sessions.list()) {
      let shown = this.#shown.get(session)
      if (shown === undefined) {
        shown = new OwnSession(session, this)
        this.#shown.set(session, shown)
      }
      yield shown
    }
  }

  /** When nobody looks any more, nothing that was made to be shown stays in memory. */
  forget (): void {
    this.#shown = new WeakMap()
  }

  get totals (): Totals {
    const { inFlight, streams, sessions } = this.#count()
    return { sessions, parked: this.#parked.size, inFlight, streams }
  }

  /** Another text after each change. Most uses of a session are told by nobody: all of them are looked at, and nothing is made of them. */
  get fingerprint (): string {
    const { sessions, inFlight, streams, used } = this.#count()
    return [this.#events, sessions, inFlight, streams, used].join()
  }

  #count (): { sessions: number, inFlight: number, streams: number, used: number } {
    const all = this.#sessions.list()
    let inFlight = 0
    let streams = 0
    let used = 0
    for (const { activeRequests, openStreams, lastAccessedAt } of all) {
      inFlight += activeRequests - openStreams
      streams += openStreams
      // From a time nearby, so that the sum stays exact.
      used += lastAccessedAt - this.#startedAt
    }
    return { sessions: all.length, inFlight, streams, used }
  }
}
