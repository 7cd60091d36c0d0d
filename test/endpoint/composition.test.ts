import cors from '@fastify/cors'
import helmet from '@fastify/helmet'
import jwt from '@fastify/jwt'
import rateLimit from '@fastify/rate-limit'
import { isInitializeRequest } from '@modelcontextprotocol/sdk/types.js'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import mcpSessions, { mcpEndpoint } from '../../index.js'
import { listen } from '../helpers/apps/app.js'
import { buildEndpoint, recordServers } from '../helpers/apps/endpoint-app.js'
import { call, HttpClient, initialize, openSession, type Answer } from '../helpers/clients/http-client.js'
import { until } from '../helpers/waiting/until.js'

interface Labelled {
  readonly label: string
  readonly answer: Answer
}

/** One answer of every kind that the endpoint has: streams, JSON, no body, rejections. */
async function answersOfEveryKind (client: HttpClient): Promise<Labelled[]> {
  const answers: Labelled[] = []
  const note = (label: string, answer: Answer): void => { answers.push({ label, answer }) }
  note('initialize', await client.open())
  note('GET stream', await client.get())
  note('quick call', await client.post(call(2, 'echo', { text: 'x' })))
  note('slow call', await client.post(call(3, 'tell')))
  note('notification', await client.post({ jsonrpc: '2.0', method: 'notifications/initialized' }))
  note('not acceptable', await client.get({ accept: 'text/html' }))
  note('no JSON', await client.send('POST', { 'content-type': 'application/json' }, '{'))
  note('wrong type', await client.send('POST', { 'content-type': 'text/plain' }, 'x'))
  note('no such session', await client.get({ 'mcp-session-id': 'unknown' }))
  note('malformed id', await client.get({ 'mcp-session-id': 'two words' }))
  note('wrong origin', await client.get({ origin: 'http://evil.example' }))
  note('modern', await client.post(call(4, 'echo'), { 'mcp-protocol-version': '2026-07-28' }))
  note('DELETE', await client.delete())
  return answers
}

async function listenAt (app: FastifyInstance, path = '/mcp'): Promise<URL> {
  return new URL(path, `http://127.0.0.1:${await listen(app)}`)
}

async function plainApp (t: Test): Promise<FastifyInstance> {
  const app = Fastify()
  t.teardown(() => app.close())
  return app
}

t.test('headers of @fastify/cors, @fastify/helmet and @fastify/rate-limit are on every answer', async (t) => {
  const { listen } = await buildEndpoint(t, {
    async before (app) {
      await app.register(cors, { origin: 'http://localhost:9999', exposedHeaders: ['mcp-session-id'] })
      await app.register(helmet)
      await app.register(rateLimit, { max: 1000 })
    }
  })
  const client = new HttpClient(t, await listen())
  client.headers = { origin: 'http://localhost:9999' }
  for (const { label, answer: { headers } } of await answersOfEveryKind(client)) {
    t.equal(headers['access-control-allow-origin'], 'http://localhost:9999', label)
    t.equal(headers['access-control-expose-headers'], 'mcp-session-id', label)
    t.equal(headers['x-content-type-options'], 'nosniff', label)
    // The hooks of the endpoint's own routes come first, as it is for any route.
    if (!['wrong origin', 'no such session', 'malformed id'].includes(label)) t.equal(headers['x-ratelimit-limit'], '1000', label)
  }
})

t.test('a browser may ask before it sends', async (t) => {
  const { listen } = await buildEndpoint(t, {
    async before (app) { await app.register(cors, { origin: 'http://localhost:9999', methods: ['GET', 'POST', 'DELETE'] }) }
  })
  const client = new HttpClient(t, await listen())
  const answer = await client.send('OPTIONS', {
    origin: 'http://localhost:9999', 'access-control-request-method': 'DELETE', 'access-control-request-headers': 'mcp-session-id'
  })
  t.equal(answer.status, 204)
  t.match(answer.headers['access-control-allow-methods'], 'DELETE')
  t.equal(answer.headers['access-control-allow-headers'], 'mcp-session-id')
})

