import type { FastifyRequest } from 'fastify'
import { MissingSessionIdError, ParseError, SessionNotFoundError, ShuttingDownError } from '../base/errors.js'
import type { PluginContext } from '../http/plugin-context.js'
import { explainMissingSession, readInitialize } from './initialize.js'
import type { SessionRuntime } from './session-runtime.js'
import type { SessionRuntimes } from './session-runtimes.js'
import type { Incoming } from './transport/session-transport.js'

/** Answers a request, now or later. When it throws or rejects, the request is answered with that error. */
export type EndpointHandler = (incoming: Incoming) => void | Promise<void>

/** What the routes of an endpoint do. */
export interface EndpointHandlers {
  readonly POST: EndpointHandler
  readonly GET?: EndpointHandler
  readonly DELETE?: EndpointHandler
}

/** The handlers of an endpoint that keeps sessions. */
export function createSessionHandlers ({ sessions, shutdown, cluster }: PluginContext, runtimes: SessionRuntimes): EndpointHandlers {
  return { POST: handleMessage, GET: handleStream, DELETE: handleEnd }

  function handleMessage (incoming: Incoming): void | Promise<void> {
    const { body, mcpSession } = incoming.request
    if (body === undefined || body === null) throw new ParseError('the body is empty')
    if (mcpSession === null) return openSession(incoming)
    // Without a promise where the session is at hand, as for most calls.
    const found = runtimes.find(mcpSession, incoming.request)
    if (found instanceof Promise) return found.then((runtime) => requireRuntime(runtime).transport.post(incoming))
    requireRuntime(found).transport.post(incoming)
  }

  async function openSession (incoming: Incoming): Promise<void> {
    const { body } = incoming.request
    const params = readInitialize(body)
    if (params === undefined) throw explainMissingSession(body)
    refuseWhileClosing()
    await runtimes.open(incoming, params)
  }

  async function handleStream (incoming: Incoming): Promise<void> {
    const { transport } = await findRuntime(incoming.request)
    // The shutdown has ended its stream, and the client must not come back for another one.
    refuseWhileClosing()
    await transport.openStream(incoming)
  }

  async function handleEnd ({ request, reply }: Incoming): Promise<void> {
    const session = request.mcpSession
    if (session === null) throw new MissingSessionIdError()
    if (!runtimes.serves(session, request)) throw new SessionNotFoundError()
    sessions.cleanup(session.id)
    await cluster?.barrier(session)
    reply.code(200).send()
  }

  async function findRuntime (request: FastifyRequest): Promise<SessionRuntime> {
    if (request.mcpSession === null) throw new MissingSessionIdError()
    return requireRuntime(await runtimes.find(request.mcpSession, request))
  }

  function refuseWhileClosing (): void {
    if (shutdown.hasStarted && !shutdown.handsOver) throw new ShuttingDownError()
  }
}

// A session can be of another endpoint, of another path, or of the app's own making.
function requireRuntime (runtime: SessionRuntime | undefined): SessionRuntime {
  if (runtime === undefined) throw new SessionNotFoundError()
  return runtime
}
