import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { AjvJsonSchemaValidator } from '@modelcontextprotocol/sdk/validation/ajv'
import { mock } from 'node:test'
import t from 'tap'
import { z } from 'zod'
import { buildEndpoint } from '../helpers/apps/endpoint-app.js'
import { collectGarbage } from '../helpers/heap/garbage.js'
import { call, initialize, REVISION } from '../helpers/clients/http-client.js'
import { until } from '../helpers/waiting/until.js'

const SESSIONS = 10_000
const MAX_SESSIONS = 4_000
const TTL = 60_000
const AT_ONCE = 100

// One for all: the SDK compiles another for every server, which takes most of the time of opening a session.
const jsonSchemaValidator = new AjvJsonSchemaValidator()

// Some machines are slow, and tap gives a file 30 seconds.
t.setTimeout(180_000)

t.test('10,000 sessions come and go, and nothing is left of them', async (t) => {
  mock.timers.enable({ apis: ['Date', 'setInterval'], now: Date.now() })
  t.teardown(() => mock.timers.reset())
  const live = { servers: 0, transports: 0 }
  const finalizers = new FinalizationRegistry((kind: keyof typeof live) => { live[kind]-- })
  let closed = 0
  const { app } = await buildEndpoint(t, {
    sessions: { ttl: TTL, cleanupInterval: 1000, maxSessions: MAX_SESSIONS },
    endpoint: {
      resumable: { maxEvents: 10 },
      createServer () {
        const server = new McpServer({ name: 'leak', version: '1' }, { jsonSchemaValidator })
        server.registerTool('echo', { inputSchema: { text: z.string() } }, async ({ text }) => ({ content: [{ type: 'text', text }] }))
        server.server.onclose = () => { closed++ }
        live.servers++
        live.transports++
        finalizers.register(server, 'servers')
        return {
          async connect (transport) {
            finalizers.register(transport, 'transports')
            await server.connect(transport)
          },
          close: () => server.close()
        }
      }
    }
  })
  const reasons = new Map<string, number>()
  app.sessionManager.on('closed', (_session, reason) => { reasons.set(reason, (reasons.get(reason) ?? 0) + 1) })
  const headers = { host: 'localhost', accept: 'application/json, text/event-stream', 'mcp-protocol-version': REVISION }

  async function liveOneSession (number: number): Promise<void> {
    const opened = await app.inject({ method: 'POST', url: '/mcp', headers, payload: initialize() })
    const inSession = { ...headers, 'mcp-session-id': String(opened.headers['mcp-session-id']) }
    if (number % 10 === 1) await app.inject({ method: 'POST', url: '/mcp', headers: inSession, payload: call(2, 'echo', { text: 'x' }) })
    if (number % 10 === 0) await app.inject({ method: 'DELETE', url: '/mcp', headers: inSession })
  }

  async function liveSessions (count: number): Promise<void> {
    for (let number = 0; number < count; number += AT_ONCE) {
      await Promise.all(Array.from({ length: AT_ONCE }, (_, index) => liveOneSession(number + index)))
    }
  }

  async function expireTheRest (): Promise<void> {
    mock.timers.tick(TTL + 1000)
    await until(() => app.sessionManager.getActiveSessionCount() === 0, 'all have expired')
  }

  async function measureHeap (): Promise<number> {
    await collectGarbage()
    return process.memoryUsage().heapUsed
  }

  // What is made once and stays: compiled code, caches of zod and Fastify.
  await liveSessions(500)
  await expireTheRest()
  const before = await measureHeap()
  reasons.clear()
  closed = 0

  await liveSessions(SESSIONS)
  t.equal(app.sessionManager.getActiveSessionCount(), MAX_SESSIONS)
  t.ok(await measureHeap() > before * 1.5, 'they do take memory while they live')
  await expireTheRest()

  t.strictSame(Object.fromEntries(reasons), {
    deleted: SESSIONS / 10, evicted: SESSIONS * 0.9 - MAX_SESSIONS, expired: MAX_SESSIONS
  })
  t.equal(closed, SESSIONS)
  const after = await measureHeap()
  await until(() => live.servers === 0 && live.transports === 0, 'the last are collected')
  t.strictSame(live, { servers: 0, transports: 0 })
  t.ok(after < before * 1.1, `${Math.round(before / 1000)} KB before, ${Math.round(after / 1000)} KB after`)
})
