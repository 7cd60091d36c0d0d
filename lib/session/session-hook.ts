import type { FastifyReply, FastifyRequest, onRequestHookHandler, RouteOptions } from 'fastify'
import { MalformedSessionIdError, MissingSessionIdError, RouteConfigError, SessionNotFoundError, type SessionError } from '../errors.js'
import type { ErrorResponseBuilder } from '../options.js'
import { hasSessions } from './protocol-revision.js'
import { isSessionId, SESSION_HEADER } from './session-id.js'
import type { SessionManager } from './session-manager.js'
import type { Session } from './session.js'

/** What a route wants of the session header. */
export type SessionMode = 'required' | 'optional' | 'ignore'

/**
 * The `onRequest` hook: the only reader of the session header. It finds the
 * session, holds it until the response is over, and answers what is wrong.
 */
export function createSessionHook (sessions: SessionManager, buildBody: ErrorResponseBuilder): onRequestHookHandler {
  return function checkSession (request, reply, done) {
    const outcome = findSession(sessions, request)
    if (outcome instanceof Error) {
      reply.code(outcome.statusCode).send(buildBody(request, outcome))
      return
    }
    if (outcome !== null) holdUntilOver(sessions, outcome, request, reply)
    done()
  }
}

/**
 * The `onRoute` hook.
 *
 * @throws RouteConfigError for a route whose `config.mcpSession` means nothing
 */
export function checkRouteConfig (route: RouteOptions): void {
  checkMode(route.config?.mcpSession, String(route.method), route.url)
}

function findSession (sessions: SessionManager, request: FastifyRequest): Session | SessionError | null {
  const id = request.headers[SESSION_HEADER]
  const { config, url = '' } = request.routeOptions
  const mode = checkMode(config.mcpSession, request.method, url)
  if (mode === 'ignore' || request.is404) return null
  if (id === undefined || !hasSessions(request.headers['mcp-protocol-version'])) {
    return mode === 'required' ? new MissingSessionIdError() : null
  }
  // Node.js joins a header that is sent twice with a comma and a space, and a space is not visible.
  if (!isSessionId(id)) return new MalformedSessionIdError()
  return sessions.acquire(id) ?? new SessionNotFoundError()
}

// Not every route passes by onRoute: those declared before the plugin are checked as they are called.
function checkMode (mode: unknown, method: string, url: string): SessionMode {
  if (mode === undefined) return 'optional'
  if (mode === 'required' || mode === 'optional' || mode === 'ignore') return mode
  throw new RouteConfigError(method, url, JSON.stringify(mode))
}

// The response closes however it ends: sent, aborted, streamed, hijacked, injected.
function holdUntilOver (sessions: SessionManager, session: Session, request: FastifyRequest, reply: FastifyReply): void {
  request.mcpSession = session
  if (reply.raw.destroyed) {
    sessions.release(session)
    return
  }
  reply.raw.on('close', () => sessions.release(session))
}
