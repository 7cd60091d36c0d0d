import type { Session } from '../session/session.js'
import type { SessionState } from './session-cluster.js'

// By session, what a client would have said to open it.
const states = new WeakMap<Session, SessionState>()

/** Has an endpoint serve a session that the app has made, as if a client had opened it. For the test kit. */
export function keepMadeState (session: Session, state: SessionState): void {
  states.set(session, state)
}

export function readMadeState (session: Session): SessionState | undefined {
  return states.get(session)
}
