// What goes to OpenTelemetry, read with the exporters of its own SDK, and that docs/observing.md has it all.
import { McpServer as McpServer2 } from '@modelcontextprotocol/server'
import { CallToolRequestSchema, McpError } from '@modelcontextprotocol/sdk/types.js'
import { context, trace } from '@opentelemetry/api'
import { isTracingSuppressed } from '@opentelemetry/core'
import type { FastifyInstance } from 'fastify'
import { mock } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { hashSessionId, mcpEndpoint } from '../../index.js'
import { channels, tracingChannels } from '../../lib/observe/channels.js'
import { documented, namesIn } from '../helpers/observe/channels.js'
import { createCluster } from '../helpers/cluster/cluster-apps.js'
import { buildEndpoint } from '../helpers/apps/endpoint-app.js'
import { call, HttpClient, openSession } from '../helpers/clients/http-client.js'
import { needsRedis, needsRedisServer, RedisServer, startRedis } from '../helpers/redis/redis-server.js'
import { setUpTelemetry, sumOf } from '../helpers/observe/telemetry.js'
import { modernRequest } from '../helpers/mcp-servers/modern-handler.js'
import { ToolServer } from '../helpers/mcp-servers/tool-server.js'
import { createDeferred } from '../helpers/waiting/deferred.js'
import { until } from '../helpers/waiting/until.js'

t.setTimeout(60_000)

const TRACE = '0af7651916cd43dd8448eb211c80319c'
const PARENT = `00-${TRACE}-b7ad6b7169203331-01`
const OWN = 'fastify_mcp_sessions'

function toolServer (): ToolServer['mcp'] {
  const { mcp } = new ToolServer()
  mcp.registerTool('inner', {}, async () => {
    trace.getTracer('tool').startSpan('inside').end()
    return { content: [] }
  })
  mcp.registerTool('broken', {}, async () => { throw new Error('broken') })
  mcp.registerPrompt('greet', {}, () => ({ messages: [] }))
  return mcp
}

async function answer (client: HttpClient, body: object, headers: Record<string, string> = {}): Promise<void> {
  await (await client.post(body, headers)).end()
}

async function mountTools (app: FastifyInstance): Promise<void> {
  await app.register(mcpEndpoint, { createServer: toolServer, maxBuffered: 10_000 })
}

/** Everything that is measured, on two nodes. */
async function measureAll (t: Test, redisUrl: string): Promise<void> {
  const addNode = createCluster(t, redisUrl)
  const node = (): ReturnType<typeof addNode> => addNode({ plugin: { telemetry: true, maxSessions: 3, identify: () => undefined }, routes: mountTools })
  const [one, two] = [await node(), await node()]
  const client = await openSession(t, new URL('/mcp', one.url))
  await answer(client, call(2, 'broken'))
  await answer(client, { jsonrpc: '2.0', id: 3, method: 'prompts/get', params: { name: 'greet' } })
  await answer(client, { jsonrpc: '2.0', id: 4, method: 'resources/read', params: { uri: 'note://1' } })
  const far = new HttpClient(t, new URL('/mcp', two.url))
  far.sessionId = client.sessionId
  await answer(far, call(5, 'inner'))
  far.sessionId = 'unknown'
  await answer(far, call(6, 'inner'))
  await answer(client, { jsonrpc: '2.0', id: 7, method: 'no/such' })
  channels['stream.cut'].publish({ sessions: one.app.sessionManager, session: undefined, bytes: 5 })
  const { app: { sessionManager: sessions } } = one
  const parkedSession = sessions.list()[0]
  if (parkedSession !== undefined) channels['session.parked'].publish({ sessions, session: parkedSession })
  for (let i = 0; i < 3; i++) await openSession(t, new URL('/mcp', one.url))
  one.app.sessionManager.clearAll('deleted', ({ id }) => id !== client.sessionId)
  const last = await openSession(t, new URL('/mcp', one.url))
  await one.app.close()
  far.sessionId = last.sessionId
  await answer(far, call(7, 'inner'))
}

