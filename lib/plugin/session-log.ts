import type { FastifyBaseLogger } from 'fastify'
import { runGuarded } from '../base/safe-call.js'
import { channels, type ChannelMessage, type TypedChannel } from '../observe/channels.js'
import { hashSessionId } from '../session/session-id.js'

const CREATED = {
  created: 'Session created',
  registered: 'Session registered',
  adopted: 'Session adopted from another process'
}

const CLOSED: { readonly [reason: string]: string } = {
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
export function logSessions (sessions: object, log: FastifyBaseLogger): () => void {
  const ends = [
    listen(channels['session.created'], sessions, ({ session: { id, protocolVersion }, how }) => {
      log.info({ sessionId: hashSessionId(id), revision: protocolVersion }, CREATED[how])
    }),
    listen(channels['session.closed'], sessions, ({ session: { id }, reason, age }) => {
      log.info({ sessionId: hashSessionId(id), reason, age }, CLOSED[reason] ?? 'Session closed')
    }),
    listen(channels['session.restored'], sessions, ({ session: { id }, unanswered }) => {
      log.info({ sessionId: hashSessionId(id), unanswered }, 'Session restored with a new MCP server')
    }),
    listen(channels['session.parked'], sessions, ({ session: { id } }) => {
      log.debug({ sessionId: hashSessionId(id) }, 'Session parked')
    }),
    listen(channels['session.handed-over'], sessions, ({ session: { id } }) => {
      log.info({ sessionId: hashSessionId(id) }, 'Session handed over')
    })
  ]
  return () => { for (const end of ends) end() }
}

function listen<M extends ChannelMessage> (channel: TypedChannel<M>, sessions: object, write: (message: M) => void): () => void {
  const listener = (message: M): void => {
    // A logger that fails has nobody left to tell, and Node.js would end the process.
    if (message.sessions === sessions) runGuarded(() => write(message), () => {})
  }
  channel.subscribe(listener)
  return () => { channel.unsubscribe(listener) }
}
