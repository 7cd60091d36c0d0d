import type { FastifyBaseLogger } from 'fastify'
import { runGuarded } from '../base/safe-call.js'
import { channels, type CloseReason, type ObservedSession } from '../observe/channels.js'
import { listen, type Stop } from '../observe/listen.js'
import { hashSessionId } from '../session/session-id.js'

const CREATED = {
  created: 'Session created',
  registered: 'Session registered',
  adopted: 'Session adopted from another process'
}

const CLOSED: { readonly [reason in CloseReason]: string } = {
  deleted: 'Session deleted',
  expired: 'Session expired',
  evicted: 'Session evicted',
  replaced: 'Session replaced by another of the same id',
  cleared: 'Session cleared',
  shutdown: 'Session closed by the shutdown',
  moved: 'Session moved to another node'
}

/**
 * Writes a line for each thing that happens to the sessions of one app: its message names what it is, its fields say
 * the rest. Call what it returns when the app has closed.
 */
export function logSessions (sessions: object, log: FastifyBaseLogger): Stop {
  const ends = [
    listen(channels['session.created'], sessions, guard(({ session, how }) => {
      log.info(describe(session, { revision: session.protocolVersion }), CREATED[how])
    })),
    listen(channels['session.closed'], sessions, guard(({ session, reason, age }) => {
      log.info(describe(session, { reason, age }), CLOSED[reason])
    })),
    listen(channels['session.restored'], sessions, guard(({ session, unanswered }) => {
      log.info(describe(session, { unanswered }), 'Session restored with a new MCP server')
    })),
    listen(channels['session.parked'], sessions, guard(({ session }) => {
      log.debug(describe(session), 'Session parked')
    })),
    listen(channels['session.handed-over'], sessions, guard(({ session }) => {
      log.info(describe(session), 'Session handed over')
    }))
  ]
  return () => { for (const end of ends) end() }
}

// A getter, so that nothing is hashed for a level that is not logged.
function describe ({ id }: ObservedSession, more: object = {}): object {
  return { get sessionId () { return hashSessionId(id) }, ...more }
}

// A listener that throws ends the process. That the logger has failed can be told to nobody.
function guard<M> (write: (message: M) => void): (message: M) => void {
  return (message) => runGuarded(() => write(message), () => {})
}