t.test('hooks run and reply headers are kept on every answer, streams included', async (t) => {
  const responded: string[] = []
  const payloads: string[] = []
  const { listen, server } = await buildEndpoint(t, {
    before (app) {
      app.addHook('onRequest', async (_request, reply) => { reply.header('x-request', 'yes') })
      app.addHook('onSend', async (request, reply, payload) => {
        payloads.push(request.method)
        reply.header('x-send', 'yes')
        return payload
      })
      app.addHook('onResponse', async ({ method }, { statusCode }) => { responded.push(`${method} ${statusCode}`) })
    }
  })
  const client = new HttpClient(t, await listen())
  const answers = await answersOfEveryKind(client)
  for (const { label, answer: { headers } } of answers) {
    t.equal(headers['x-request'], 'yes', label)
    t.equal(headers['x-send'], 'yes', label)
  }
  t.equal(payloads.length, answers.length)
  t.equal(server().closed, 1)
  await until(() => responded.length === answers.length, 'every answer has ended, the streams with their session')
  t.equal(responded.filter((line) => line === 'GET 200').length, 1)
})

t.test('an onSend hook may change what is sent', async (t) => {
  const { listen } = await buildEndpoint(t, {
    before (app) {
      app.addHook('onSend', async (_request, _reply, payload) => typeof payload === 'string' ? payload.replace('hello', 'goodbye') : payload)
    }
  })
  const client = await openSession(t, await listen())
  const answer = await (await client.post(call(2, 'echo', { text: 'hello' }))).end()
  t.match(answer.messages, [{ result: { content: [{ text: 'goodbye' }] } }])
})

t.test('the connection is left to Node.js', async (t) => {
  const { listen } = await buildEndpoint(t)
  const client = await openSession(t, await listen())
  t.equal((await client.post(call(2, 'echo'), { connection: 'close' })).headers.connection, 'close')
  t.equal((await client.get({ connection: 'close' })).headers.connection, 'close')
  t.equal((await client.post(call(2, 'echo'))).headers.connection, 'keep-alive')
})

t.test('the README: @fastify/rate-limit in front of initialize alone', async (t) => {
  const app = await plainApp(t)
  const { createServer } = recordServers()
  await app.register(mcpSessions)
  await app.register(async function mcp (scope) {
    await scope.register(rateLimit, {
      max: 10,
      timeWindow: '1 minute',
      hook: 'preHandler',
      allowList: (request) => !isInitializeRequest(request.body)
    })
    await scope.register(mcpEndpoint, { createServer })
  })
  const url = await listenAt(app)
  const clients: HttpClient[] = []
  for (let index = 0; index < 10; index++) clients.push(await openSession(t, url))
  t.equal(app.sessionManager.getActiveSessionCount(), 10)

  const refused = await (await new HttpClient(t, url).post(initialize())).end()
  t.equal(refused.status, 429)
  t.ok(Number(refused.headers['retry-after']) > 0)
  t.equal(app.sessionManager.getActiveSessionCount(), 10, 'and nothing is left of it')
  for (const evasion of [{ 'mcp-session-id': 'made-up' }, { 'mcp-protocol-version': '2026-07-28' }, { 'mcp-session-id': 'made-up', 'mcp-protocol-version': '2026-07-28' }]) {
    const evading = await (await new HttpClient(t, url).post(initialize(), evasion)).end()
    t.ok([400, 404, 429].includes(evading.status), String(evading.status))
  }
  t.equal(app.sessionManager.getActiveSessionCount(), 10)

  for (const client of clients) {
    for (let id = 2; id < 5; id++) {
      t.equal((await (await client.post(call(id, 'echo', { text: 'x' }))).end()).status, 200, 'sessions that are open go on')
    }
    t.equal((await client.get()).status, 200)
  }
})

t.test('a plugin that adds hooks to routes adds each to its own', async (t) => {
  const ran: string[] = []
  const { listen } = await buildEndpoint(t, {
    before (app) {
      app.addHook('onRoute', (route) => {
        const hooks = route.onRequest
        if (Array.isArray(hooks)) hooks.push(async () => { ran.push(String(route.method)) })
      })
    }
  })
  const client = await openSession(t, await listen())
  await client.get()
  await client.delete()
  t.strictSame(ran, ['POST', 'GET', 'DELETE'])
})

