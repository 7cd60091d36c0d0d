import { randomUUID } from 'node:crypto'
import { InvalidRequestError, ParseError } from '../base/errors.js'
import { runGuarded } from '../base/safe-call.js'
import type { PluginContext } from '../http/plugin-context.js'
import { hasResponseEnded } from '../http/response-end.js'
import { SessionRecord } from '../session/session-record.js'
import { readInitialize } from './initialize.js'
import type { ResolvedEndpointOptions } from './options.js'
import { createServerFactory, toServerContext, type ConnectableServer } from './server-factory.js'
import { ServerPool } from './server-pool.js'
import type { EndpointHandlers } from './session-handlers.js'
import { SharedLink } from './shared-link.js'
import { isRequest, readMessages } from './transport/json-rpc.js'
import { requireAccepted } from './transport/media-types.js'
import { SessionTransport, type Incoming } from './transport/session-transport.js'

/**
 * The handlers of an endpoint that keeps no sessions: each request gets a
 * server of its own, whose session is over with the request and is in no list.
 */
export function createStatelessHandlers ({ identify, shutdown }: PluginContext, options: ResolvedEndpointOptions): EndpointHandlers {
  const makeServer = createServerFactory(options.createServer)
  const pool = options.reuseServers === undefined ? undefined : new ServerPool(options.reuseServers, makeServer)
  const { responseMode, heartbeatInterval, maxBuffered, cancelOnDisconnect } = options
  const running = new Set<SessionTransport>()
  shutdown.add({ settle: closeRunning })

  return { POST: handleMessage }

  async function handleMessage (incoming: Incoming): Promise<void> {
    const { request, reply, record } = incoming
    const { body } = request
    if (body === undefined || body === null) throw new ParseError('the body is empty')
    // Checked before a server is made, which would have to be closed again.
    if (readMessages(body).some(isRequest)) requireAccepted(request.headers.accept)
    const session = new SessionRecord(randomUUID(), Date.now(), undefined, { principal: await identify(request) })
    const server = await (pool?.take() ?? makeServer(toServerContext(session, request, false)))
    let link: SharedLink | undefined
    record.onOver(() => closeServer(incoming, server, link))
    if (record.isResponseOver || hasResponseEnded(request, reply)) throw new InvalidRequestError('the client has gone')
    const transport = new SessionTransport({
      responseMode, heartbeatInterval, maxBuffered, cancelOnDisconnect, renamesCalls: pool !== undefined, retryInterval: 0
    })
    running.add(transport)
    record.onOver(() => running.delete(transport))
    // Not after `initialize`: what the client has said of itself stays in the server, and would be there for the next request,
    // which may be of another client.
    if (pool !== undefined && readInitialize(body) === undefined) link = new SharedLink(transport, server)
    await server.connect(link ?? transport)
    transport.post(incoming)
  }

  // Answers what is still running, so that a tool that never answers does not keep its server open past the app.
  async function closeRunning (): Promise<void> {
    pool?.close()
    await Promise.all(Array.from(running, (transport) => transport.close()))
  }

  function closeServer ({ request }: Incoming, server: ConnectableServer, link: SharedLink | undefined): void {
    runGuarded(async () => {
      link?.cut()
      await server.close()
      if (link !== undefined) pool?.keep(server, link)
    }, (error) => request.log.error(error, 'Closing the MCP server failed'))
  }
}
