import type { EventLog } from '../http/event-log.js'
import type { SessionState } from '../http/session-cluster.js'
import type { Session } from '../session/session.js'

interface Parked {
  /** As JSON: a third of the memory. */
  readonly state: string
  readonly log: EventLog | undefined
}

/** Sessions without an MCP server and without a stream: what their clients had said, and nothing else. */
export class ParkedSessions {
  readonly #sessions = new Map<Session, Parked>()

  /** @param log the events that a client may come back for */
  add (session: Session, state: SessionState, log: EventLog | undefined): void {
    this.#sessions.set(session, { state: JSON.stringify(state), log })
  }

  readState (session: Session): SessionState | undefined {
    const parked = this.#sessions.get(session)
    return parked && JSON.parse(parked.state)
  }

  readLog (session: Session): EventLog | undefined {
    return this.#sessions.get(session)?.log
  }

  delete (session: Session): void {
    this.#sessions.delete(session)
  }
}