t.test('a scope with its own authentication keeps strangers out and owners in', async (t) => {
  const app = await plainApp(t)
  const { servers, createServer } = recordServers()
  await app.register(jwt, { secret: 'not a secret' })
  await app.register(mcpSessions, { identify: ({ user }) => subjectOf(user) })
  await app.register(async function mcp (scope) {
    scope.addHook('onRequest', async (request) => { await request.jwtVerify() })
    await scope.register(mcpEndpoint, { createServer })
  }, { prefix: '/private' })
  app.get('/open', async () => 'open')
  const url = await listenAt(app, '/private/mcp')
  const authorize = (sub: string, nonce: number): Record<string, string> => ({ authorization: `Bearer ${app.jwt.sign({ sub, nonce })}` })

  const stranger = await new HttpClient(t, url).post(initialize())
  t.equal(stranger.status, 401)
  t.equal(servers.length, 0)

  const ada = new HttpClient(t, url)
  ada.headers = authorize('ada', 1)
  await ada.open()
  t.equal(app.sessionManager.get(ada.sessionId)?.principal, 'ada')
  ada.headers = authorize('ada', 2)
  t.match((await (await ada.post(call(2, 'echo', { text: 'refreshed' }))).end()).text, 'refreshed', 'a new token of the same owner')
  ada.headers = authorize('eve', 1)
  const stolen = await (await ada.post(call(3, 'echo', { text: 'x' }))).end()
  t.equal(stolen.status, 404)
  ada.headers = {}
  t.equal((await ada.post(call(4, 'echo', { text: 'x' }))).status, 401)
  t.equal((await new HttpClient(t, new URL('/open', url)).get()).status, 200)
})

t.test('two endpoints over one session manager keep their sessions apart', async (t) => {
  const app = await plainApp(t)
  const one = recordServers()
  const two = recordServers()
  await app.register(mcpSessions)
  await app.register(mcpEndpoint, { createServer: one.createServer })
  await app.register(mcpEndpoint, { createServer: two.createServer, path: '/second', prefix: '/api' })
  const url = await listenAt(app)
  const first = await openSession(t, url)
  const second = await openSession(t, new URL('/api/second', url))
  t.equal(app.sessionManager.getActiveSessionCount(), 2)
  t.strictSame([one.servers.length, two.servers.length], [1, 1])

  const astray = new HttpClient(t, url)
  astray.sessionId = second.sessionId
  for (const answer of [await astray.post(call(2, 'echo')), await astray.get(), await astray.delete()]) {
    t.equal(answer.status, 404)
  }
  t.equal((await second.post(call(2, 'echo', { text: 'x' }))).status, 200, 'and it lives on')
  await first.delete()
  t.strictSame([one.servers[0]?.closed, two.servers[0]?.closed], [1, 0])
})

t.test('a prefix, and a path below it', async (t) => {
  const app = await plainApp(t)
  await app.register(mcpSessions)
  await app.register(mcpEndpoint, { createServer: recordServers().createServer, prefix: '/v1', path: '/tools/mcp' })
  const client = await openSession(t, await listenAt(app, '/v1/tools/mcp'))
  t.ok(app.sessionManager.get(client.sessionId))
  t.equal((await new HttpClient(t, new URL('/mcp', client.url)).post(initialize())).status, 404)
})

t.test("errors of the app's own go to its own error handler", async (t) => {
  const { listen } = await buildEndpoint(t, {
    before (app) {
      app.setErrorHandler((error, _request, reply) => reply.code(418).send({ teapot: error instanceof Error ? error.message : 'no' }))
    },
    endpoint: { createServer () { throw new Error('no server today') } }
  })
  const client = new HttpClient(t, await listen())
  const answer = await (await client.post(initialize())).end()
  t.equal(answer.status, 418)
  t.strictSame(JSON.parse(answer.text), { teapot: 'no server today' })
})

t.test("the app's own parsers and routes are left alone", async (t) => {
  const { app, listen } = await buildEndpoint(t, {
    before (app) {
      app.addContentTypeParser('text/plain', { parseAs: 'string' }, async (_request: unknown, body: string) => body)
      app.post('/text', async ({ body }) => ({ body }))
    }
  })
  await listen()
  const response = await app.inject({ method: 'POST', url: '/text', headers: { 'content-type': 'text/plain' }, payload: 'hello' })
  t.strictSame(response.json(), { body: 'hello' })
})

function subjectOf (user: unknown): string | undefined {
  return typeof user === 'object' && user !== null && 'sub' in user && typeof user.sub === 'string' ? user.sub : undefined
}
