import Fastify from 'fastify'
import mcpSessions, { mcpEndpoint, type McpEndpointOptions } from '../../index.js'
import { createModernConformanceHandler } from './modern-server.js'
import { createConformanceServer } from './session-server.js'

type Settings = Pick<McpEndpointOptions, 'responseMode' | 'resumable'>

const resumable = { maxEvents: 1000, retryInterval: 500 }

/** How the endpoint can answer: each has to conform. */
export const MODES: ReadonlyMap<string, Settings> = new Map<string, Settings>([
  ['auto', {}],
  ['auto, resumable', { resumable }],
  ['sse', { responseMode: 'sse', resumable }],
  ['json', { responseMode: 'json' }]
])

/** Serves the fixture on a free port of 127.0.0.1. */
export async function serveConformance (settings: Settings | undefined): Promise<{ url: string, close: () => Promise<void> }> {
  const app = Fastify()
  const modern = createModernConformanceHandler()
  await app.register(mcpSessions, { drainTimeout: 100 })
  await app.register(mcpEndpoint, {
    ...settings,
    createServer: createConformanceServer,
    modern
  })
  const address = await app.listen({ port: 0, host: '127.0.0.1' })
  return {
    url: `${address}/mcp`,
    async close () {
      await app.close()
    }
  }
}
