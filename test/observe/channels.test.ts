// What the channels say, when, and that the table in docs/observing.md says the same.
import Fastify, { type FastifyInstance } from 'fastify'
import { AsyncLocalStorage } from 'node:async_hooks'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { setImmediate } from 'node:timers/promises'
import t, { type Test } from 'tap'
import mcpSessions, { mcpEndpoint, SessionManager } from '../../index.js'
import { channels, PREFIX, tracingChannels, type CallMessage, type ForwardMessage } from '../../lib/observe/channels.js'
import { captureLog } from '../helpers/observe/log-lines.js'
import { documented, hear, namesIn, trace } from '../helpers/observe/channels.js'
import { createCluster } from '../helpers/cluster/cluster-apps.js'
import { buildEndpoint } from '../helpers/apps/endpoint-app.js'
import { call, HttpClient, openSession } from '../helpers/clients/http-client.js'
import { needsRedis, needsRedisServer, RedisServer, startRedis } from '../helpers/redis/redis-server.js'
import { ToolServer } from '../helpers/mcp-servers/tool-server.js'
import { until } from '../helpers/waiting/until.js'
import { modernRequest, toHandler } from '../helpers/mcp-servers/modern-handler.js'

t.setTimeout(60_000)

const table = documented('Channels')

/** Checks a message against the row of its channel. */
function hasDocumentedFields (t: Test, name: string, message: object): void {
  const [, holds = ''] = table.get(name) ?? []
  t.strictSame(Object.keys(message).sort(), ['sessions', ...namesIn(holds)].sort(), `${name} holds what the table says`)
}

t.test('the table has every channel, and no other', async (t) => {
  t.strictSame(Array.from(table.keys()).sort(), [...Object.keys(channels), ...Object.keys(tracingChannels)].sort())
  for (const [name, channel] of Object.entries(channels)) t.equal(channel.name, `fastify-mcp-sessions:${name}`)
  t.equal(tracingChannels.call.start.name, 'tracing:fastify-mcp-sessions:call:start')
})

t.test('a session is created once and closed once, whatever its listeners do', async (t) => {
  const created = hear(t, 'session.created')
  const closed = hear(t, 'session.closed')
  const sessions = new SessionManager({ maxSessions: 2 })
  sessions.on('closed', ({ id }, reason) => { if (reason === 'replaced') sessions.cleanup(id) })
  sessions.register('one')
  sessions.register('one')
  sessions.register('two', undefined, { createdAt: Date.now() - 5000 })
  sessions.create()
  sessions.create()
  sessions.clearAll()
  t.strictSame(created.map(({ how }) => how), ['registered', 'registered', 'adopted', 'created', 'created'])
  t.strictSame(closed.map(({ session: { id }, reason }) => [id.length > 3 ? 'new' : id, reason]), [
    ['one', 'replaced'], ['one', 'deleted'], ['two', 'evicted'], ['new', 'cleared'], ['new', 'cleared']
  ])
  t.ok(closed[2] !== undefined && closed[2].age >= 5000 && closed[2].age < 10_000, 'the age counts from where it was opened')
  for (const { sessions: of } of [...created, ...closed]) t.equal(of, sessions)
  hasDocumentedFields(t, 'session.created', created[0] ?? {})
  hasDocumentedFields(t, 'session.closed', closed[0] ?? {})
})

t.test('Node.js knows them by name', async (t) => {
  const heard: unknown[] = []
  const listener = (message: unknown): void => { heard.push(message) }
  subscribe(`${PREFIX}session.created`, listener)
  new SessionManager().create()
  unsubscribe(`${PREFIX}session.created`, listener)
  new SessionManager().create()
  t.equal(heard.length, 1)
})

