import cors from '@fastify/cors'
import jwt from '@fastify/jwt'
import Fastify, { type FastifyInstance, type FastifyPluginAsync, type FastifyServerOptions } from 'fastify'
import cluster from 'node:cluster'
import t, { type Test } from 'tap'
import mcpSessions, { mcpEndpoint, type SessionEndpointOptions, type McpSessionsOptions, type WarningCode } from '../../index.js'
import { CountedServer, open, post, rpc } from '../helpers/apps/endpoint-stage.js'
import { captureLog } from '../helpers/observe/log-lines.js'

interface Setup {
  readonly sessions?: McpSessionsOptions
  readonly endpoint?: Partial<SessionEndpointOptions>
  readonly server?: FastifyServerOptions
  /** Stands before the plugin. */
  readonly before?: FastifyPluginAsync
  /** Stands in the scope of the endpoint. */
  readonly inScope?: (scope: FastifyInstance) => void
}

interface Warning {
  readonly code: WarningCode
  readonly msg: string
}

async function build (t: Test, { sessions = {}, endpoint = {}, server = {}, before, inScope }: Setup): Promise<{ app: FastifyInstance, warnings: () => Warning[] }> {
  const { lines, stream } = captureLog()
  const app = Fastify({ logger: { level: 'warn', stream }, ...server })
  t.teardown(() => app.close())
  if (before !== undefined) await before(app, {})
  await app.register(mcpSessions, { drainTimeout: 0, ...sessions })
  await app.register(async (scope) => {
    inScope?.(scope)
    await scope.register(mcpEndpoint, { createServer: () => new CountedServer(), ...endpoint })
  })
  await app.ready()
  return { app, warnings: () => lines.map((line) => JSON.parse(line)).filter(({ code }) => String(code).startsWith('FST_WARN_')) }
}

const withJwt: FastifyPluginAsync = async (app) => { await app.register(jwt, { secret: 'secret' }) }
const codes = (warnings: Warning[]): string[] => warnings.map(({ code }) => code)

t.test('an app without mistakes is not warned', async (t) => {
  const { app, warnings } = await build(t, { sessions: { identify: () => 'ann' }, before: withJwt })
  for (let i = 0; i < 30; i++) await open(app)
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.strictSame(warnings(), [])
})

t.test('authentication without identify, wherever it is', async (t) => {
  for (const setup of [{ before: withJwt }, { inScope: (scope: FastifyInstance) => { scope.register(jwt, { secret: 'secret' }) } }]) {
    const { app, warnings } = await build(t, setup)
    t.strictSame(codes(warnings()), ['FST_WARN_MCP_SESSION_NO_IDENTIFY'])
    t.match(warnings()[0]?.msg, /^@fastify\/jwt is registered, .* identify: \(request\) => /)
    for (let i = 0; i < 30; i++) await open(app)
    t.equal(warnings().length, 1, 'once')
  }
})

t.test('an identify that never says who', async (t) => {
  const { app, warnings } = await build(t, { sessions: { identify: () => undefined }, before: withJwt })
  for (let i = 0; i < 19; i++) await open(app)
  t.strictSame(warnings(), [])
  await open(app)
  t.strictSame(codes(warnings()), ['FST_WARN_MCP_SESSION_IDENTIFY_SILENT'])
  t.match(warnings()[0]?.msg, /in the first 20 requests/)
  for (let i = 0; i < 30; i++) await open(app)
  t.equal(warnings().length, 1)
})

t.test('one that turns everybody away has named nobody either', async (t) => {
  const { app, warnings } = await build(t, { sessions: { identify: async () => { throw new Error('no') } }, before: withJwt })
  for (let i = 0; i < 20; i++) await post(app, rpc('initialize', { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'test', version: '1' } }))
  t.strictSame(codes(warnings()), ['FST_WARN_MCP_SESSION_IDENTIFY_SILENT'])
})

t.test('one that says it once, or is there without authentication, is in order', async (t) => {
  let asked = 0
  const once = await build(t, { sessions: { identify: () => ++asked === 20 ? 'ann' : undefined }, before: withJwt })
  const alone = await build(t, { sessions: { identify: () => undefined } })
  for (const { app, warnings } of [once, alone]) {
    for (let i = 0; i < 30; i++) await open(app)
    t.strictSame(warnings(), [])
  }
})

