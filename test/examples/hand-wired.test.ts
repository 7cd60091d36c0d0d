import { once } from 'node:events'
// The official SDK client over a real port.
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { mock } from 'node:test'
import { buildHandWiredApp } from '../../examples/hand-wired.js'
import type { CloseReason } from '../../index.js'
import { activeRequests, listen } from '../helpers/apps/app.js'
import { connectRaw } from '../helpers/clients/raw-client.js'
import { until } from '../helpers/waiting/until.js'

const TTL = 10_000
// Below the time that Node.js keeps an idle connection for, which is what a close() that hangs waits for.
const PROMPT = 2_000

interface Connection {
  readonly client: Client
  readonly transport: StreamableHTTPClientTransport
  readonly id: string
}

/** Its clock stands still: time passes when the test says so. */
async function serve (t: Test): Promise<{ app: FastifyInstance, url: URL }> {
  mock.timers.enable({ apis: ['Date', 'setInterval'], now: 1_000_000 })
  t.teardown(() => mock.timers.reset())
  const app = await buildHandWiredApp({ ttl: TTL, cleanupInterval: TTL })
  t.teardown(() => app.close())
  return { app, url: new URL(`http://127.0.0.1:${await listen(app)}/mcp`) }
}

// Like the many clients that never open the GET stream: nothing but their requests holds the session.
async function withoutStream (url: string | URL, init?: RequestInit): Promise<Response> {
  return init?.method === 'GET' ? new Response(null, { status: 405 }) : fetch(url, init)
}

async function connect (t: Test, url: URL, doFetch: typeof withoutStream = fetch): Promise<Connection> {
  const client = new Client({ name: 'test', version: '1.0.0' })
  const transport = new StreamableHTTPClientTransport(url, { fetch: doFetch })
  await client.connect(transport)
  t.teardown(() => client.close())
  const id = transport.sessionId
  if (id === undefined) throw new Error('The server gave no session id')
  return { client, transport, id }
}

function textOf (result: Awaited<ReturnType<Client['callTool']>>): string | undefined {
  const [first] = Array.isArray(result.content) ? result.content : []
  return first?.text
}

const INITIALIZE = {
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'test', version: '1' } }
}
const MCP_HEADERS = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' }

t.test('a client connects, calls tools, and appears in list()', async (t) => {
  const { app, url } = await serve(t)
  const { client, id } = await connect(t, url)
  const { tools } = await client.listTools()
  t.strictSame(tools.map(({ name }) => name), ['list_notes', 'add_note', 'count_down'])
  const text = `Seen by MCP and REST ${id}`
  t.match(textOf(await client.callTool({ name: 'add_note', arguments: { text } })), /^Note \d+ added$/)
  t.match(textOf(await client.callTool({ name: 'list_notes', arguments: {} })), text)
  t.ok((await app.inject('/notes')).json().includes(text), 'it is the same data')
  t.strictSame(app.sessionManager.list().map((session) => session.id), [id])
  t.strictSame((await app.inject('/health')).json(), { status: 'ok', activeSessions: 1 })
})

t.test('every client has a session of its own', async (t) => {
  const { app, url } = await serve(t)
  const connections = await Promise.all([connect(t, url), connect(t, url), connect(t, url)])
  t.equal(new Set(connections.map(({ id }) => id)).size, 3)
  t.equal(app.sessionManager.getActiveSessionCount(), 3)
})

t.test('a tool says how far it is', async (t) => {
  const { url } = await serve(t)
  const { client } = await connect(t, url)
  const progress: unknown[] = []
  const result = await client.callTool({ name: 'count_down', arguments: { seconds: 0.01 } }, undefined, {
    onprogress: (update) => progress.push(update)
  })
  t.equal(textOf(result), 'Lift-off')
  t.strictSame(progress, [{ progress: 1, total: 0.01 }])
})

t.test('a tool call longer than the ttl keeps the session', async (t) => {
  const { app, url } = await serve(t)
  const { client, id } = await connect(t, url, withoutStream)
  await until(() => activeRequests(app, id) === 0, 'the connection is made')
  const call = client.callTool({ name: 'count_down', arguments: { seconds: 0.3 } })
  call.catch(() => {})
  await until(() => activeRequests(app, id) === 1, 'the call has come')
  for (let i = 0; i < 5; i++) mock.timers.tick(TTL)
  t.equal(activeRequests(app, id), 1)
  t.equal(textOf(await call), 'Lift-off')
  await until(() => activeRequests(app, id) === 0, 'the call is over')
  mock.timers.tick(TTL)
  t.equal(textOf(await client.callTool({ name: 'count_down', arguments: { seconds: 0 } })), 'Lift-off', 'and it has its ttl after the end')
})

t.test('a session is lost after the ttl with a 404, and connecting again gives a new one', async (t) => {
  const { app, url } = await serve(t)
  const { client, id } = await connect(t, url, withoutStream)
  await until(() => activeRequests(app, id) === 0, 'the connection is made')
  const closed: Array<[string, CloseReason]> = []
  app.sessionManager.on('closed', (session, reason) => closed.push([session.id, reason]))
  mock.timers.tick(TTL + 1)
  await t.rejects(client.listTools(), { code: 404, message: /Session not found/ })
  t.strictSame(closed, [[id, 'expired']])

  const again = await connect(t, url, withoutStream)
  t.not(again.id, id)
  t.equal((await again.client.listTools()).tools.length, 3)
  t.strictSame(app.sessionManager.list().map((session) => session.id), [again.id])
})

