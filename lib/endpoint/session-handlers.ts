import type { FastifyReply, FastifyRequest } from 'fastify'
import { InvalidRequestError, MissingSessionIdError, NotAcceptableError, ParseError, SessionNotFoundError, ShuttingDownError, type SessionError } from '../errors.js'
import type { SessionLayer } from '../session/session-layer.js'
import type { LiveSession } from './live-session.js'
import type { LiveSessions } from './live-sessions.js'
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
export function createSessionHandlers (layer: SessionLayer, options: ResolvedEndpointOptions, liveSessions: LiveSessions): EndpointHandlers {
  const { reject, shutdown } = layer
  const { heartbeatInterval } = options

  return { POST: handleMessage, GET: handleStream, DELETE: handleInSession }

  async function handleMessage (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    const { body } = request
    if (body === undefined || body === null) return reject(request, reply, new ParseError('the body is empty'))
    if (request.mcpSession !== null) return handleInSession(request, reply)
    if (!isOpening(body)) return reject(request, reply, explainMissingSession(body))
    if (!accepts(request, 'application/json', 'text/event-stream')) return reject(request, reply, new NotAcceptableError())
    if (shutdown.hasStarted) return reject(request, reply, new ShuttingDownError())
    return sendAnswer(request, reply, await liveSessions.open(request, reply, body.params), options)
  }

  async function handleStream (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    const live = findLive(request)
    if (live instanceof Error) return reject(request, reply, live)
    // Its stream has just been ended, and it must not come back for another one.
    if (shutdown.hasStarted) return reject(request, reply, new ShuttingDownError())
    const lastEventId = request.headers['last-event-id']
    if (live.events !== undefined && typeof lastEventId === 'string' && lastEventId !== '' && accepts(request, 'text/event-stream')) {
      const stream = live.events.findStream(lastEventId)
      if (stream === undefined) return reject(request, reply, new InvalidRequestError('nothing is known of the stream of this Last-Event-ID any more'))
      if (stream.complete) return replayToEnd(live.events, lastEventId, live.session.id, reply)
    }
    return sendWebResponse(reply, await live.openStream(request, reply), heartbeatInterval)
  }

  async function handleInSession (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    const live = findLive(request)
    if (live instanceof Error) return reject(request, reply, live)
    return sendAnswer(request, reply, await live.handle(request, reply), options)
  }

  // A session can be of another endpoint, or of the app's own making.
  function findLive (request: FastifyRequest): LiveSession | SessionError {
    if (request.mcpSession === null) return new MissingSessionIdError()
    return liveSessions.get(request.mcpSession) ?? new SessionNotFoundError()
  }
}