t.test('a rejection is told with its code, and the id only if it could be one', async (t) => {
  const rejected = hear(t, 'request.rejected')
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(mcpSessions)
  app.get('/', async () => 'hello')
  await app.inject({ url: '/', headers: { 'mcp-session-id': 'unknown' } })
  await app.inject({ url: '/', headers: { 'mcp-session-id': 'no id' } })
  t.match(rejected, [
    { sessions: app.sessionManager, code: 'FST_ERR_MCP_SESSION_NOT_FOUND', statusCode: 404, message: 'Session not found (HTTP 404)', sessionId: 'unknown' },
    { code: 'FST_ERR_MCP_SESSION_ID_MALFORMED', statusCode: 400, sessionId: undefined }
  ])
  t.equal(rejected.length, 2)
  hasDocumentedFields(t, 'request.rejected', rejected[0] ?? {})
})

t.test('a call is traced from before its server gets it to its answer', async (t) => {
  const heard = trace(t, 'call')
  const { app, listen } = await buildEndpoint(t)
  const client = await openSession(t, await listen())
  t.strictSame(heard.map(({ event, message }) => `${event} ${message.method}`), [
    'start initialize', 'end initialize', 'asyncStart initialize', 'asyncEnd initialize'
  ])
  heard.length = 0
  await (await client.post(call(2, 'echo', { text: 'hello' }), { traceparent: 'x' })).end()
  t.strictSame(heard.map(({ event }) => event), ['start', 'end', 'asyncStart', 'asyncEnd'])
  t.equal(new Set(heard.map(({ message }) => message)).size, 1, 'with one message')
  const { message } = heard[0] ?? {}
  t.match(message, {
    sessions: app.sessionManager,
    session: { id: client.sessionId },
    method: 'tools/call',
    id: 2,
    params: { name: 'echo', arguments: { text: 'hello' } },
    headers: { traceparent: 'x' },
    result: { content: [{ text: 'hello' }] }
  })
  t.equal(message?.error, undefined)
  t.ok((message?.duration ?? 0) > 0, 'and how long it took')
  heard.length = 0
  await (await client.post({ jsonrpc: '2.0', id: 3, method: 'no/such' })).end()
  t.strictSame(heard.map(({ event }) => event), ['start', 'end', 'error', 'asyncStart', 'asyncEnd'])
  t.match(heard[0]?.message, { error: { code: -32601, message: 'Method not found' } })
  const [, holds = ''] = table.get('call') ?? []
  for (const name of Object.keys({ ...message, ...heard[0]?.message })) t.ok(name === 'sessions' || namesIn(holds).includes(name), name)
})

t.test('a call that is cancelled ends once', async (t) => {
  const heard = trace(t, 'call')
  const { listen, server } = await buildEndpoint(t)
  const client = await openSession(t, await listen())
  heard.length = 0
  const answer = await client.post(call(2, 'tell'))
  await answer.see('first')
  await (await client.post({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 2 } })).end()
  await answer.end()
  server().answer('late')
  await client.delete()
  t.strictSame(heard.map(({ event }) => event), ['start', 'end', 'error', 'asyncStart', 'asyncEnd'])
  t.match(heard[0]?.message, { error: { code: 'cancelled' } })
})

t.test('what is bound to the start of a call is there in the tool', async (t) => {
  const store = new AsyncLocalStorage<string>()
  tracingChannels.call.start.bindStore(store, ({ method, id }) => `${method} ${id}`)
  t.teardown(() => { tracingChannels.call.start.unbindStore(store) })
  const tools: unknown[] = []
  const { listen } = await buildEndpoint(t, {
    endpoint: {
      createServer () {
        const server = new ToolServer()
        server.mcp.registerTool('store', {}, async () => {
          tools.push(store.getStore())
          return { content: [] }
        })
        return server.mcp
      }
    }
  })
  const other = await openSession(t, await listen())
  await (await other.post(call(7, 'store'))).end()
  t.strictSame(tools, ['tools/call 7'])
})