t.test('an open GET stream keeps the session, and its end starts the idle time', async (t) => {
  const { app, url } = await serve(t)
  const { client, id } = await connect(t, url)
  await until(() => activeRequests(app, id) === 1, 'the stream is open')
  for (let i = 0; i < 5; i++) mock.timers.tick(TTL)
  t.equal((await client.listTools()).tools.length, 3)
  await client.close()
  await until(() => activeRequests(app, id) === 0, 'the stream is closed')
  mock.timers.tick(TTL)
  t.equal(app.sessionManager.getActiveSessionCount(), 1)
  mock.timers.tick(TTL)
  t.equal(app.sessionManager.getActiveSessionCount(), 0)
})

t.test('terminateSession() ends the session', async (t) => {
  const { app, url } = await serve(t)
  const { transport, id } = await connect(t, url)
  const closed: Array<[string, CloseReason]> = []
  app.sessionManager.on('closed', (session, reason) => closed.push([session.id, reason]))
  await transport.terminateSession()
  t.strictSame(closed, [[id, 'deleted']])
  t.equal(app.sessionManager.getActiveSessionCount(), 0)
  const response = await app.inject({
    method: 'POST', url: '/mcp', headers: { ...MCP_HEADERS, 'mcp-session-id': id }, payload: { jsonrpc: '2.0', id: 2, method: 'ping' }
  })
  t.equal(response.statusCode, 404)
})

t.test('closing a session from the app ends its streams', async (t) => {
  const { app, url } = await serve(t)
  const { id } = await connect(t, url, withoutStream)
  await until(() => activeRequests(app, id) === 0, 'the connection is made')
  const stream = fetch(url, { headers: { accept: 'text/event-stream', 'mcp-session-id': id } })
  await until(() => activeRequests(app, id) === 1, 'the stream is open')
  app.sessionManager.cleanup(id)
  const response = await stream
  t.equal(response.headers.get('content-type'), 'text/event-stream')
  t.equal(await response.text(), '', 'it has come to its end')
})

t.test('app.close() returns promptly', async (t) => {
  t.test('with an open GET stream', async (t) => {
    const { app, url } = await serve(t)
    const { id } = await connect(t, url)
    await until(() => activeRequests(app, id) === 1, 'the stream is open')
    const start = performance.now()
    await app.close()
    t.ok(performance.now() - start < PROMPT)
  })

  t.test('with a tool call on its way', async (t) => {
    const { app, url } = await serve(t)
    const { client, id } = await connect(t, url, withoutStream)
    await until(() => activeRequests(app, id) === 0, 'the connection is made')
    client.callTool({ name: 'count_down', arguments: { seconds: 60 } }).catch(() => {})
    await until(() => activeRequests(app, id) === 1, 'the call has come')
    const start = performance.now()
    await app.close()
    t.ok(performance.now() - start < PROMPT)
  })
})

t.test('a request that opens no session is answered as the specification says', async (t) => {
  const { app } = await serve(t)
  const elsewhere = app.sessionManager.create()
  const ping = { jsonrpc: '2.0', id: 2, method: 'ping' }

  for (const [name, request, statusCode] of [
    ['a message without a session', { method: 'POST', payload: ping }, 400],
    ['a stream without a session', { method: 'GET' }, 400],
    ['DELETE without a session', { method: 'DELETE' }, 400],
    ['a message for a session without a transport', { method: 'POST', payload: ping, session: elsewhere }, 404],
    ['a stream for a session without a transport', { method: 'GET', session: elsewhere }, 404],
    ['DELETE of an unknown session', { method: 'DELETE', session: 'unknown' }, 404],
    ['an initialize request that accepts nothing', { method: 'POST', payload: INITIALIZE, headers: { accept: 'text/plain' } }, 406]
  ] as const) {
    t.test(name, async (t) => {
      const headers = { ...MCP_HEADERS, ...('headers' in request && request.headers), ...('session' in request && { 'mcp-session-id': request.session }) }
      const { method } = request
      const response = 'payload' in request
        ? await app.inject({ method, url: '/mcp', headers, payload: request.payload })
        : await app.inject({ method, url: '/mcp', headers: { ...headers, 'content-type': undefined } })
      t.equal(response.statusCode, statusCode)
      t.equal(response.json().jsonrpc, '2.0')
      t.strictSame(app.sessionManager.list().map(({ id }) => id), [elsewhere])
    })
  }
})

t.test('a session that ends while the body of a message is still coming answers 404', async (t) => {
  const { app, url } = await serve(t)
  const { id } = await connect(t, url, withoutStream)
  await until(() => activeRequests(app, id) === 0, 'the connection is made')
  const raw = await connectRaw(t, Number(url.port))
  const body = JSON.stringify({ jsonrpc: '2.0', id: 2, method: 'ping' })
  const come = once(app.server, 'request')
  raw.send(
    'POST /mcp HTTP/1.1', 'host: a', `mcp-session-id: ${id}`, 'content-type: application/json',
    'accept: application/json, text/event-stream', `content-length: ${body.length}`
  )
  await come
  app.sessionManager.cleanup(id)
  raw.socket.write(body)
  await raw.see('Session not found')
  t.match(raw.received, /^HTTP\/1.1 404 /)
})

t.test('the REST API is as it was', async (t) => {
  const { app } = await serve(t)
  const { index } = (await app.inject({ method: 'POST', url: '/notes', payload: { text: 'by REST' } })).json()
  t.equal((await app.inject(`/notes/${index}`)).body, 'by REST')
  t.equal((await app.inject(`/notes/${index + 1}`)).statusCode, 404)
  t.equal((await app.inject({ method: 'POST', url: '/notes', payload: {} })).statusCode, 400)
})
