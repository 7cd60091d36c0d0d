import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import { retryAfterOf, toJsonRpcError, type SessionError } from '../base/errors.js'
import { asError } from '../base/safe-call.js'
import { channels } from '../observe/channels.js'
import { hashSessionId, isSessionId, SESSION_HEADER } from '../session/session-id.js'

/** The body of a rejection, or a promise of it. What it throws or rejects with is a fault of the app, and answers 500. */
export type ErrorResponseBuilder = (request: FastifyRequest, error: SessionError) => unknown

/** Turns a request away and says what is wrong with it. */
export type Reject = (request: FastifyRequest, reply: FastifyReply, error: SessionError) => FastifyReply

type RouteErrorHandler = NonNullable<RouteOptions['errorHandler']>

/**
 * A rejection goes the way of every error, so that the app's `onError` hooks see it, and ends in an error
 * handler of ours, so that clients understand the answer. On the routes of an endpoint that is the one of
 * its scope. On those of the app it is one that every route is given; there the app's own error handler, if
 * it has one, comes next and answers, as it does for what other plugins throw.
 */
export class Rejections {
  readonly #buildBody: ErrorResponseBuilder | undefined
  readonly #rejected = new WeakMap<FastifyReply, SessionError>()
  // Routes that were declared before the plugin was registered are not among them.
  readonly #watched = new Set<string>()
  // Replies whose error was passed on to the error handler of the app: it does not come to ours a second time.
  readonly #passedOn = new WeakSet<FastifyReply>()

  constructor (buildBody?: ErrorResponseBuilder) {
    this.#buildBody = buildBody
  }

  readonly reject: Reject = (request, reply, error) => {
    this.#begin(request, reply, error)
    if (this.#isHandled(request, reply)) return reply.send(error)
    // The next error handler would be Fastify's own, which knows nothing of our answers.
    const answer = this.answer(request, reply, error)
    if (answer instanceof Promise) answer.catch((reason: Error) => reply.send(reason))
    return reply
  }

  /** Sends the answer. For error handlers: there Fastify deals with a body that cannot be built. */
  answer (request: FastifyRequest, reply: FastifyReply, error: SessionError): FastifyReply | Promise<FastifyReply> {
    this.#begin(request, reply, error)
    if (this.#buildBody !== undefined) return sendBuilt(this.#buildBody, request, reply, error)
    // As a string, because the response schemas and serializers of the route are for its own bodies.
    return reply.type('application/json; charset=utf-8').send(JSON.stringify(toJsonRpcError(error)))
  }

  /** The `onRoute` hook. */
  readonly watchRoute = (route: RouteOptions): void => {
    // A route that ignores sessions belongs to an endpoint, which has an error handler of its own, or rejects nothing.
    if (route.config?.mcpSession === 'ignore') return
    this.#watched.add(nameRoute(route.method, route.url))
    route.errorHandler = this.#createRouteHandler(route.errorHandler)
  }

  /** Whether `watchRoute` has given the route of the request an error handler. */
  isWatched ({ routeOptions: { method, url = '' } }: FastifyRequest): boolean {
    return this.#watched.has(nameRoute(method, url))
  }

  #createRouteHandler (own: RouteErrorHandler | undefined): RouteErrorHandler {
    const rejections = this
    return function handleError (error, request, reply) {
      const rejection = rejections.#rejected.get(reply)
      if (rejection !== undefined && rejection === error) {
        const isOurs = rejections.#buildBody !== undefined || (own === undefined && !hasErrorHandler(request.server))
        if (isOurs) return rejections.answer(request, reply, rejection)
      }
      rejections.#passedOn.add(reply)
      if (own !== undefined) return own.call(this, error, request, reply)
      return passOn(error)
    }
  }

  // Only once for each rejection. An error handler of the app finds the status set.
  #begin (request: FastifyRequest, reply: FastifyReply, error: SessionError): void {
    if (this.#rejected.get(reply) === error) return
    this.#rejected.set(reply, error)
    logRejection(request, error)
    publishRejection(request, error)
    reply.code(error.statusCode)
    const seconds = retryAfterOf(error)
    if (seconds !== undefined) reply.header('retry-after', seconds)
  }

  // Whether the error handler that Fastify calls next is ours, or the app's own.
  #isHandled (request: FastifyRequest, reply: FastifyReply): boolean {
    if (this.#passedOn.has(reply)) return false
    if (request.routeOptions.config.mcpSession === 'ignore' || this.isWatched(request)) return true
    return this.#buildBody === undefined && hasErrorHandler(request.server)
  }
}

async function sendBuilt (
  buildBody: ErrorResponseBuilder,
  request: FastifyRequest,
  reply: FastifyReply,
  error: SessionError
): Promise<FastifyReply> {
  try {
    return reply.send(await buildBody(request, error))
  } catch (reason) {
    reply.code(500).removeHeader('retry-after')
    throw asError(reason)
  }
}

/**
 * Has Fastify call the next error handler. What is not an error must be rejected with: when a handler throws it, Fastify
 * takes it for the answer.
 */
export function passOn (error: unknown): Promise<never> {
  if (error instanceof Error) throw error
  return rejectWith(error)
}

async function rejectWith (reason: unknown): Promise<never> {
  throw reason
}

function logRejection ({ headers, log }: FastifyRequest, { code, statusCode, message }: SessionError): void {
  const id = headers[SESSION_HEADER]
  const fields = {
    code,
    statusCode,
    // A getter, so that nothing is hashed where this level is not logged.
    get sessionId () { return isSessionId(id) ? hashSessionId(id) : undefined }
  }
  log.info(fields, `Request rejected: ${message}`)
}

function publishRejection ({ headers, server }: FastifyRequest, { code, statusCode, message }: SessionError): void {
  const rejected = channels['request.rejected']
  if (!rejected.hasSubscribers) return
  const id = headers[SESSION_HEADER]
  rejected.publish({ sessions: server.sessionManager, code, statusCode, message, sessionId: isSessionId(id) ? id : undefined })
}

function nameRoute (method: string | string[], url: string): string {
  return `${String(method)} ${url}`
}

// Whether the app has set an error handler. Fastify binds what an app sets, and a bound function has no prototype; Fastify's
// own handler is a plain function, which has one.
function hasErrorHandler ({ errorHandler }: FastifyInstance): boolean {
  return !Object.hasOwn(errorHandler, 'prototype')
}