t.test('whoever listens to one of the five alone is told, and a call without a session too', async (t) => {
  const { app } = await buildEndpoint(t, { sessions: { enabled: false } })
  for (const name of ['start', 'end', 'asyncStart', 'asyncEnd', 'error'] as const) {
    const heard: CallMessage[] = []
    const listener = (message: CallMessage): void => { heard.push(message) }
    tracingChannels.call[name].subscribe(listener)
    await app.inject({
      method: 'POST', url: '/mcp', headers: { accept: 'application/json, text/event-stream' }, payload: { jsonrpc: '2.0', id: 1, method: 'no/such' }
    })
    tracingChannels.call[name].unsubscribe(listener)
    t.match(heard, [{ method: 'no/such', session: undefined }], name)
  }
})

t.test('a modern call is traced by what its request says', async (t) => {
  const heard = trace(t, 'call')
  let status = 200
  const { app } = await buildEndpoint(t, { endpoint: { modern: toHandler(async () => Response.json({}, { status })) } })
  const send = async (body: object): Promise<void> => {
    await app.inject({ method: 'POST', url: '/mcp', headers: { 'mcp-protocol-version': '2026-07-28', accept: 'application/json, text/event-stream' }, payload: body })
  }
  await send({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'echo' } })
  t.strictSame(heard.map(({ event }) => event), ['start', 'end', 'asyncStart', 'asyncEnd'])
  t.match(heard[0]?.message, { sessions: app.sessionManager, session: undefined, method: 'tools/call', id: 1, params: { name: 'echo' } })
  heard.length = 0
  status = 400
  await send({ jsonrpc: '2.0', id: 2, method: 'tools/list' })
  t.match(heard.at(-1), { event: 'asyncEnd', message: { error: { code: 400 } } })
  heard.length = 0
  await send({ jsonrpc: '2.0', method: 'notifications/initialized' })
  t.strictSame(heard, [], 'what asks for nothing is no call')
})

t.test('what a modern call was answered with is heard as it goes by', async (t) => {
  const heard = trace(t, 'call')
  const answer = (more: object): string => JSON.stringify({ jsonrpc: '2.0', id: 7, ...more })
  const failed = { result: { isError: true } }
  let response = (): Response => Response.json({})
  const { app, listen } = await buildEndpoint(t, { endpoint: { modern: toHandler(async () => response()) } })
  const client = new HttpClient(t, await listen())
  const { body, headers } = modernRequest(7, 'tools/call', { name: 'echo' })
  const events = { headers: { 'content-type': 'text/event-stream' } }
  for (const [answered, outcome] of [
    [() => new Response(answer(failed)), failed],
    [() => new Response(answer({ error: { code: -32602, message: 'no' } }), { status: 400 }), { error: { code: -32602, message: 'no' } }],
    [() => new Response(`data: ${answer(failed)}\n\n`, events), failed]
  ] as const) {
    response = answered
    heard.length = 0
    await (await client.post(body, headers)).end()
    t.match(heard.at(-1), { event: 'asyncEnd', message: { ...outcome, duration: Number } })
    t.equal(heard.filter(({ event }) => event === 'asyncEnd').length, 1)
  }

  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>()
  const writer = writable.getWriter()
  const write = (text: string): void => { writer.write(Buffer.from(text)).catch(() => {}) }
  response = () => new Response(readable, events)
  heard.length = 0
  write(': here\n\n')
  const stream = await client.post(body, headers)
  write(`data: ${answer(failed)}\n\n`)
  await until(() => heard.at(-1)?.event === 'asyncEnd', 'it is over')
  t.match(heard.at(-1)?.message, failed, 'as soon as it is there, though the stream goes on')
  stream.raw.destroy()

  response = () => new Response(new ReadableStream<Uint8Array>({ pull () {} }), events)
  const { body: listening, headers: listeningHeaders } = modernRequest(7, 'subscriptions/listen')
  for (const [request, outcome] of [
    [() => client.post(body, headers), { error: { code: 'cancelled' } }],
    [() => client.post(listening, listeningHeaders), { error: undefined }]
  ] as const) {
    heard.length = 0
    const { raw } = await request()
    raw.destroy()
    await until(() => heard.at(-1)?.event === 'asyncEnd', 'it is over')
    t.match(heard.at(-1)?.message, outcome, 'the client has gone')
  }
  t.equal(app.sessionManager.getActiveSessionCount(), 0)
})

