import type { FastifyReply, FastifyRequest, HookHandlerDoneFunction, onRequestHookHandler, RouteOptions } from 'fastify'
import { inspect } from 'node:util'
import {
  MalformedSessionIdError, MissingSessionIdError, RouteConfigError, SessionNotFoundError, type SessionError
} from '../base/errors.js'
import { asError } from '../base/safe-call.js'
import { hasBodyToCome } from './body-hook.js'
import type { Identify } from './principal.js'
import { hasSessions } from './protocol-revision.js'
import type { Reject } from './rejection.js'
import type { ReplyKind, ReplyRecord, ReplyTracker } from './reply-tracker.js'
import type { SessionCluster } from './session-cluster.js'
import { isSessionId, SESSION_HEADER } from '../session/session-id.js'
import type { SessionManager } from '../session/session-manager.js'
import type { Session } from '../session/session.js'

/** What a route wants of the session header. */
export type SessionMode = 'required' | 'optional' | 'ignore'

type Done = HookHandlerDoneFunction
/** Undefined: an anonymous caller. */
type Principal = string | undefined

/** Finds the sessions that are not in this process. */
type Locator = Pick<SessionCluster, 'isCurrent' | 'locate'>

export interface SessionHookOptions {
  readonly sessions: SessionManager
  readonly replies: ReplyTracker
  readonly identify: Identify
  readonly reject: Reject
  readonly cluster: Locator | undefined
}

export interface SessionHookRoutes {
  /** The same for every request. Default: what the config of the route says, which has to be looked up each time. */
  readonly mode?: Exclude<SessionMode, 'ignore'>
  /** What kind of reply a request with a session gets. Default: that of a route of the app. */
  readonly kindOf?: (request: FastifyRequest) => ReplyKind
}

/**
 * The `onRoute` hook: gives each route a session hook of its own. So the hook runs after the `onRequest` hooks of the scope
 * and of the route, and `identify` finds what they have found out; and it need not look up what the route wants.
 *
 * @throws RouteConfigError for a route whose `config.mcpSession` means nothing
 */
export function createRouteHook (options: SessionHookOptions): (route: RouteOptions) => void {
  const hooks = {
    required: createSessionHook(options, { mode: 'required' }),
    optional: createSessionHook(options, { mode: 'optional' })
  }
  return function addSessionHook (route) {
    const mode = checkMode(route.config?.mcpSession, String(route.method), route.url)
    if (mode === 'ignore') return
    route.onRequest = [route.onRequest ?? [], hooks[mode]].flat()
  }
}

/** The `onRequest` hook for routes that were declared before the plugin was registered. */
export function createEarlierHook (options: SessionHookOptions, hasOwnHook: (request: FastifyRequest) => boolean): onRequestHookHandler {
  const checkSession = createSessionHook(options)
  return function checkEarlier (request, reply, done) {
    if (hasOwnHook(request)) done()
    else checkSession.call(this, request, reply, done)
  }
}

/**
 * The `onRequest` hook: the only reader of the session header. It finds the session, holds it until the
 * response is over, and says what is wrong. A request with a body holds it from `createBodyHook` on.
 */
export function createSessionHook (options: SessionHookOptions, { mode, kindOf }: SessionHookRoutes = {}): onRequestHookHandler {
  const { sessions, replies, identify, reject, cluster } = options

  return function checkSession (request, reply, done) {
    const id = readSessionId(request, mode)
    if (id === undefined) {
      // A scope that was loaded before the plugin has the hook, but not the decorator.
      request.mcpSession = null
      done()
      return
    }
    if (id instanceof Error) {
      reject(request, reply, id)
      return
    }
    const principal = identify(request)
    if (principal instanceof Promise) {
      principal.then((known) => find(request, reply, done, id, known), (reason: unknown) => done(asError(reason)))
    } else {
      find(request, reply, done, id, principal)
    }
  }

  function find (request: FastifyRequest, reply: FastifyReply, done: Done, id: string, principal: Principal): void {
    if (cluster === undefined) {
      admit(request, reply, done, id, principal)
    } else {
      findInCluster(cluster, request, reply, done, id, principal)
    }
  }

  function findInCluster (
    cluster: Locator, request: FastifyRequest, reply: FastifyReply, done: Done, id: string, principal: Principal
  ): void {
    const session = sessions.get(id)
    // To a stranger the session does not exist, and a stranger does not keep it alive.
    if (session !== undefined && (session.principal !== principal || cluster.isCurrent(session))) {
      admit(request, reply, done, id, principal)
      return
    }
    // The request is under way from here on, even if another node answers it.
    const record = begin(request, reply)
    cluster.locate(request, reply, id, principal).then(
      (outcome) => {
        if (outcome instanceof Error) reject(request, reply, outcome)
        // By its id: the session may have been closed, and opened anew, since.
        else if (outcome !== 'answered') admit(request, reply, done, outcome.id, principal, record)
      },
      (reason: unknown) => done(asError(reason))
    )
  }

  function admit (
    request: FastifyRequest, reply: FastifyReply, done: Done, id: string, principal: Principal, begun?: ReplyRecord
  ): void {
    const isToCome = hasBodyToCome(request.raw)
    const session = isToCome ? touch(id, principal) : sessions.acquireFor(id, principal)
    if (session === undefined) {
      reject(request, reply, new SessionNotFoundError())
      return
    }
    request.mcpSession = session
    const record = begun ?? begin(request, reply)
    if (isToCome) record.expect(session)
    else record.hold(session)
    done()
  }

  function begin (request: FastifyRequest, reply: FastifyReply): ReplyRecord {
    return replies.begin(request, reply, kindOf?.(request) ?? 'request')
  }

  function touch (id: string, principal: Principal): Session | undefined {
    const session = sessions.get(id)
    if (session === undefined || session.principal !== principal) return undefined
    sessions.touch(id)
    return session
  }
}

function readSessionId (request: FastifyRequest, fixedMode: SessionMode | undefined): string | SessionError | undefined {
  const id = request.headers[SESSION_HEADER]
  const mode = fixedMode ?? readMode(request)
  if (mode === 'ignore') return undefined
  if (id === undefined || !hasSessions(request.headers['mcp-protocol-version'])) {
    return mode === 'required' ? new MissingSessionIdError() : undefined
  }
  // Node.js joins a header that is sent twice with a comma and a space, and a space is not visible.
  return isSessionId(id) ? id : new MalformedSessionIdError()
}

function readMode (request: FastifyRequest): SessionMode {
  if (request.is404) return 'ignore'
  const { config, url = '' } = request.routeOptions
  return checkMode(config.mcpSession, request.method, url)
}

// Not every route passes by onRoute: those declared before the plugin are checked as they are called.
function checkMode (mode: unknown, method: string, url: string): SessionMode {
  if (mode === undefined) return 'optional'
  if (mode === 'required' || mode === 'optional' || mode === 'ignore') return mode
  throw new RouteConfigError(method, url, inspect(mode))
}