t.test('CORS that hides the session id', async (t) => {
  const headers = { origin: 'http://localhost' }
  for (const [exposedHeaders, isWarned] of [[undefined, true], [['x-other'], true], [['X-Other', 'Mcp-Session-Id'], false], [['*'], false]] as const) {
    const { app, warnings } = await build(t, {
      before: async (app) => { await app.register(cors, { ...(exposedHeaders !== undefined && { exposedHeaders: [...exposedHeaders] }) }) }
    })
    await open(app, { headers })
    await open(app, { headers })
    t.strictSame(codes(warnings()), isWarned ? ['FST_WARN_MCP_SESSION_CORS'] : [], String(exposedHeaders))
  }
})

t.test('a ttl that is shorter than the heartbeat', async (t) => {
  for (const [ttl, heartbeatInterval, isWarned] of [[1000, 2000, true], [2000, 2000, false], [0, 2000, false], [1000, 0, false]] as const) {
    const { warnings } = await build(t, { sessions: { ttl }, endpoint: { heartbeatInterval } })
    t.strictSame(codes(warnings()), isWarned ? ['FST_WARN_MCP_SESSION_TTL'] : [], `${ttl} and ${heartbeatInterval}`)
  }
})

t.test('a connectionTimeout that cuts quiet calls', async (t) => {
  const rows = [[5000, 15_000, 'auto', /"heartbeatInterval" of mcpEndpoint to 2500 or less/], [5000, 0, 'auto', /2500/], [5000, 1000, 'json', /longest call/], [5000, 1000, 'auto', undefined]] as const
  for (const [connectionTimeout, heartbeatInterval, responseMode, fix] of rows) {
    const { warnings } = await build(t, { server: { connectionTimeout }, endpoint: { heartbeatInterval, responseMode } })
    t.strictSame(codes(warnings()), fix === undefined ? [] : ['FST_WARN_MCP_SESSION_CONNECTION_TIMEOUT'])
    if (fix !== undefined) t.match(warnings()[0]?.msg, fix)
  }
})

t.test('a proxy that is not trusted', async (t) => {
  const headers = { 'x-forwarded-for': '10.0.0.1' }
  const distrusting = await build(t, {})
  await open(distrusting.app, { headers })
  await open(distrusting.app, { headers })
  t.strictSame(codes(distrusting.warnings()), ['FST_WARN_MCP_SESSION_TRUST_PROXY'])
  const trusting = await build(t, { server: { trustProxy: true } })
  await open(trusting.app, { headers })
  t.strictSame(trusting.warnings(), [])
})

t.test('workers that do not share their sessions', async (t) => {
  const { isWorker } = cluster
  Object.assign(cluster, { isWorker: true })
  t.teardown(() => { Object.assign(cluster, { isWorker }) })
  const { app, warnings } = await build(t, {})
  t.strictSame(warnings(), [])
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.strictSame(codes(warnings()), ['FST_WARN_MCP_SESSION_WORKERS'])
})

t.test('a warning can be silenced by its code', async (t) => {
  const { warnings } = await build(t, { before: withJwt, sessions: { ttl: 1000, ignoreWarnings: ['FST_WARN_MCP_SESSION_NO_IDENTIFY'] } })
  t.strictSame(codes(warnings()), ['FST_WARN_MCP_SESSION_TTL'])
})

t.test('a code that there is not is refused', async (t) => {
  const codes: string[] = ['FST_WARN_MCP_SESSION_NO_IDENTITY']
  const app = Fastify()
  // @ts-expect-error: not any string is a code
  await t.rejects(async () => await app.register(mcpSessions, { ignoreWarnings: codes }), {
    name: 'TypeError', message: /^Option "ignoreWarnings" must be a list of codes of warnings: FST_WARN_MCP_SESSION_NO_IDENTIFY, .*, got "FST_WARN_MCP_SESSION_NO_IDENTITY"/
  })
})

t.test('an app without a logger is warned by the process', async (t) => {
  const heard: Warning[] = []
  const listen = ({ message, ...rest }: Error): void => { heard.push({ msg: message, ...Object(rest) }) }
  process.on('warning', listen)
  t.teardown(() => process.off('warning', listen))
  await build(t, { server: { logger: false }, sessions: { ttl: 1000 } })
  await new Promise(setImmediate)
  t.match(heard, [{ code: 'FST_WARN_MCP_SESSION_TTL', msg: /^"ttl" \(1000 ms\)/ }])
})

t.test('one that keeps no sessions needs none of it', async (t) => {
  const { warnings } = await build(t, { sessions: { enabled: false, ttl: 1000 }, before: withJwt, server: { connectionTimeout: 5 } })
  t.strictSame(warnings(), [])
})
