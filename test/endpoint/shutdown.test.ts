import { createMcpHandler, McpServer as ModernServer } from '@modelcontextprotocol/server'
import Fastify from 'fastify'
import { connect } from 'node:http2'
import { once } from 'node:events'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import mcpSessions, { mcpEndpoint } from '../../index.js'
import { listen as listenOn } from '../helpers/apps/app.js'
import { createDeferred } from '../helpers/waiting/deferred.js'
import { buildEndpoint as buildAnyEndpoint, type EndpointApp, type EndpointSetup, recordServers } from '../helpers/apps/endpoint-app.js'
import { call, HttpClient, initialize, openSession } from '../helpers/clients/http-client.js'
import { connectRaw, openUnreadStream } from '../helpers/clients/raw-client.js'
import { ToolServer } from '../helpers/mcp-servers/tool-server.js'
import { until } from '../helpers/waiting/until.js'

// With streams, whose head tells that a call has begun.
function buildEndpoint (t: Test, setup: EndpointSetup = {}): Promise<EndpointApp> {
  return buildAnyEndpoint(t, { ...setup, endpoint: { responseMode: 'sse', ...setup.endpoint } })
}

// What is called prompt here, with room for a slow machine.
const PROMPT = 3_000
// A drainTimeout that a test would not outlive.
const LONG = 60_000

async function timed (work: Promise<unknown>): Promise<number> {
  const start = performance.now()
  await work
  return performance.now() - start
}

function noteRejections (t: Test): unknown[] {
  const rejections: unknown[] = []
  const note = (reason: unknown): void => { rejections.push(reason) }
  process.on('unhandledRejection', note)
  t.teardown(() => process.off('unhandledRejection', note))
  return rejections
}

t.test('close() ends open GET streams and returns at once', async (t) => {
  const { app, listen, servers } = await buildEndpoint(t, { sessions: { drainTimeout: LONG } })
  const url = await listen()
  const closed: string[] = []
  app.sessionManager.on('closed', (_session, reason) => { closed.push(reason) })
  const streams = await Promise.all(Array.from({ length: 5 }, async () => (await openSession(t, url)).get()))
  t.ok(await timed(app.close()) < PROMPT)
  await Promise.all(streams.map((stream) => stream.end()))
  t.ok(streams.every(({ ended }) => ended), 'in good order')
  t.strictSame(closed, Array.from({ length: 5 }, () => 'shutdown'))
  t.strictSame(servers.map((server) => server.closed), [1, 1, 1, 1, 1])
  t.equal(app.sessionManager.getActiveSessionCount(), 0)
})

t.test('close() leaves a running call its time', async (t) => {
  for (const responseMode of ['sse', 'json'] as const) {
    const { app, listen, server } = await buildEndpoint(t, { sessions: { drainTimeout: LONG }, endpoint: { responseMode } })
    const client = await openSession(t, await listen())
    const pending = client.post(call(2, 'wait'))
    await until(() => server().waiting.length === 1, 'the call has come')
    const closing = timed(app.close())
    await turn()
    await turn()
    t.equal(server().aborted, 0)
    server().answer('finished')
    const answer = await (await pending).end()
    t.match(answer.text, 'finished')
    t.ok(await closing < PROMPT)
  }
})

t.test('a call that does not finish is cut at drainTimeout, with an error for an answer', async (t) => {
  for (const responseMode of ['sse', 'json'] as const) {
    const { app, listen, server } = await buildEndpoint(t, { sessions: { drainTimeout: 50 }, endpoint: { responseMode } })
    const client = await openSession(t, await listen())
    const calls = [client.post(call('a', 'wait')), client.post(call('b', 'wait'))]
    await until(() => server().waiting.length === 2, 'the calls have come')
    const duration = await timed(app.close())
    t.ok(duration >= 45 && duration < PROMPT, `${duration} ms`)
    t.equal(server().aborted, 2)
    for (const pending of calls) {
      const { text, ended } = await (await pending).end()
      t.match(text, /"error":\{"code":-32001,"message":"Session closed"\}/)
      t.ok(ended)
    }
  }
})

