import { channels } from '../observe/channels.js'
import { listen, type Stop } from '../observe/listen.js'
import { ParkedSet } from '../observe/parked-set.js'
import type { SessionManager } from '../session/session-manager.js'
import type { Session } from '../session/session.js'
import { OwnSession, type Place } from './shown-session.js'

/** The numbers of all sessions of this process. */
export interface Totals {
  /** How many sessions there are. */
  readonly sessions: number
  /** How many of them have no MCP server until their next request. */
  readonly parked: number
  /** Requests that wait for their answer. */
  readonly inFlight: number
  /** Streams that have no end of their own. */
  readonly streams: number
}

/** All sessions of this process at one moment. */
export interface LiveLook {
  readonly totals: Totals
  /** A text that changes with each change. */
  readonly fingerprint: string
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
  readonly #parked = new ParkedSet()
  // Each session as it is shown, in the order in which they came. Undefined until somebody looks.
  #shown: Map<object, OwnSession> | undefined
  #events = 0
  readonly #startedAt = Date.now()

  constructor ({ sessions, node }: LiveSessionsOptions) {
    this.#sessions = sessions
    this.#node = node
  }

  /** Hears what happens from now on. */
  listen (): Stop {
    const sessions = this.#sessions
    const count = (): void => { this.#events++ }
    const stops = [
      this.#parked.listen(sessions),
      listen(channels['session.created'], sessions, ({ session: { id } }) => {
        const session = sessions.get(id)
        if (session !== undefined) this.#shown?.set(session, new OwnSession(session, this))
        count()
      }),
      listen(channels['session.closed'], sessions, ({ session }) => {
        this.#shown?.delete(session)
        count()
      }),
      listen(channels['session.restored'], sessions, count),
      listen(channels['session.parked'], sessions, count),
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

  /** Ends a session of this process, and returns whether there was one. */
  end (id: string): boolean {
    return this.#sessions.cleanup(id).success
  }

  /** The sessions as they are shown. */
  [Symbol.iterator] (): Iterator<OwnSession> {
    this.#shown ??= new Map(this.#sessions.list().map((session) => [session, new OwnSession(session, this)]))
    return this.#shown.values()
  }

  /** Lets go of what was made to be shown, when nobody looks any more. */
  forget (): void {
    this.#shown = undefined
  }

  /** Walks through all sessions, because no channel tells when a session is used. Makes no object for any of them. */
  look (): LiveLook {
    const all = this.#sessions.list()
    let inFlight = 0
    let streams = 0
    let used = 0
    for (const { activeRequests, openStreams, lastAccessedAt } of all) {
      inFlight += activeRequests - openStreams
      streams += openStreams
      // Relative to a time nearby, so that the sum stays small enough to be exact.
      used += lastAccessedAt - this.#startedAt
    }
    return {
      totals: { sessions: all.length, parked: this.#parked.size, inFlight, streams },
      fingerprint: [this.#events, all.length, inFlight, streams, used].join()
    }
  }
}
