import Fastify, { type FastifyInstance } from 'fastify'
import mcpSessions, { mcpEndpoint, type McpEndpointOptions } from '../../index.js'
import { createDualServer, createModernHandler } from './dual-server.js'
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

/** What it serves: a server of SDK 1 beside a handler of SDK 2, or one factory of SDK 2 for both eras. */
export const FIXTURES: ReadonlyMap<string, (app: FastifyInstance, settings: Settings | undefined) => Promise<void>> = new Map([
  ['SDK 1', async (app: FastifyInstance, settings: Settings | undefined) => {
    await app.register(mcpEndpoint, { ...settings, createServer: createConformanceServer, modern: createModernHandler() })
  }],
  ['SDK 2', async (app: FastifyInstance, settings: Settings | undefined) => {
    await app.register(mcpEndpoint, { ...settings, createServer: () => createDualServer(app.mcp.notify), modern: true })
  }]
])

/** Serves a fixture on a free port of 127.0.0.1. */
export async function serveConformance (fixture: string, mode: string): Promise<{ url: string, close: () => Promise<void> }> {
  const app = Fastify()
  await app.register(mcpSessions, { drainTimeout: 100 })
  await FIXTURES.get(fixture)?.(app, MODES.get(mode))
  const address = await app.listen({ port: 0, host: '127.0.0.1' })
  return {
    url: `${address}/mcp`,
    async close () {
      await app.close()
    }
  }
}