t.test('a stream that is cut says how much waited', async (t) => {
  const cut = hear(t, 'stream.cut')
  const { listen, server } = await buildEndpoint(t, { endpoint: { maxBuffered: 10_000 } })
  const client = await openSession(t, await listen())
  const stream = await client.get()
  stream.raw.pause()
  const end = performance.now() + 10_000
  while (cut.length === 0 && performance.now() < end) await server().say('x'.repeat(100_000))
  t.match(cut[0], { session: { id: client.sessionId } })
  t.ok(Number(cut[0]?.bytes) > 10_000)
  hasDocumentedFields(t, 'stream.cut', cut[0] ?? {})
})

t.test('so does one that has no session', async (t) => {
  const cut = hear(t, 'stream.cut')
  const { app, listen, server } = await buildEndpoint(t, { sessions: { enabled: false }, endpoint: { maxBuffered: 10_000 } })
  const stream = await new HttpClient(t, await listen()).post(call(2, 'tell'))
  await stream.see('first')
  stream.raw.pause()
  server().answer('x'.repeat(20_000_000))
  await until(() => server().waiting.length > 0, 'the next is to come')
  server().answer('too late')
  await until(() => cut.length > 0, 'it is cut')
  t.match(cut[0], { sessions: app.sessionManager, session: undefined })
  hasDocumentedFields(t, 'stream.cut', cut[0] ?? {})
})

