import type { FastifyRequest } from 'fastify'
import { ServerError, SharedServerError } from '../base/errors.js'
import type { Session } from '../session/session.js'
import { readAuthInfo } from './auth-info.js'
import type { CreateServer, CreateServerContext, SessionServer } from './options.js'
import type { ServerLink } from './server-link.js'
import type { SessionTransport } from './transport/session-transport.js'

/** A server as the endpoint uses it. */
export interface ConnectableServer extends SessionServer {
  connect (transport: SessionTransport | ServerLink): Promise<void>
}

export type ServerFactory<Context> = (context: Context) => Promise<ConnectableServer>

/** `createServer` of the app, with its results checked: a server that is returned twice would mix up the answers of two sessions. */
export function createServerFactory<Context> (createServer: CreateServer<Context>): ServerFactory<Context> {
  const made = new WeakSet<ConnectableServer>()

  return async function makeServer (context) {
    const server: unknown = await createServer(context)
    if (!isServer(server)) throw new ServerError(server === null ? 'null' : typeof server)
    if (made.has(server)) throw new ServerError('one that it has returned before')
    if (isConnected(server)) throw new ServerError('one that is connected already')
    made.add(server)
    return server
  }
}

/** What `createServer` is told of a session. */
export function toServerContext (session: Session, request: FastifyRequest, restored: boolean): CreateServerContext {
  return { era: 'legacy', session, request, restored, authInfo: readAuthInfo(request) }
}

/** What `createServer` is told when the server is for many sessions. Whoever reads what is of one session learns why it is not there. */
export class SharedContext implements CreateServerContext {
  readonly era = 'legacy'

  get session (): never {
    throw new SharedServerError('session')
  }

  get request (): never {
    throw new SharedServerError('request')
  }

  get restored (): never {
    throw new SharedServerError('restored')
  }

  get authInfo (): never {
    throw new SharedServerError('authInfo')
  }
}

function isServer (value: unknown): value is ConnectableServer {
  return typeof value === 'object' && value !== null &&
    'connect' in value && typeof value.connect === 'function' &&
    'close' in value && typeof value.close === 'function'
}

// Whether a server is connected to another transport already. Such a server is left alone: to connect it would fail, and to close
// it after that would end what it is connected to.
function isConnected (server: object): boolean {
  // An `McpServer` is a shell around a `Server`, which has the transport.
  const holder = 'server' in server && typeof server.server === 'object' && server.server !== null ? server.server : server
  return 'transport' in holder && typeof holder.transport === 'object' && holder.transport !== null
}
