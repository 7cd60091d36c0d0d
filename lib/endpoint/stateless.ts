import { randomUUID } from 'node:crypto'
import { InvalidRequestError, ParseError } from '../base/errors.js'
import { runGuarded } from '../base/safe-call.js'
import type { PluginContext } from '../http/plugin-context.js'
import { hasResponseEnded } from '../http/response-end.js'
import { SessionRecord } from '../session/session-record.js'
import type { ResolvedEndpointOptions, SessionServer } from './options.js'
import { createServerFactory, toServerContext } from './server-factory.js'
import type { EndpointHandlers } from './session-handlers.js'
import { isRequest, readMessages } from './transport/json-rpc.js'
import { requireAccepted } from './transport/media-types.js'
import { SessionTransport, type Incoming } from './transport/session-transport.js'

/**
 * The handlers of an endpoint that keeps no sessions: each request gets a
 * server of its own, whose session is over with the request and is in no list.
 */
export function createStatelessHandlers ({ identify, shutdown }: PluginContext, options: ResolvedEndpointOptions): EndpointHandlers {
  const makeServer = createServerFactory(options.createServer)
  const { responseMode, heartbeatInterval, maxBuffered, cancelOnDisconnect } = options
  const running = new Set<SessionTransport>()
  shutdown.add({ settle: closeRunning })

  return { POST: handleMessage }

  async function handleMessage (incoming: Incoming): Promise<void> {
    const { request, reply, record } = incoming
    const { body } = request
    if (body === undefined || body === null) throw new ParseError('the body is empty')
    // Before there is a server to close.
    if (readMessages(body).some(isRequest)) requireAccepted(request.headers.accept)
    const session = new SessionRecord(randomUUID(), Date.now(), undefined, { principal: await identify(request) })
    const server = await makeServer(toServerContext(session, request, false))
    record.onOver(() => closeServer(incoming, server))
    if (record.isResponseOver || hasResponseEnded(request, reply)) throw new InvalidRequestError('the client has gone')
    const transport = new SessionTransport({ responseMode, heartbeatInterval, maxBuffered, cancelOnDisconnect, retryInterval: 0 })
    running.add(transport)
    record.onOver(() => running.delete(transport))
    await server.connect(transport)
    transport.post(incoming)
  }

  // A tool that never answers must not keep its server open past the app: its request is answered, and so over.
  async function closeRunning (): Promise<void> {
    await Promise.all(Array.from(running, (transport) => transport.close()))
  }
}

function closeServer ({ request }: Incoming, server: SessionServer): void {
  runGuarded(() => server.close(), (error) => request.log.error(error, 'Closing the MCP server failed'))
}
