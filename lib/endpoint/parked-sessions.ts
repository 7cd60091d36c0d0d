import type { SessionState } from '../http/session-cluster.js'
import type { Session } from '../session/session.js'

/** Sessions of which nothing is left but what their clients had said. */
export class ParkedSessions {
  // As JSON: a third of the memory.
  readonly #states = new Map<Session, string>()

  add (session: Session, state: SessionState): void {
    this.#states.set(session, JSON.stringify(state))
  }

  readState (session: Session): SessionState | undefined {
    const state = this.#states.get(session)
    return state === undefined ? undefined : JSON.parse(state)
  }

  delete (session: Session): void {
    this.#states.delete(session)
  }
}