t.test('a drainTimeout of 0 waits for nothing', async (t) => {
  const { app, listen, server } = await buildEndpoint(t, { sessions: { drainTimeout: 0 } })
  const client = await openSession(t, await listen())
  const answer = await client.post(call(2, 'wait'))
  await until(() => server().waiting.length === 1, 'the call has come')
  t.ok(await timed(app.close()) < PROMPT)
  t.match((await answer.end()).text, 'Session closed')
})

t.test('a call with the id of another one that is running does not hang close()', async (t) => {
  const { app, listen, server } = await buildEndpoint(t, { sessions: { drainTimeout: 50 }, endpoint: { responseMode: 'json' } })
  const client = await openSession(t, await listen())
  const calls = [client.post(call(2, 'wait')), client.post(call(2, 'wait'))]
  await until(() => server().waiting.length === 2, 'the calls have come')
  t.ok(await timed(app.close()) < PROMPT)
  await Promise.allSettled(calls)
})

t.test('a tool that never answers in stateless mode does not hang close()', async (t) => {
  for (const responseMode of ['sse', 'json'] as const) {
    const { app, listen, server, servers } = await buildEndpoint(t, {
      sessions: { enabled: false, drainTimeout: 20 }, endpoint: { responseMode }
    })
    const client = new HttpClient(t, await listen())
    const pending = client.post(call(2, 'wait')).then((answer) => answer.end()).catch(() => {})
    await until(() => servers.length === 1 && server().waiting.length === 1, 'the call has come')
    t.ok(await timed(app.close()) < PROMPT)
    await pending
    await until(() => server().closed === 1, 'its server is closed')
  }
})

t.test('a server whose close() never resolves does not hang close(), nor does one that throws', async (t) => {
  const rejections = noteRejections(t)
  const closes: Array<() => Promise<void>> = [
    () => new Promise(() => {}),
    () => Promise.reject(new Error('no')),
    () => { throw new Error('no') }
  ]
  for (const close of closes) {
    const { app, listen, servers } = await buildEndpoint(t, {
      endpoint: {
        createServer () {
          const server = new ToolServer()
          servers.push(server)
          return { connect: (transport) => server.mcp.connect(transport), close }
        }
      }
    })
    const client = await openSession(t, await listen())
    const stream = await client.get()
    t.ok(await timed(app.close()) < PROMPT)
    await stream.end()
    t.ok(stream.ended)
  }
  await turn()
  t.strictSame(rejections, [])
})

t.test('an app that never listened closes too, with a server that does not', async (t) => {
  const { app } = await buildEndpoint(t, {
    endpoint: { createServer: () => ({ connect: (transport) => new ToolServer().mcp.connect(transport), close: () => new Promise(() => {}) }) }
  })
  const opened = await app.inject({
    method: 'POST', url: '/mcp', headers: { host: 'localhost', accept: 'application/json, text/event-stream' }, payload: initialize()
  })
  t.equal(opened.statusCode, 200)
  t.ok(await timed(app.close()) < PROMPT)
})

t.test('a session that is opened while the app closes gets 503, and is asked to come again', async (t) => {
  for (const return503OnClosing of [true, false]) {
    const { app, listen, server, servers } = await buildEndpoint(t, { sessions: { drainTimeout: LONG }, server: { return503OnClosing } })
    const url = await listen()
    const client = await openSession(t, url)
    // Connections that are there already: no new ones are taken when an app closes.
    const late = new HttpClient(t, url)
    await (await late.post({})).end()
    const running = await client.post(call(2, 'wait'))
    await until(() => server().waiting.length === 1, 'the call has come')
    const closing = app.close()
    await turn()
    const answer = await (await late.post(initialize())).end()
    t.equal(answer.status, 503)
    if (!return503OnClosing) {
      t.equal(answer.headers['retry-after'], '1')
      t.match(JSON.parse(answer.text), { jsonrpc: '2.0', error: { code: -32000 }, id: null })
    }
    t.equal(servers.length, 1)
    server().answer('x')
    await running.end()
    await closing
  }
})

t.test('a client that comes back for its GET stream does not hold close() up', async (t) => {
  const { app, listen, server } = await buildEndpoint(t, { sessions: { drainTimeout: LONG }, server: { return503OnClosing: false } })
  const client = await openSession(t, await listen())
  const stream = await client.get()
  const running = await client.post(call(2, 'wait'))
  await until(() => server().waiting.length === 1, 'the call has come')
  const closing = timed(app.close())
  await stream.end()
  const again = await (await client.get()).end()
  t.equal(again.status, 503)
  t.equal(again.headers['retry-after'], '1')
  // What is running may still need the session.
  const echoed = await (await client.post(call(3, 'echo', { text: 'still served' }))).end()
  t.match(echoed.text, 'still served')
  server().answer('x')
  await running.end()
  t.ok(await closing < PROMPT)
})