t.test('every metric and span is as the docs say', needsRedisServer(), async (t) => {
  const telemetry = setUpTelemetry(t)
  const redis = await RedisServer.start()
  t.teardown(() => redis.stop())
  await measureAll(t, redis.url)
  redis.freeze()
  const end = performance.now() + 10_000
  while (sumOf(await telemetry.metrics(), `${OWN}.redis.outages`) === 0 && performance.now() < end) await turn()
  redis.thaw()
  const table = documented('Metrics')
  const seen = await telemetry.metrics()
  t.strictSame(new Set(seen.map(({ descriptor: { name } }) => name)), new Set(table.keys()), 'the same names')
  for (const metric of seen) {
    const { descriptor: { name, unit }, dataPoints } = metric
    const [kind, documentedUnit = '', attributes = ''] = table.get(name) ?? []
    t.equal('isMonotonic' in metric ? metric.isMonotonic ? 'counter' : 'up-down counter' : 'histogram', kind, `${name}: the kind`)
    t.strictSame([unit], namesIn(documentedUnit), `${name}: the unit`)
    const keys = new Set(dataPoints.flatMap(({ attributes }) => Object.keys(attributes)))
    t.strictSame(keys, new Set(namesIn(attributes)), `${name}: the attributes`)
  }
  t.equal(sumOf(seen, `${OWN}.requests.rejected`, { [`${OWN}.code`]: 'FST_ERR_MCP_SESSION_NOT_FOUND' }), 1)
  t.equal(sumOf(seen, `${OWN}.requests.forwarded`, { [`${OWN}.outcome`]: 'answered' }), 1)
  t.equal(sumOf(seen, `${OWN}.sessions.taken_over`), 1)
  t.ok(sumOf(seen, `${OWN}.sessions.closed`, { [`${OWN}.reason`]: 'evicted' }) > 0)

  const spans = documented('Traces')
  const names = (kind: number): Set<string> => new Set(telemetry.spans().filter((span) => span.kind === kind && span.instrumentationScope.name === 'fastify-mcp-sessions').flatMap(({ attributes }) => Object.keys(attributes)))
  const [calls, forwards] = Array.from(spans.values(), ([, attributes = '']) => new Set(namesIn(attributes)))
  t.strictSame(names(1), calls, 'the attributes of calls')
  t.strictSame(new Set([...names(2), 'error.type']), forwards, 'the attributes of what is passed on')
})

t.test('parked sessions are counted until they are back, or have ended', async (t) => {
  const telemetry = setUpTelemetry(t)
  mock.timers.enable({ apis: ['Date', 'setInterval'] })
  t.teardown(() => mock.timers.reset())
  let fails = false
  const { app, listen } = await buildEndpoint(t, {
    sessions: { telemetry: true },
    endpoint: {
      parkAfter: 1000,
      createServer () {
        if (fails) throw new Error('no server today')
        return toolServer()
      }
    }
  })
  const url = await listen()
  const [back, ended] = [await openSession(t, url), await openSession(t, url)]
  const count = async (): Promise<number> => sumOf(await telemetry.metrics(), `${OWN}.sessions.parked`)
  await back.get()
  mock.timers.tick(1500)
  await turn()
  t.equal(await count(), 2)
  fails = true
  await answer(back, call(2, 'inner'))
  t.equal(await count(), 2, 'it could not be brought back')
  fails = false
  await answer(back, call(3, 'inner'))
  t.equal(await count(), 1)
  await ended.delete()
  t.equal(await count(), 0)
  t.equal(app.sessionManager.getActiveSessionCount(), 1)
})

t.test('a call is a span by the conventions, and what its tool does is inside of it', async (t) => {
  const telemetry = setUpTelemetry(t)
  const { listen } = await buildEndpoint(t, { sessions: { telemetry: true }, endpoint: { createServer: toolServer } })
  const client = await openSession(t, await listen())
  await answer(client, call(2, 'inner'))
  await answer(client, call(3, 'broken'))
  await answer(client, { jsonrpc: '2.0', id: 4, method: 'no/such' })
  const [initialize, inside, span, broken, unknown] = telemetry.spans()
  t.match(initialize, { name: 'initialize', kind: 1 })
  t.match(span, {
    name: 'tools/call inner',
    kind: 1,
    attributes: {
      'mcp.method.name': 'tools/call',
      'gen_ai.tool.name': 'inner',
      'gen_ai.operation.name': 'execute_tool',
      'mcp.session.id': hashSessionId(client.sessionId),
      'mcp.protocol.version': '2025-11-25',
      'jsonrpc.request.id': '2'
    },
    status: { code: 0 }
  })
  t.equal(inside?.parentSpanContext?.spanId, span?.spanContext().spanId)
  t.match(broken, { attributes: { 'error.type': 'tool_error' }, status: { code: 2 } })
  t.match(unknown, { name: 'no/such', attributes: { 'error.type': '-32601', 'rpc.response.status_code': '-32601' }, status: { code: 2, message: 'Method not found' } })
  t.notMatch(JSON.stringify(telemetry.spans().map(({ attributes }) => attributes)), client.sessionId)
})

