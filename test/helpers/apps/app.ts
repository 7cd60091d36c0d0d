import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import type { Test } from 'tap'
import type { AddressInfo } from 'node:net'
import mcpSessions, { type McpSessionsOptions } from '../../../index.js'

/** An app with the plugin, closed when the test is over. Its routes are up to the test. */
export async function buildApp (t: Test, options: McpSessionsOptions = {}, server: FastifyServerOptions = {}): Promise<FastifyInstance> {
  const app = Fastify(server)
  t.teardown(() => app.close())
  await app.register(mcpSessions, options)
  return app
}

/** Listens on a free port, which it returns. */
export async function listen (app: FastifyInstance): Promise<number> {
  await app.listen({ port: 0, host: '127.0.0.1' })
  return portOf(app)
}

export function portOf (app: FastifyInstance): number {
  const address = app.server.address()
  if (!isAddressInfo(address)) throw new Error('The app listens on no port')
  return address.port
}

function isAddressInfo (address: AddressInfo | string | null): address is AddressInfo {
  return typeof address === 'object' && address !== null
}

/** How many requests of a session are in flight. Fails when there is no such session. */
export function activeRequests (app: FastifyInstance, id: string): number {
  const session = app.sessionManager.get(id)
  if (session === undefined) throw new Error('The session is gone')
  return session.activeRequests
}
