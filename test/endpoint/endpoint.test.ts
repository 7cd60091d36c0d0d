// Where the endpoint is, what is around it, and what strangers throw at it.
import Fastify, { type FastifyInstance } from 'fastify'
import { connect as connectHttp2 } from 'node:http2'
import { randomBytes, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import t, { type Test } from 'tap'
import mcpSessions, { mcpEndpoint } from '../../index.js'
import { listen } from '../helpers/apps/app.js'
import { createDeferred } from '../helpers/waiting/deferred.js'
import {
  ACCEPT_BOTH, callTool, CountedServer, INITIALIZE, open, parseEvents, parseMessage, post, rejection, rpc, stageEndpoint, type Stage
} from '../helpers/apps/endpoint-stage.js'
import { connectRaw, type RawClient } from '../helpers/clients/raw-client.js'
import { until } from '../helpers/waiting/until.js'

const NOT_FOUND = rejection(-32001, 'Session not found (HTTP 404)')

function watchWarnings (t: Test): Error[] {
  const warnings: Error[] = []
  const note = (warning: Error): void => { warnings.push(warning) }
  process.on('warning', note)
  t.teardown(() => process.off('warning', note))
  return warnings
}

t.test('two endpoints over one session manager do not serve each other\'s sessions', async (t) => {
  const stage = await stageEndpoint(t, {
    async mount (app, options) {
      await app.register(mcpEndpoint, { ...options, path: '/a' })
      await app.register(mcpEndpoint, { ...options, path: '/b' })
    }
  })
  const { app } = stage
  const a = await open(app, { url: '/a' })
  const b = await open(app, { url: '/b' })
  t.equal(app.sessionManager.getActiveSessionCount(), 2)
  for (const [id, url] of [[a, '/b'], [b, '/a']] as const) {
    const response = await callTool(app, id, 'echo', { url })
    t.equal(response.statusCode, 404)
    t.strictSame(response.json(), NOT_FOUND)
    t.equal((await app.inject({ url, headers: { 'mcp-session-id': id, accept: 'text/event-stream' } })).statusCode, 404)
    t.equal((await app.inject({ method: 'DELETE', url, headers: { 'mcp-session-id': id } })).statusCode, 404)
  }
  t.strictSame(stage.ends, [])
  t.equal((await callTool(app, a, 'echo', { url: '/a' })).statusCode, 200)
  t.equal((await app.inject({ method: 'DELETE', url: '/b', headers: { 'mcp-session-id': b } })).statusCode, 200)
  t.equal((await callTool(app, a, 'echo', { url: '/a' })).statusCode, 200)
})

t.test('twenty endpoints over one session manager warn of nothing', async (t) => {
  const warnings = watchWarnings(t)
  const { app } = await stageEndpoint(t, {
    async mount (app, options) {
      for (let index = 0; index < 20; index++) await app.register(mcpEndpoint, { ...options, path: `/${index}` })
    }
  })
  t.ok(await open(app, { url: '/19' }))
  await new Promise(setImmediate)
  t.strictSame(warnings, [])
})

t.test('sessions that the app has made are not the endpoint\'s', async (t) => {
  const { app } = await stageEndpoint(t)
  const id = app.sessionManager.create()
  app.sessionManager.register('mine')
  for (const own of [id, 'mine']) {
    const response = await callTool(app, own, 'echo')
    t.equal(response.statusCode, 404)
    t.strictSame(response.json(), NOT_FOUND)
    const stream = await app.inject({ url: '/mcp', headers: { 'mcp-session-id': own, accept: 'text/event-stream' } })
    t.equal(stream.statusCode, 404)
    t.strictSame(stream.json(), NOT_FOUND)
    t.equal((await app.inject({ method: 'DELETE', url: '/mcp', headers: { 'mcp-session-id': own } })).statusCode, 404)
  }
  t.equal(app.sessionManager.getActiveSessionCount(), 2)
})

t.test('the session of the endpoint is there for other routes', async (t) => {
  const { app } = await stageEndpoint(t)
  app.get('/cart', { config: { mcpSession: 'required' } }, async ({ mcpSession }) => mcpSession?.clientInfo)
  const id = await open(app)
  t.strictSame((await app.inject({ url: '/cart', headers: { 'mcp-session-id': id } })).json(), { name: 'test client', version: '1.2.3' })
})

t.test('a prefix, and a path of its own', async (t) => {
  const { app } = await stageEndpoint(t, {
    async mount (app, options) {
      await app.register(mcpEndpoint, { ...options, prefix: '/api' })
      await app.register(mcpEndpoint, { ...options, prefix: '/v2', path: '/' })
      await app.register(mcpEndpoint, { ...options, path: '/tenants/:tenant/mcp' })
    }
  })
  for (const url of ['/api/mcp', '/v2', '/v2/', '/tenants/x/mcp', '/api/mcp?token=1']) {
    t.equal((await callTool(app, await open(app, { url }), 'echo', { url })).statusCode, 200, url)
  }
  t.equal((await post(app, INITIALIZE)).statusCode, 404)
})

t.test('GET and DELETE need a session', async (t) => {
  const { app } = await stageEndpoint(t)
  for (const method of ['GET', 'DELETE'] as const) {
    const response = await app.inject({ method, url: '/mcp', headers: { accept: 'text/event-stream' } })
    t.equal(response.statusCode, 400)
    t.strictSame(response.json(), rejection(-32000, 'Bad Request: Mcp-Session-Id header is required'))
  }
})

t.test('GET needs to accept a stream', async (t) => {
  const { app } = await stageEndpoint(t)
  const id = await open(app)
  for (const headers of [{ accept: '' }, { accept: 'application/json' }, { accept: 'text/event-stream;q=0, */*' }]) {
    const response = await app.inject({ url: '/mcp', headers: { ...headers, 'mcp-session-id': id } })
    t.equal(response.statusCode, 406)
    t.match(response.json(), { error: { code: -32000, message: /text\/event-stream/ }, id: null })
  }
})

t.test('parsers, error handler and schemas of the app are its own', async (t) => {
  const { app } = await stageEndpoint(t, {
    before (app) {
      app.removeAllContentTypeParsers()
      app.addContentTypeParser('application/json', { parseAs: 'string' }, async () => ({ parsed: 'by the app' }))
      app.addContentTypeParser('text/plain', { parseAs: 'string' }, async () => rpc('tools/list'))
      app.setErrorHandler((_error, _request, reply) => reply.code(418).send('by the app'))
    }
  })
  app.post('/echo', async ({ body }) => body)
  t.match(parseMessage(await post(app, INITIALIZE)), { result: { protocolVersion: '2025-11-25' } })
  t.strictSame((await post(app, '{', { url: '/echo' })).json(), { parsed: 'by the app' })
  t.equal((await post(app, '{')).statusCode, 400)
  t.equal((await post(app, '{', { headers: { 'content-type': 'text/plain' } })).statusCode, 415)
  app.sessionManager.on('created', ({ id }) => app.sessionManager.cleanup(id))
  t.equal((await post(app, INITIALIZE)).statusCode, 404)
})

const oddIds = [
  '__proto__', 'constructor', 'toString', 'hasOwnProperty', 'null', 'undefined', 'NaN', '0', '-1', '*', '..', '../../etc/passwd', '%00',
  "';--", '<script>', '{"id":1}', '\\r\\n', 'x'.repeat(256), '!', '~'
]

t.test('ids that are names of something else are ids of nothing', async (t) => {
  const { app, servers } = await stageEndpoint(t)
  await open(app)
  for (const id of oddIds) {
    for (const request of [{ method: 'POST', payload: JSON.stringify(rpc('ping')) }, { method: 'GET' }, { method: 'DELETE' }] as const) {
      const response = await app.inject({ ...request, url: '/mcp', headers: { accept: ACCEPT_BOTH, 'content-type': 'application/json', 'mcp-session-id': id } })
      t.equal(response.statusCode, 404, id)
      t.strictSame(response.json(), NOT_FOUND)
    }
  }
  t.equal(servers.length, 1)
  t.equal(app.sessionManager.getActiveSessionCount(), 1)
  t.equal(Reflect.get(Object.prototype, 'activeRequests'), undefined)
})

t.test('an app may register odd ids, and they are as good as others', async (t) => {
  const { app } = await stageEndpoint(t)
  app.get('/', { config: { mcpSession: 'required' } }, async ({ mcpSession }) => mcpSession?.id)
  for (const id of oddIds) {
    app.sessionManager.register(id)
    t.equal((await app.inject({ url: '/', headers: { 'mcp-session-id': id } })).body, id)
    t.equal((await callTool(app, id, 'echo')).statusCode, 404)
  }
})

t.test('ids that are not well-formed are 400', async (t) => {
  const { app } = await stageEndpoint(t)
  const malformed = rejection(-32000, 'Bad Request: Mcp-Session-Id header must be sent once and be 1 to 256 visible ASCII characters')
  for (const id of ['', ' ', 'a b', 'x'.repeat(257), 'ä', 'a\tb', 'a, b']) {
    const response = await callTool(app, id, 'echo')
    t.equal(response.statusCode, 400, JSON.stringify(id))
    t.strictSame(response.json(), malformed)
  }
})

t.test('10,000 random ids are 404, and leave nothing', async (t) => {
  const stage = await stageEndpoint(t, { server: { logger: false } })
  const id = await open(stage.app)
  let notFound = 0
  for (let round = 0; round < 100; round++) {
    const responses = await Promise.all(Array.from({ length: 100 }, (_, index) =>
      callTool(stage.app, index % 2 === 0 ? randomUUID() : randomBytes(1 + index).toString('base64url'), 'echo')))
    notFound += responses.filter(({ statusCode }) => statusCode === 404).length
  }
  t.equal(notFound, 10_000)
  t.equal(stage.servers.length, 1)
  t.equal(stage.app.sessionManager.getActiveSessionCount(), 1)
  t.strictSame(stage.ends, [])
  t.equal((await callTool(stage.app, id, 'echo')).statusCode, 200)
})

/** Writes a whole request, with headers as often as they are given. */
function writePost (client: RawClient, body: object, ...headers: string[]): void {
  const payload = JSON.stringify(body)
  client.socket.write(['POST /mcp HTTP/1.1', 'host: 127.0.0.1', ...headers, `content-length: ${Buffer.byteLength(payload)}`, '', payload].join('\r\n'))
}

t.test('headers that are repeated', async (t) => {
  const { app } = await stageEndpoint(t)
  const port = await listen(app)
  const id = await open(app)
  const json = 'content-type: application/json'
  for (const [headers, status, text] of [
    [[json, `accept: ${ACCEPT_BOTH}`, `mcp-session-id: ${id}`, `mcp-session-id: ${id}`], 400, 'sent once'],
    [[json, `accept: ${ACCEPT_BOTH}`, `mcp-session-id: ${id}`, 'mcp-session-id: other'], 400, 'sent once'],
    [[json, `accept: ${ACCEPT_BOTH}`, `mcp-session-id: ${id}`, 'mcp-session-id:'], 400, 'sent once'],
    [[json, 'accept: application/json', 'accept: text/event-stream', `mcp-session-id: ${id}`], 200, '"id":3'],
    [[json, json, `accept: ${ACCEPT_BOTH}`, `mcp-session-id: ${id}`], 200, '"id":3'],
    [[json, `accept: ${ACCEPT_BOTH}`, `mcp-session-id: ${id}`, 'mcp-protocol-version: 2025-11-25', 'mcp-protocol-version: 2025-11-25'], 400, 'Unsupported protocol version'],
    [['content-type: text/plain', json, `accept: ${ACCEPT_BOTH}`, `mcp-session-id: ${id}`], 415, 'Unsupported Media Type']
  ] as const) {
    const client = await connectRaw(t, port)
    writePost(client, rpc('tools/list', {}, 3), ...headers)
    await client.see(text)
    t.match(client.received, new RegExp(`^HTTP/1\\.1 ${status} `), headers.join(' | '))
    client.vanish()
  }
  await until(() => app.sessionManager.get(id)?.activeRequests === 0, 'the session is let go')
})

t.test('nothing of a request gets into the head of an answer', async (t) => {
  const { app } = await stageEndpoint(t)
  const id = await open(app)
  const bad = 'x\\r\\nset-cookie: a=b'
  for (const headers of [
    { 'mcp-session-id': bad }, { 'mcp-session-id': id, 'mcp-protocol-version': bad }, { 'mcp-session-id': id, 'last-event-id': bad }, { origin: bad }
  ]) {
    const response = await post(app, rpc('tools/list'), { headers })
    t.notOk(JSON.stringify(response.headers).includes('set-cookie'))
  }
})

t.test('a hundred calls at once on one session warn of nothing', async (t) => {
  const warnings = watchWarnings(t)
  const { app } = await stageEndpoint(t)
  const id = await open(app)
  const responses = await Promise.all(Array.from({ length: 100 }, (_, index) =>
    post(app, rpc('tools/call', { name: 'echo' }, index), { headers: { 'mcp-session-id': id } })))
  for (const [index, response] of responses.entries()) t.match(parseMessage(response), { id: index })
  t.equal(app.sessionManager.get(id)?.activeRequests, 0)
  t.strictSame(warnings, [])
})

t.test('requests that are pipelined are answered in order, on one listener each', async (t) => {
  const warnings = watchWarnings(t)
  const { app } = await stageEndpoint(t)
  const port = await listen(app)
  const id = await open(app)
  const client = await connectRaw(t, port)
  for (let index = 0; index < 30; index++) {
    writePost(client, rpc('ping', {}, index), 'content-type: application/json', `accept: ${ACCEPT_BOTH}`, `mcp-session-id: ${id}`)
  }
  await client.see('"id":29')
  t.strictSame(Array.from(client.received.matchAll(/"id":(\d+)/g), ([, index]) => Number(index)), Array.from({ length: 30 }, (_, index) => index))
  await until(() => app.sessionManager.get(id)?.activeRequests === 0, 'the session is let go')
  t.strictSame(warnings, [])
})

t.test('a client that goes with requests in its pipeline holds no session', async (t) => {
  const called = createDeferred()
  const { app, ends, servers } = await stageEndpoint(t, {
    endpoint: { cancelOnDisconnect: true },
    equip (server) {
      server.registerTool('wait', {}, () => {
        called.resolve()
        return new Promise(() => {})
      })
    }
  })
  const port = await listen(app)
  const id = await open(app)
  const client = await connectRaw(t, port)
  const headers = ['content-type: application/json', `accept: ${ACCEPT_BOTH}`]
  writePost(client, rpc('tools/call', { name: 'wait' }), ...headers, `mcp-session-id: ${id}`)
  writePost(client, rpc('ping', {}, 2), ...headers, `mcp-session-id: ${id}`)
  writePost(client, INITIALIZE, ...headers)
  await called.promise
  await until(() => servers.length === 2, 'the last request of the pipeline has come in')
  client.vanish()
  await until(() => app.sessionManager.get(id)?.activeRequests === 0, 'the session is let go')
  await until(() => app.sessionManager.getActiveSessionCount() === 1, 'the session that nobody knows has gone')
  t.strictSame(ends, ['deleted'])
})

t.test('HTTP/2 works, streams and all', async (t) => {
  const warnings = watchWarnings(t)
  const servers: CountedServer[] = []
  const app = Fastify({ http2: true })
  t.teardown(() => app.close())
  await app.register(mcpSessions, { drainTimeout: 0 })
  await app.register(mcpEndpoint, {
    heartbeatInterval: 20,
    createServer () {
      const server = new CountedServer()
      servers.push(server)
      return server
    }
  })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const session = connectHttp2(url)
  t.teardown(() => session.destroy())

  async function ask (method: string, headers: Record<string, string>, body?: object, wanted = ''): Promise<{ status: number, id: string, text: string }> {
    const stream = session.request({ ':method': method, ':path': '/mcp', accept: ACCEPT_BOTH, ...(body && { 'content-type': 'application/json' }), ...headers })
    stream.end(body && JSON.stringify(body))
    const [head] = await once(stream, 'response')
    let text = ''
    for await (const chunk of stream) {
      text += String(chunk)
      if (wanted !== '' && text.includes(wanted)) break
    }
    return { status: Number(head[':status']), id: String(head['mcp-session-id']), text }
  }

  const { status, id, text } = await ask('POST', {}, INITIALIZE)
  t.equal(status, 200)
  t.match(JSON.parse(text), { id: 1, result: { protocolVersion: '2025-11-25' } })
  const headers = { 'mcp-session-id': id }
  const echo = rpc('tools/call', { name: 'echo' }, 2)
  t.match(JSON.parse((await ask('POST', headers, echo)).text), { id: 2, result: {} })
  t.match(parseEvents((await ask('POST', { ...headers, accept: 'text/event-stream' }, echo)).text), [{ id: 2, result: {} }])
  t.equal((await ask('GET', headers, undefined, ':\n\n')).status, 200)
  await until(() => app.sessionManager.get(id)?.activeRequests === 0, 'the session is let go')
  t.equal((await ask('POST', { ':authority': 'evil.example' }, INITIALIZE)).status, 403)
  t.equal((await ask('DELETE', headers)).status, 200)
  t.equal((await ask('POST', headers, rpc('ping'))).status, 404)
  t.equal(servers[0]?.closed, 1)
  t.strictSame(warnings, [])
})

t.test('an app that fails to boot leaves no timer and no session', async (t) => {
  const app: FastifyInstance = Fastify()
  await app.register(mcpSessions)
  await app.register(mcpEndpoint, { createServer: () => new CountedServer() })
  app.register(async () => { throw new Error('no boot today') })
  await t.rejects(async () => { await app.ready() }, { message: 'no boot today' })
  t.equal(app.sessionManager.getActiveSessionCount(), 0)
  await app.close()
})

async function unhandled (t: Test, run: (stage: Stage) => Promise<void>): Promise<void> {
  const reasons: unknown[] = []
  const note = (reason: unknown): void => { reasons.push(reason) }
  process.on('unhandledRejection', note)
  t.teardown(() => process.off('unhandledRejection', note))
  await run(await stageEndpoint(t))
  for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate)
  t.strictSame(reasons, [])
}

t.test('clients that come and go at every point leave nothing', async (t) => {
  await unhandled(t, async (stage) => {
    const { app } = stage
    const port = await listen(app)
    const headers = ['content-type: application/json', `accept: ${ACCEPT_BOTH}`]
    const payload = JSON.stringify(INITIALIZE)
    const whole = ['POST /mcp HTTP/1.1', 'host: 127.0.0.1', ...headers, `content-length: ${payload.length}`, '', payload].join('\r\n')
    for (let end = 1; end <= whole.length; end += 7) {
      const client = await connectRaw(t, port)
      client.socket.write(whole.slice(0, end))
      client.vanish()
    }
    app.sessionManager.clearAll()
    await until(() => stage.servers.every(({ closed }) => closed === 1), 'all servers are closed')
  })
})
