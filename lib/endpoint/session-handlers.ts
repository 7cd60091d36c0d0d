import { isInitializeRequest } from '@modelcontextprotocol/sdk/types.js'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { InvalidRequestError, MissingSessionIdError, NotAcceptableError, SessionNotFoundError, ShuttingDownError, type SessionError } from '../errors.js'
import type { SessionLayer } from '../session/session-layer.js'
import type { LiveSession } from './live-session.js'
import type { LiveSessions } from './live-sessions.js'
import { accepts, explainMissingSession } from './messages.js'
import type { ResolvedEndpointOptions } from './options.js'
import { replayToEnd } from './resume.js'
import { sendWebResponse } from './web-response.js'

export type EndpointHandler = (request: FastifyRequest, reply: FastifyReply) => Promise<FastifyReply>

/** What the routes of an endpoint do. */
export interface EndpointHandlers {
  readonly POST: EndpointHandler
  readonly GET: EndpointHandler
  readonly DELETE: EndpointHandler
}

/** The handlers of an endpoint that keeps sessions. */
export function createSessionHandlers (layer: SessionLayer, options: ResolvedEndpointOptions, liveSessions: LiveSessions): EndpointHandlers {
  const { reject, shutdown, cluster } = layer
  const { heartbeatInterval } = options

  return { POST: handleMessage, GET: handleStream, DELETE: handleInSession }

  async function handleMessage (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    if (request.mcpSession !== null) return handleInSession(request, reply)
    const { body } = request
    if (!isInitializeRequest(body)) return reject(request, reply, explainMissingSession(body))
    if (!accepts(request, 'application/json', 'text/event-stream')) return reject(request, reply, new NotAcceptableError())
    if (shutdown.hasStarted && !shutdown.handsOver) return reject(request, reply, new ShuttingDownError())
    return send(request, reply, await liveSessions.open(request, reply, body.params))
  }

  async function handleStream (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    const live = await findLive(request)
    if (live instanceof Error) return reject(request, reply, live)
    const { events, session } = live
    const lastEventId = request.headers['last-event-id']
    if (events !== undefined && typeof lastEventId === 'string' && accepts(request, 'text/event-stream')) {
      const point = await events.find(lastEventId)
      if (point === undefined) return reject(request, reply, new InvalidRequestError('nothing is known of the stream of this Last-Event-ID any more'))
      const { complete, lost } = point
      if (complete || lost.length > 0) return send(request, reply, await replayToEnd({ events, lastEventId, sessionId: session.id, lost }))
    }
    return send(request, reply, await live.openStream(request, reply))
  }

  async function handleInSession (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    const live = await findLive(request)
    if (live instanceof Error) return reject(request, reply, live)
    return send(request, reply, await live.handle(request, reply))
  }

  // A session can be of another endpoint, or of the app's own making.
  async function findLive (request: FastifyRequest): Promise<LiveSession | SessionError> {
    if (request.mcpSession === null) return new MissingSessionIdError()
    return await liveSessions.find(request.mcpSession, request) ?? new SessionNotFoundError()
  }

  function send (request: FastifyRequest, reply: FastifyReply, response: Response): Promise<FastifyReply> {
    const session = request.mcpSession
    const barrier = cluster === undefined || session === null ? undefined : () => cluster.barrier(session)
    return sendWebResponse(reply, response, { heartbeatInterval, barrier })
  }
}
