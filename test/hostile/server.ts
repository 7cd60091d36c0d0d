// The server that hostile requests are sent to: an endpoint with all that it can do, and what has become of it on request.
import Fastify from 'fastify'
import mcpSessions, { mcpEndpoint } from '../../index.js'
import { ToolServer } from '../helpers/mcp-servers/tool-server.js'

export interface State {
  /** How many sessions there are whose id has not been sent to anybody. */
  readonly unknown: number
  /** Requests in flight and streams open, of all sessions. */
  readonly running: number
  readonly connections: number
  /** Bytes, after a collection of garbage. */
  readonly heap: number
}

const app = Fastify({ bodyLimit: 65_536, requestTimeout: 2000, connectionTimeout: 5000 })
await app.register(mcpSessions, { maxSessions: 500, drainTimeout: 500 })
// Before the routes, so that it reaches them.
const told = new Set<unknown>()
app.addHook('onResponse', async (_request, reply) => {
  if (reply.raw.writableFinished) told.add(reply.getHeader('mcp-session-id'))
})
await app.register(mcpEndpoint, {
  createServer: () => new ToolServer().mcp,
  resumable: { maxEvents: 50, maxBytes: 65_536 },
  heartbeatInterval: 500,
  maxBuffered: 65_536,
  // A tool that waits for somebody who has gone must not be counted for ever.
  cancelOnDisconnect: true
})
await app.register(mcpEndpoint, { path: '/json', createServer: () => new ToolServer().mcp, responseMode: 'json', cancelOnDisconnect: true })
app.get('/cart', { config: { mcpSession: 'required' } }, async ({ mcpSession }) => ({ id: mcpSession?.id }))

process.on('message', async (what) => {
  if (what === 'close') {
    await app.close()
    process.disconnect()
    return
  }
  globalThis.gc?.()
  const list = app.sessionManager.list()
  const state: State = {
    unknown: list.filter(({ id }) => !told.has(id)).length,
    running: list.reduce((sum, { activeRequests }) => sum + activeRequests, 0),
    connections: await new Promise<number>((resolve) => app.server.getConnections((_error, count) => resolve(count))),
    heap: process.memoryUsage().heapUsed
  }
  process.send?.(state)
})

const url = await app.listen({ port: 0, host: '127.0.0.1' })
process.send?.(Number(new URL(url).port))
