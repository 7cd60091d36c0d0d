import Fastify from 'fastify'
import mcpSessions, { mcpEndpoint } from '../../index.js'
import { createModernConformanceHandler } from './modern-server.js'
import { createConformanceServer } from './session-server.js'

/** Serves the fixture on a free port of 127.0.0.1. */
export async function serveConformance (): Promise<{ url: string, close: () => Promise<void> }> {
  const app = Fastify()
  const modern = createModernConformanceHandler()
  await app.register(mcpSessions, { drainTimeout: 100 })
  await app.register(mcpEndpoint, {
    createServer: createConformanceServer,
    resumable: { maxEvents: 1000, retryInterval: 500 },
    modern: modern.fetch
  })
  const address = await app.listen({ port: 0, host: '127.0.0.1' })
  return {
    url: `${address}/mcp`,
    async close () {
      await app.close()
      await modern.close()
    }
  }
}