t.test('a session whose server is still being made when the app closes leaves nothing', async (t) => {
  const made = createDeferred<ToolServer>()
  const { app, listen } = await buildEndpoint(t, { sessions: { drainTimeout: 20 }, endpoint: { createServer: async () => (await made.promise).mcp } })
  const client = new HttpClient(t, await listen())
  const pending = client.post(initialize()).then((answer) => answer.end()).catch(() => {})
  await until(() => app.sessionManager.getActiveSessionCount() === 1, 'the session is there')
  t.match(app.sessionManager.list(), [{ activeRequests: 1 }], 'and in use, so that it is not evicted')
  t.ok(await timed(app.close()) < PROMPT)
  const server = new ToolServer()
  const closed = t.capture(server.mcp, 'close', server.mcp.close)
  made.resolve(server)
  await pending
  await until(() => closed().length === 1, 'its server is closed')
  t.equal(app.sessionManager.getActiveSessionCount(), 0)
})

t.test('close() twice is close() once', async (t) => {
  const { app, listen } = await buildEndpoint(t)
  const client = await openSession(t, await listen())
  const stream = await client.get()
  const reasons: string[] = []
  app.sessionManager.on('closed', (_session, reason) => { reasons.push(reason) })
  await Promise.all([app.close(), app.close()])
  await app.close()
  await stream.end()
  t.strictSame(reasons, ['shutdown'])
})

t.test('an app with the plugin in a scope of its own closes as promptly', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(async function scope (scoped) {
    await scoped.register(mcpSessions, { drainTimeout: LONG })
    await scoped.register(mcpEndpoint, { createServer: recordServers().createServer })
    // Some versions of Fastify run preClose for each of these.
    for (let child = 0; child < 3; child++) await scoped.register(async function plugin () {})
  }, { prefix: '/scope' })
  const client = await openSession(t, new URL(`http://127.0.0.1:${await listenOn(app)}/scope/mcp`))
  const stream = await client.get()
  t.ok(await timed(app.close()) < PROMPT)
  await stream.end()
  t.ok(stream.ended)
})

t.test('two endpoints drain together', async (t) => {
  const { app, listen, server } = await buildEndpoint(t, {
    sessions: { drainTimeout: LONG },
    async before (app) { await app.register(mcpEndpoint, { path: '/other', createServer: recordServers().createServer }) }
  })
  const url = await listen()
  const client = await openSession(t, url)
  const other = await openSession(t, new URL('/other', url))
  const stream = await other.get()
  const running = await client.post(call(2, 'wait'))
  await until(() => server().waiting.length === 1, 'the call has come')
  const closing = timed(app.close())
  await stream.end()
  t.equal(app.sessionManager.getActiveSessionCount(), 2, 'sessions live until all has drained')
  server().answer('x')
  await running.end()
  t.ok(await closing < PROMPT)
})

for (const modern of ['true', 'a handler'] as const) {
  t.test(`a listen stream of a modern client ends with its result, with modern: ${modern}`, async (t) => {
    const { servers, createServer } = recordServers()
    const create = (): ModernServer => new ModernServer({ name: 'modern', version: '1' }, { capabilities: { tools: { listChanged: true } } })
    const { app, listen } = await buildEndpoint(t, {
      sessions: { drainTimeout: LONG },
      server: { return503OnClosing: false },
      endpoint: modern === 'true'
        ? { modern: true, createServer: ({ era }) => era === 'legacy' ? createServer() : create() }
        : { modern: createMcpHandler(create, { legacy: 'reject' }), createServer }
    })
    const url = await listen()
    const running = await (await openSession(t, url)).post(call(2, 'wait'))
    await until(() => servers[0]?.waiting.length === 1, 'a call keeps the app from being closed at once')
    const client = new HttpClient(t, url)
    await (await client.post({})).end()
    const listening = await client.post(listenRequest(1), listenHeaders)
    t.equal(listening.status, 200, listening.text)
    await listening.see('acknowledged')
    const closing = timed(app.close())
    // Only what is made for one stream can be closed without the calls that run.
    if (modern === 'true') await listening.end()
    const late = await (await client.post(listenRequest(2), listenHeaders)).end()
    t.equal(late.status, 503, 'and there is no new one')
    servers[0]?.answer('x')
    await running.end()
    await listening.end()
    t.ok(listening.ended)
    t.match(listening.messages.at(-1), { id: 1, result: { resultType: 'complete' } })
    t.ok(await closing < PROMPT)
  })
}

