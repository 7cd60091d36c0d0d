// A server whose clients come and go for hours. Alone, its time goes faster than ours: what it sees of clocks and
// intervals is faked, so that hours of sessions pass in minutes. In a cluster, whose Redis has a clock of its own, it is ours.
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { AjvJsonSchemaValidator } from '@modelcontextprotocol/sdk/validation/ajv'
import Fastify from 'fastify'
import { mock } from 'node:test'
import { setTimeout as wait } from 'node:timers/promises'
import { z } from 'zod'
import mcpSessions, { mcpEndpoint } from '../../index.js'
import { channels } from '../../lib/observe/channels.js'
import { connectRedis } from '../helpers/redis/redis-client.js'

export interface SoakSettings {
  /** Undefined: it is alone. */
  readonly redisPort?: number | undefined
  /** Milliseconds of the server's time. */
  readonly ttl: number
  readonly parkAfter: number
  /** How many times faster than ours its time goes. */
  readonly speed: number
  readonly maxSessions: number
}

export interface SoakState {
  readonly sessions: number
  /** Requests in flight and streams open, of all sessions. */
  readonly running: number
  readonly parked: number
  readonly connections: number
  /** Bytes, after a collection of garbage. */
  readonly heap: number
  /** What keeps the event loop alive. */
  readonly handles: number
}

// Milliseconds of our time.
const TICK = 20

const settings: SoakSettings = JSON.parse(process.env['SOAK'] ?? '{}')
if (settings.speed > 1) hasten(settings.speed)
const redis = settings.redisPort === undefined ? undefined : connectRedis({ kind: 'alone', ports: [settings.redisPort] })
const jsonSchemaValidator = new AjvJsonSchemaValidator()
const parked = new Set<unknown>()
channels['session.parked'].subscribe(({ session }) => { parked.add(session) })
channels['session.closed'].subscribe(({ session }) => { parked.delete(session) })
// So short that connections which nobody uses are gone when all is at rest.
const app = Fastify({ return503OnClosing: false, keepAliveTimeout: 2000 })
await app.register(mcpSessions, {
  ttl: settings.ttl,
  cleanupInterval: settings.ttl / 10,
  maxSessions: settings.maxSessions,
  drainTimeout: 500,
  identify: ({ headers }) => headers.authorization,
  ...(redis !== undefined && { cluster: { redis, lease: 2000 } })
})
await app.register(mcpEndpoint, {
  createServer ({ session }) {
    parked.delete(session)
    return createServer()
  },
  resumable: { maxEvents: 20, maxBytes: 65_536 },
  parkAfter: settings.parkAfter
})

process.on('message', async (question) => {
  if (question === 'close') {
    await app.close()
    redis?.disconnect()
    process.disconnect()
    return
  }
  for (let times = 0; times < 3; times++) {
    globalThis.gc?.()
    // Who wants to know of a collection hears of it between two turns.
    await wait(10)
  }
  const list = app.sessionManager.list()
  const state: SoakState = {
    sessions: list.length,
    running: list.reduce((sum, { activeRequests }) => sum + activeRequests, 0),
    parked: parked.size,
    connections: await new Promise<number>((resolve) => app.server.getConnections((_error, count) => resolve(count))),
    heap: process.memoryUsage().heapUsed,
    handles: process.getActiveResourcesInfo().length
  }
  process.send?.(state)
})
process.on('disconnect', () => process.exit())
process.send?.(`${await app.listen({ port: 0, host: '127.0.0.1' })}/mcp`)

function hasten (speed: number): void {
  const every = setInterval
  mock.timers.enable({ apis: ['Date', 'setInterval'], now: Date.now() })
  every(() => mock.timers.tick(TICK * speed), TICK)
}

function createServer (): McpServer {
  const server = new McpServer({ name: 'soak', version: '1' }, { jsonSchemaValidator, capabilities: { logging: {}, tools: { listChanged: true } } })
  server.registerTool('echo', { inputSchema: { text: z.string() } }, async ({ text }) => ({ content: [{ type: 'text', text }] }))
  server.registerTool('slow', { inputSchema: { text: z.string(), ms: z.number() } }, async ({ text, ms }, { sendNotification }) => {
    await sendNotification({ method: 'notifications/message', params: { level: 'info', data: 'begun' } })
    await wait(ms)
    return { content: [{ type: 'text', text }] }
  })
  server.registerTool('tell', { inputSchema: { text: z.string() } }, async ({ text }) => {
    await server.server.sendLoggingMessage({ level: 'info', data: 'on the stream' })
    return { content: [{ type: 'text', text }] }
  })
  return server
}
