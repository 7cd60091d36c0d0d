import { ServerError } from '../base/errors.js'
import type { CreateServer, CreateServerContext, SessionServer } from './options.js'

export type ServerFactory = (context: CreateServerContext) => Promise<SessionServer>

/** `createServer` as the app gave it, with its results checked: a server that serves two sessions mixes them up. */
export function createServerFactory (createServer: CreateServer): ServerFactory {
  const made = new WeakSet<SessionServer>()

  return async function makeServer (context) {
    const server: unknown = await createServer(context)
    if (!isServer(server)) throw new ServerError(server === null ? 'null' : typeof server)
    if (made.has(server)) throw new ServerError('one that it has returned before')
    made.add(server)
    return server
  }
}

function isServer (value: unknown): value is SessionServer {
  return typeof value === 'object' && value !== null &&
    'connect' in value && typeof value.connect === 'function' &&
    'close' in value && typeof value.close === 'function'
}