for (const responseMode of ['json', 'auto', 'sse'] as const) {
  t.test(`a tool that fails is told of calls without a session, too: ${responseMode}`, async (t) => {
    const telemetry = setUpTelemetry(t)
    let gate = createDeferred<string>()
    const createServer = (): McpServer2 => {
      const server = new McpServer2({ name: 'broken', version: '1' })
      server.registerTool('broken', {}, async () => { throw new Error('broken') })
      server.registerTool('late', {}, async () => {
        await gate.promise
        throw new Error('broken')
      })
      server.registerTool('late, with steps', {}, async ({ mcpReq }) => {
        await gate.promise
        await mcpReq.notify({ method: 'notifications/progress', params: { progressToken: 1, progress: 1 } })
        throw new Error('broken')
      })
      return server
    }
    const { listen } = await buildEndpoint(t, { sessions: { telemetry: true }, endpoint: { modern: true, responseMode, heartbeatInterval: 20, createServer } })
    const client = new HttpClient(t, await listen())
    for (const name of ['broken', 'late', 'late, with steps', 'unknown']) {
      gate = createDeferred()
      // With JSON, nothing comes before the answer.
      if (responseMode === 'json') gate.resolve('at once')
      const { body, headers } = modernRequest(7, 'tools/call', { name, arguments: {} })
      const answer = await client.post(body, headers)
      gate.resolve('its stream is open')
      await answer.end()
    }
    const errors = ['tool_error', 'tool_error', 'tool_error', '-32602']
    t.strictSame(telemetry.spans().map(({ attributes }) => attributes['error.type']), errors)
    const [duration] = (await telemetry.metrics()).filter(({ descriptor: { name } }) => name === 'mcp.server.operation.duration')
    t.strictSame(duration?.dataPoints.map(({ attributes }) => attributes['error.type']), errors)
  })
}

t.test('traceparent in _meta is the parent, and HTTP a link', async (t) => {
  const telemetry = setUpTelemetry(t)
  const { listen } = await buildEndpoint(t, { sessions: { telemetry: { metrics: false } }, endpoint: { createServer: toolServer } })
  const client = await openSession(t, await listen())
  const http = '11111111111111111111111111111111'
  const traced = (id: number, _meta: object): object => ({ jsonrpc: '2.0', id, method: 'tools/call', params: { name: 'inner', arguments: {}, _meta } })
  const header = { traceparent: `00-${http}-2222222222222222-01` }
  await answer(client, traced(2, { traceparent: PARENT }), header)
  await answer(client, traced(3, { traceparent: PARENT }))
  await answer(client, traced(4, {}), header)
  await answer(client, traced(5, { traceparent: 'nonsense' }), header)
  await answer(client, traced(6, { traceparent: PARENT, tracestate: 'x'.repeat(10_000) }))
  const spans = telemetry.spans().filter(({ name }) => name === 'tools/call inner')
  t.strictSame(spans.map((span) => [span.spanContext().traceId, span.parentSpanContext?.spanId, span.links.map(({ context }) => context.traceId)]), [
    [TRACE, 'b7ad6b7169203331', [http]],
    [TRACE, 'b7ad6b7169203331', []],
    [http, '2222222222222222', []],
    [http, '2222222222222222', []],
    [TRACE, 'b7ad6b7169203331', []]
  ])
  t.strictSame(await telemetry.metrics(), [], 'and no metrics, for they are off')
})

t.test('names that clients make up are bounded', async (t) => {
  const telemetry = setUpTelemetry(t)
  const { listen } = await buildEndpoint(t, { sessions: { telemetry: true } })
  const client = await openSession(t, await listen())
  for (let i = 0; i < 300; i++) await answer(client, call(i, `made-up-${i}-${'x'.repeat(i * 10)}`))
  const [duration] = (await telemetry.metrics()).filter(({ descriptor: { name } }) => name === 'mcp.server.operation.duration')
  const tools = duration?.dataPoints.map(({ attributes }) => attributes['gen_ai.tool.name']) ?? []
  t.ok(tools.includes('_OTHER'))
  t.ok(tools.length <= 202, `${tools.length} tools`)
  t.ok(telemetry.spans().every(({ name }) => name.length <= 256))
})

t.test('a tool whose errors have ever new names makes no ever new series', async (t) => {
  const telemetry = setUpTelemetry(t)
  let code = 0
  const createServer = (): ToolServer['mcp'] => {
    const { mcp } = new ToolServer()
    mcp.server.setRequestHandler(CallToolRequestSchema, async () => {
      throw new McpError(--code, 'hostile')
    })
    return mcp
  }
  const { listen } = await buildEndpoint(t, { sessions: { telemetry: true }, endpoint: { createServer } })
  const client = await openSession(t, await listen())
  for (let i = 0; i < 200; i++) await answer(client, call(i, 'inner'))
  const [duration] = (await telemetry.metrics()).filter(({ descriptor: { name } }) => name === 'mcp.server.operation.duration')
  const types = new Set(duration?.dataPoints.map(({ attributes }) => attributes['error.type']))
  t.ok(types.has('-1'))
  t.ok(types.has('_OTHER'))
  // Those that are kept, all others, and none at all.
  t.equal(types.size, 52)
  t.equal(sumOf(await telemetry.metrics(), 'mcp.server.operation.duration'), 201, 'each call is counted')
})