t.test('so does one of 2026-07-28', async (t) => {
  const cut = hear(t, 'stream.cut')
  const { lines, stream: log } = captureLog()
  const noise = new TextEncoder().encode('data: x\n\n'.repeat(10_000))
  async function pull (controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> {
    await setImmediate()
    controller.enqueue(noise)
  }
  const modern = toHandler(async () => new Response(new ReadableStream({ pull }), { headers: { 'content-type': 'text/event-stream' } }))
  const { app, listen } = await buildEndpoint(t, { server: { logger: { level: 'warn', stream: log } }, endpoint: { maxBuffered: 10_000, modern } })
  const client = new HttpClient(t, await listen())
  for (const method of ['tools/call', 'subscriptions/listen']) {
    const { body, headers } = modernRequest(1, method)
    const stream = await client.post(body, headers)
    stream.raw.pause()
    await until(() => cut.length > 0, 'it is cut')
    t.match(cut.pop(), { sessions: app.sessionManager, session: undefined, bytes: Number })
    t.match(lines.pop(), /A stream was cut off/)
  }
})

t.test('in a cluster', needsRedis(), async (t) => {
  const { url, stop } = await startRedis()
  t.teardown(stop)

  t.test('a request that is passed on is traced, and its headers can be added to', async (t) => {
    const heard = trace(t, 'request.forwarded')
    const add = ({ headers }: ForwardMessage): void => { headers['x-added'] = 'yes' }
    tracingChannels['request.forwarded'].start.subscribe(add)
    t.teardown(() => { tracingChannels['request.forwarded'].start.unsubscribe(add) })
    const addNode = createCluster(t, url)
    const seen: unknown[] = []
    const routes = async (app: FastifyInstance): Promise<void> => {
      app.get('/', async ({ headers }) => { seen.push(headers['x-added']) })
    }
    const owner = await addNode({ routes })
    const other = await addNode({ routes })
    const id = owner.app.sessionManager.create()
    await fetch(owner.url, { headers: { 'mcp-session-id': id } })
    t.equal((await fetch(other.url, { headers: { 'mcp-session-id': id } })).status, 200)
    t.strictSame(heard.slice(-4).map(({ event }) => event), ['start', 'end', 'asyncStart', 'asyncEnd'])
    const { message } = heard.at(-1) ?? {}
    t.match(message, { sessions: other.app.sessionManager, sessionId: id, url: owner.url, method: 'GET', statusCode: 200 })
    const { duration } = Object(message)
    t.ok(duration > 0 && duration < 5000, `it has taken ${duration} ms`)
    t.equal(seen.at(-1), 'yes')
    const [, holds = ''] = table.get('request.forwarded') ?? []
    for (const name of Object.keys(message ?? {})) t.ok(name === 'sessions' || namesIn(holds).includes(name), name)
  })

  t.test('one that a stranger has answered ends once, with what that said', async (t) => {
    const heard = trace(t, 'request.forwarded')
    const stranger = Fastify()
    t.teardown(() => stranger.close())
    const addNode = createCluster(t, url)
    const owner = await addNode({ cluster: { advertise: await stranger.listen({ port: 0, host: '127.0.0.1' }) } })
    const other = await addNode({ routes: async (app) => { app.get('/', async () => 'hello') } })
    const id = owner.app.sessionManager.create()
    await until(async () => await other.app.sessionDirectory.count() === 1, 'it is in the directory')
    const gone = new AbortController()
    const answer = fetch(other.url, { headers: { 'mcp-session-id': id }, signal: gone.signal })
    await until(() => heard.filter(({ event }) => event === 'start').length > 1, 'it is tried again')
    gone.abort()
    await t.rejects(answer)
    const [first] = heard
    t.strictSame(heard.filter(({ message }) => message === first?.message).map(({ event }) => event), ['start', 'end', 'asyncStart', 'asyncEnd'])
    t.match(first?.message, { statusCode: 404, error: undefined })
  })

  t.test('a session is handed over, taken over and restored', async (t) => {
    const handedOver = hear(t, 'session.handed-over')
    const takenOver = hear(t, 'session.taken-over')
    const restored = hear(t, 'session.restored')
    const addNode = createCluster(t, url)
    const routes = async (app: FastifyInstance): Promise<void> => {
      await app.register(mcpEndpoint, { createServer: () => new ToolServer().mcp })
    }
    const first = await addNode({ routes })
    const client = new HttpClient(t, new URL('/mcp', first.url))
    await client.open()
    await first.app.close()
    t.match(handedOver, [{ sessions: first.app.sessionManager, session: { id: client.sessionId } }])
    const second = await addNode({ routes })
    const next = new HttpClient(t, new URL('/mcp', second.url))
    next.sessionId = client.sessionId
    t.equal((await (await next.post(call(2, 'echo', { text: 'hello' }))).end()).status, 200)
    t.match(takenOver, [{ sessions: second.app.sessionManager, session: { id: client.sessionId } }])
    t.match(restored, [{ sessions: second.app.sessionManager, session: { id: client.sessionId }, unanswered: [] }])
    hasDocumentedFields(t, 'session.handed-over', handedOver[0] ?? {})
    hasDocumentedFields(t, 'session.taken-over', takenOver[0] ?? {})
    hasDocumentedFields(t, 'session.restored', restored[0] ?? {})
  })
})

t.test('an outage of Redis is told once at its beginning and once at its end', needsRedisServer(), async (t) => {
  const unavailable = hear(t, 'redis.unavailable')
  const available = hear(t, 'redis.available')
  const redis = await RedisServer.start()
  t.teardown(() => redis.stop())
  const { app } = await createCluster(t, redis.url)()
  redis.freeze()
  await until(() => unavailable.length > 0, 'it is away')
  redis.thaw()
  await until(() => available.length > 0, 'it is back')
  t.match(unavailable, [{ sessions: app.sessionManager, error: { name: 'DirectoryUnavailableError' } }])
  t.equal(available.length, 1)
  t.ok(Number(available[0]?.after) > 0)
  hasDocumentedFields(t, 'redis.unavailable', unavailable[0] ?? {})
  hasDocumentedFields(t, 'redis.available', available[0] ?? {})
})
