import type { FastifyReply, FastifyRequest, onRequestHookHandler, RouteOptions } from 'fastify'
import { inspect } from 'node:util'
import {
  MalformedSessionIdError, MissingSessionIdError, RouteConfigError, SessionNotFoundError, toJsonRpcError, type SessionError
} from '../errors.js'
import type { ErrorResponseBuilder } from '../options.js'
import { hasSessions } from './protocol-revision.js'
import { onResponseOver } from './response-over.js'
import { isSessionId, SESSION_HEADER } from './session-id.js'
import type { SessionManager } from './session-manager.js'
import type { Session } from './session.js'

/** What a route wants of the session header. */
export type SessionMode = 'required' | 'optional' | 'ignore'

/**
 * The `onRequest` hook: the only reader of the session header. It finds the
 * session, holds it until the response is over, and answers what is wrong.
 */
export function createSessionHook (sessions: SessionManager, buildBody?: ErrorResponseBuilder): onRequestHookHandler {
  return function checkSession (request, reply, done) {
    const outcome = findSession(sessions, request)
    if (outcome instanceof Error) {
      reject(request, reply, outcome, buildBody)
      return
    }
    // Also when it is null: a scope that was loaded before the plugin has the hook, but not the decorator.
    request.mcpSession = outcome
    if (outcome !== null) onResponseOver(request, reply, () => sessions.release(outcome))
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
  throw new RouteConfigError(method, url, inspect(mode))
}

function reject (request: FastifyRequest, reply: FastifyReply, error: SessionError, buildBody: ErrorResponseBuilder | undefined): void {
  if (buildBody === undefined) {
    // As a string: the response schemas and serializers of the route are for its own bodies.
    reply.code(error.statusCode).type('application/json; charset=utf-8').send(JSON.stringify(toJsonRpcError(error)))
    return
  }
  // Before the status: a builder that throws is a fault of the app, and answers 500.
  const body = buildBody(request, error)
  reply.code(error.statusCode).send(body)
}