t.test('two apps in a process each count what is theirs, and nothing when they have closed', async (t) => {
  const telemetry = setUpTelemetry(t)
  const { app } = await buildEndpoint(t, { sessions: { telemetry: true } })
  const { app: other } = await buildEndpoint(t, { sessions: { telemetry: { traces: false } } })
  const { app: silent, listen } = await buildEndpoint(t)
  for (const { sessionManager } of [app, other, silent]) sessionManager.create()
  await openSession(t, await listen())
  t.equal(sumOf(await telemetry.metrics(), `${OWN}.sessions.active`), 2)
  t.strictSame(telemetry.spans(), [])
  await app.close()
  t.equal(sumOf(await telemetry.metrics(), `${OWN}.sessions.active`), 1)
  t.equal(sumOf(await telemetry.metrics(), 'mcp.server.session.duration'), 1)
  await other.close()
  await silent.close()
  t.notOk(tracingChannels.call.start.hasSubscribers)
  t.notOk(tracingChannels.call.asyncEnd.hasSubscribers)
})

t.test('a request that is passed on is one trace', needsRedis(), async (t) => {
  const telemetry = setUpTelemetry(t)
  const { url, stop } = await startRedis()
  t.teardown(stop)
  const addNode = createCluster(t, url)
  const node = (): ReturnType<typeof addNode> => addNode({ plugin: { telemetry: true, identify: () => undefined }, routes: mountTools })
  const [owner, other] = [await node(), await node()]
  const suppressed: boolean[] = []
  const look = (): void => { suppressed.push(isTracingSuppressed(context.active())) }
  tracingChannels['request.forwarded'].end.subscribe(look)
  t.teardown(() => { tracingChannels['request.forwarded'].end.unsubscribe(look) })
  const client = await openSession(t, new URL('/mcp', owner.url))
  const far = new HttpClient(t, new URL('/mcp', other.url))
  far.sessionId = client.sessionId
  await answer(far, call(2, 'inner'), { traceparent: PARENT })
  await until(() => telemetry.spans().some(({ name }) => name === 'forward to owner'), 'the span is there')
  const spans = telemetry.spans()
  const hop = spans.find(({ name }) => name === 'forward to owner')
  const served = spans.find(({ name }) => name === 'tools/call inner')
  t.equal(hop?.parentSpanContext?.spanId, 'b7ad6b7169203331')
  t.equal(served?.parentSpanContext?.spanId, hop?.spanContext().spanId)
  t.strictSame([hop?.spanContext().traceId, served?.spanContext().traceId], [TRACE, TRACE])
  t.match(hop?.attributes, { 'http.response.status_code': 200, 'url.full': owner.url })
  t.strictSame(suppressed, [true], 'and no other instrumentation adds a traceparent of its own')
})

t.test('a hop that fails is told', async (t) => {
  const telemetry = setUpTelemetry(t)
  const { app } = await buildEndpoint(t, { sessions: { telemetry: true } })
  const { start, asyncEnd } = tracingChannels['request.forwarded']
  for (const error of [new TypeError('gone'), 'gone']) {
    const message = { sessions: app.sessionManager, sessionId: 'x', url: 'http://owner', method: 'GET', headers: {} }
    start.runStores(message, () => {})
    asyncEnd.publish(Object.assign(message, { error }))
  }
  asyncEnd.publish({ sessions: app.sessionManager, sessionId: 'x', url: 'http://owner', method: 'GET', headers: {} })
  t.strictSame(telemetry.spans().map(({ attributes }) => attributes['error.type']), ['TypeError', '_OTHER'])
  t.equal(sumOf(await telemetry.metrics(), `${OWN}.requests.forwarded`, { [`${OWN}.outcome`]: 'failed' }), 2)
})

t.test('options that are wrong are named', async (t) => {
  for (const [telemetry, message] of [
    ['yes', /^Option "telemetry" must be/], [{ metrics: 1 }, /^Option "telemetry.metrics" must be/],
    [{ trace: true }, /^Unknown option "telemetry.trace"/]
  ] as const) {
    const wrong: object = { telemetry }
    await t.rejects(buildEndpoint(t, { sessions: wrong }), { name: 'TypeError', message })
  }
})