t.test('a client that reads nothing does not hold close() up', async (t) => {
  const { app, listen, server } = await buildEndpoint(t, { sessions: { drainTimeout: 20 } })
  const url = await listen()
  const client = await openSession(t, url)
  await openUnreadStream(t, url, client.sessionId)
  const noise = 'x'.repeat(1_000_000)
  for (let message = 0; message < 30; message++) await server().mcp.sendLoggingMessage({ level: 'info', data: noise })
  t.ok(await timed(app.close()) < PROMPT)
})

t.test('a request that waits in a pipeline whose connection goes does not hold close() up', async (t) => {
  const { app, listen, server } = await buildEndpoint(t, { sessions: { drainTimeout: LONG }, endpoint: { cancelOnDisconnect: true } })
  const url = await listen()
  const client = await openSession(t, url)
  const raw = await connectRaw(t, Number(url.port))
  const body = JSON.stringify(call(2, 'wait'))
  const post = ['POST /mcp HTTP/1.1', 'host: 127.0.0.1', 'accept: application/json, text/event-stream', 'content-type: application/json',
    `mcp-session-id: ${client.sessionId}`]
  for (const id of [2, 3]) {
    const next = body.replace('"id":2', `"id":${id}`)
    raw.socket.write([...post, `content-length: ${next.length}`, '', next].join('\r\n'))
  }
  await until(() => server().waiting.length === 2, 'both calls have come')
  raw.vanish()
  await until(() => app.sessionManager.get(client.sessionId)?.activeRequests === 0, 'both are let go of')
  t.ok(await timed(app.close()) < PROMPT)
})

t.test('HTTP/2 streams end, and close() returns', async (t) => {
  const { servers, createServer } = recordServers()
  const app = Fastify({ http2: true })
  t.teardown(() => app.close())
  await app.register(mcpSessions, { drainTimeout: LONG })
  await app.register(mcpEndpoint, { createServer })
  const client = connect(`http://127.0.0.1:${await app.listen({ port: 0, host: '127.0.0.1' }).then((address) => new URL(address).port)}`)
  t.teardown(() => client.destroy())
  const opening = client.request({
    ':method': 'POST', ':path': '/mcp', 'content-type': 'application/json', accept: 'application/json, text/event-stream'
  })
  opening.end(JSON.stringify(initialize()))
  const [head] = await once(opening, 'response')
  t.equal(head[':status'], 200)
  opening.resume()
  await once(opening, 'end')
  const stream = client.request({ ':path': '/mcp', accept: 'text/event-stream', 'mcp-session-id': String(head['mcp-session-id']) })
  const [streamHead] = await once(stream, 'response')
  t.match(streamHead, { ':status': 200, 'content-type': 'text/event-stream' })
  let text = ''
  stream.setEncoding('utf8').on('data', (chunk) => { text += String(chunk) })
  await servers[0]?.noteHasChanged()
  await until(() => text.includes('notifications/resources/updated'), 'the message is there')
  const ended = once(stream, 'end')
  const closing = timed(app.close())
  await ended
  client.close()
  t.ok(await closing < PROMPT)
})

const listenHeaders = {
  'mcp-protocol-version': '2026-07-28', 'mcp-method': 'subscriptions/listen'
}

function listenRequest (id: number): object {
  return {
    jsonrpc: '2.0',
    id,
    method: 'subscriptions/listen',
    params: {
      notifications: { toolsListChanged: true },
      _meta: {
        'io.modelcontextprotocol/protocolVersion': '2026-07-28',
        'io.modelcontextprotocol/clientInfo': { name: 'test', version: '1' },
        'io.modelcontextprotocol/clientCapabilities': {}
      }
    }
  }
}
