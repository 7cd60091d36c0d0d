import type { FastifyReply, FastifyRequest } from 'fastify'
import { InvalidRequestError, MissingSessionIdError, NotAcceptableError, ParseError, SessionNotFoundError, ShuttingDownError, type SessionError } from '../base/errors.js'
import type { PluginContext } from '../http/plugin-context.js'
import type { Barrier } from './transport/event-stream.js'
import type { SessionRuntime } from './session-runtime.js'
import type { SessionRuntimes } from './session-runtimes.js'
import { accepts, explainMissingSession, isOpening } from './messages.js'
import type { ResolvedEndpointOptions } from './options.js'
import { replayToEnd } from './resume.js'
import { sendAnswer, sendWebResponse } from './web-response.js'

export type EndpointHandler = (request: FastifyRequest, reply: FastifyReply) => Promise<FastifyReply>

/** What the routes of an endpoint do. */
export interface EndpointHandlers {
  readonly POST: EndpointHandler
  readonly GET: EndpointHandler
  readonly DELETE: EndpointHandler
}

/** The handlers of an endpoint that keeps sessions. */
export function createSessionHandlers (context: PluginContext, options: ResolvedEndpointOptions, liveSessions: SessionRuntimes): EndpointHandlers {
  const { reject, shutdown, cluster } = context
  const { heartbeatInterval } = options

  return { POST: handleMessage, GET: handleStream, DELETE: handleInSession }

  async function handleMessage (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    const { body } = request
    if (body === undefined || body === null) return reject(request, reply, new ParseError('the body is empty'))
    if (request.mcpSession !== null) return handleInSession(request, reply)
    if (!isOpening(body)) return reject(request, reply, explainMissingSession(body))
    if (!accepts(request, 'application/json', 'text/event-stream')) return reject(request, reply, new NotAcceptableError())
    if (shutdown.hasStarted && !shutdown.handsOver) return reject(request, reply, new ShuttingDownError())
    const response = await liveSessions.open(request, reply, body.params)
    return sendAnswer(request, reply, response, { ...options, barrier: barrierOf(request) })
  }

  async function handleStream (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    const live = await findLive(request)
    if (live instanceof Error) return reject(request, reply, live)
    // Its stream has just been ended, and it must not come back for another one.
    if (shutdown.hasStarted && !shutdown.handsOver) return reject(request, reply, new ShuttingDownError())
    const { events, session } = live
    const lastEventId = request.headers['last-event-id']
    if (events !== undefined && typeof lastEventId === 'string' && lastEventId !== '' && accepts(request, 'text/event-stream')) {
      const point = await events.find(lastEventId)
      if (point === undefined) return reject(request, reply, new InvalidRequestError('nothing is known of the stream of this Last-Event-ID any more'))
      const { complete, lost } = point
      if (complete || lost.length > 0) return sendStream(request, reply, await replayToEnd({ events, lastEventId, sessionId: session.id, lost }))
    }
    return sendStream(request, reply, await live.openStream(request, reply))
  }

  async function handleInSession (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    const live = await findLive(request)
    if (live instanceof Error) return reject(request, reply, live)
    return sendAnswer(request, reply, await live.handle(request, reply), { ...options, barrier: barrierOf(request) })
  }

  // A session can be of another endpoint, or of the app's own making.
  async function findLive (request: FastifyRequest): Promise<SessionRuntime | SessionError> {
    if (request.mcpSession === null) return new MissingSessionIdError()
    return await liveSessions.find(request.mcpSession, request) ?? new SessionNotFoundError()
  }

  function sendStream (request: FastifyRequest, reply: FastifyReply, response: Response): Promise<FastifyReply> {
    return sendWebResponse(reply, response, { heartbeatInterval, barrier: barrierOf(request) })
  }

  function barrierOf ({ mcpSession }: FastifyRequest): Barrier | undefined {
    return cluster === undefined || mcpSession === null ? undefined : () => cluster.barrier(mcpSession)
  }
}
