// What Fastify's routes can be told, the routes of an endpoint can be told, too.
import Fastify, { type FastifyInstance, type RouteOptions } from 'fastify'
import t, { type Test } from 'tap'
import mcpSessions, { mcpEndpoint, type SessionEndpointOptions } from '../../index.js'
import { buildEndpoint, recordServers, type EndpointApp } from '../helpers/apps/endpoint-app.js'
import { CountedServer, INITIALIZE, INITIALIZE_PARAMS, post, rpc } from '../helpers/apps/endpoint-stage.js'
import { call, HttpClient, openSession } from '../helpers/clients/http-client.js'
import { captureLog } from '../helpers/observe/log-lines.js'
import { until } from '../helpers/waiting/until.js'
import { toHandler } from '../helpers/mcp-servers/modern-handler.js'

const createServer = (): CountedServer => new CountedServer()
// Milliseconds: less than what waits in these tests, and enough for what does not.
const SHORT = 60
const LONG = 500

async function routesOf (t: Test, endpoint: Partial<SessionEndpointOptions>): Promise<{ app: FastifyInstance, routes: RouteOptions[] }> {
  const routes: RouteOptions[] = []
  const { app } = await buildEndpoint(t, {
    endpoint,
    before (app) { app.addHook('onRoute', (route) => { routes.push({ ...route }) }) }
  })
  return { app, routes }
}

function routeOf (routes: RouteOptions[], method: string): RouteOptions | undefined {
  return routes.find((route) => route.method === method)
}

function padded (length: number): object {
  return rpc('initialize', { ...INITIALIZE_PARAMS, padding: 'x'.repeat(length) })
}

for (const [option, json] of [
  ['bodyLimit', '0'], ['bodyLimit', '1.5'], ['bodyLimit', '"1mb"'], ['bodyLimit', 'null'],
  ['handlerTimeout', '0'], ['handlerTimeout', '-1'], ['handlerTimeout', '1.5'], ['handlerTimeout', '2147483648'], ['handlerTimeout', '"1s"'],
  ['schema', 'null'], ['schema', 'true'], ['schema', '[]'],
  ['config', 'null'], ['config', '"ignore"'], ['config', '[]'],
  ['constraints', 'null'], ['constraints', '"host"'], ['constraints', '[]']
] as const) {
  t.test(`${option}: ${json} fails at register, with a TypeError that names it`, async (t) => {
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(mcpSessions)
    await t.rejects(
      async () => { await app.register(mcpEndpoint, { createServer, [option]: JSON.parse(json) }) },
      { name: 'TypeError', message: `Option "${option}" must be ` }
    )
  })
}

t.test('config.mcpSession is the endpoint\'s own', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(mcpSessions)
  await t.rejects(
    async () => { await app.register(mcpEndpoint, { createServer, config: JSON.parse('{"mcpSession":"required"}') }) },
    new TypeError('Option "config.mcpSession" must be left to the endpoint, got "required" (string)')
  )
})

t.test('a constraint that the app does not know, and a log level that there is not, fail at register', async (t) => {
  for (const [option, value, message] of [
    ['constraints', { weather: 'fine' }, /weather/],
    ['logLevel', 'loud', /log level.+loud/i]
  ] as const) {
    const app = Fastify({ logger: { level: 'silent' } })
    t.teardown(() => app.close())
    await app.register(mcpSessions)
    await t.rejects(async () => { await app.register(mcpEndpoint, { createServer, [option]: value }) }, { message })
  }
})

t.test('bodyLimit is the endpoint\'s, and no other route\'s', async (t) => {
  const { app } = await buildEndpoint(t, { endpoint: { bodyLimit: 200 } })
  app.post('/echo', async ({ body }) => body)
  const response = await post(app, padded(200))
  t.equal(response.statusCode, 413)
  t.match(response.json(), { jsonrpc: '2.0', error: { message: /too large/ }, id: null })
  t.equal((await post(app, padded(200), { url: '/echo' })).statusCode, 200)
  t.equal((await post(app, INITIALIZE)).statusCode, 200)
})

t.test('bodyLimit may be more than that of the app', async (t) => {
  const { app } = await buildEndpoint(t, { server: { bodyLimit: 200 }, endpoint: { bodyLimit: 2000 } })
  t.equal((await post(app, padded(500))).statusCode, 200)
  t.equal((await post(app, padded(2000))).statusCode, 413)
})

t.test('schema describes the routes, and its body is that of POST', async (t) => {
  const body = { type: 'object', required: ['jsonrpc'] }
  const schema = { body, headers: { type: 'object', required: ['x-key'] }, hide: true }
  const { app, routes } = await routesOf(t, { schema })
  t.match(routeOf(routes, 'POST')?.schema, { body, hide: true })
  for (const method of ['GET', 'DELETE'] as const) {
    const { schema: given } = routeOf(routes, method) ?? {}
    t.match(given, { headers: schema.headers, hide: true })
    t.notOk('body' in (given ?? {}))
    t.equal((await app.inject({ method, url: '/mcp' })).json().code, 'FST_ERR_VALIDATION')
  }
  t.equal((await post(app, INITIALIZE)).statusCode, 400)
  t.equal((await post(app, {}, { headers: { 'x-key': '1' } })).json().code, 'FST_ERR_VALIDATION')
  t.equal((await post(app, INITIALIZE, { headers: { 'x-key': '1' } })).statusCode, 200)
  t.strictSame(Object.keys(schema), ['body', 'headers', 'hide'], 'and is not written to')
})

t.test('config is on the routes, beside the endpoint\'s own', async (t) => {
  const { routes } = await routesOf(t, { config: { rateLimit: { max: 5 }, mine: true } })
  for (const method of ['POST', 'GET', 'DELETE']) {
    t.match(routeOf(routes, method)?.config, { rateLimit: { max: 5 }, mine: true, mcpSession: 'ignore' }, method)
  }
})

t.test('two endpoints may be at one path, for requests of different constraints', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  const [one, two] = [recordServers(), recordServers()]
  await app.register(mcpSessions)
  await app.register(mcpEndpoint, { createServer: one.createServer, constraints: { host: 'one.example' } })
  await app.register(mcpEndpoint, { createServer: two.createServer, constraints: { host: 'two.example' }, allowedHosts: ['two.example'] })
  t.equal((await post(app, INITIALIZE, { headers: { host: 'two.example' } })).statusCode, 200)
  t.strictSame([one.servers.length, two.servers.length], [0, 1])
  t.equal((await post(app, INITIALIZE, { headers: { host: 'three.example' } })).statusCode, 404)
})

t.test('logLevel and logSerializers, which every plugin can be given, are of the endpoint alone', async (t) => {
  const lines: string[] = []
  const app = Fastify({ logger: { level: 'info', stream: { write (line: string) { lines.push(line) } } } })
  t.teardown(() => app.close())
  app.get('/other', async () => 'other')
  await app.register(mcpSessions)
  await app.register(mcpEndpoint, { createServer, logLevel: 'error', logSerializers: { req: () => 'serialized' } })
  await app.inject({ url: '/mcp' })
  t.notOk(lines.some((line) => line.includes('incoming request')))
  await app.inject({ url: '/other' })
  t.ok(lines.some((line) => line.includes('incoming request')))
})

function timed (handlerTimeout: number): { server: { handlerTimeout: number } } {
  return { server: { handlerTimeout } }
}

async function callWait ({ server }: EndpointApp, client: HttpClient): Promise<void> {
  const pending = client.post(call(2, 'wait'))
  await until(() => server().waiting.length === 1, 'the call is there')
  await new Promise((resolve) => setTimeout(resolve, 3 * SHORT))
  server().answer('late')
  await (await pending).see('late')
}

t.test('a timeout of the app is not for streams, nor for calls', async (t) => {
  const endpoint = await buildEndpoint(t, timed(SHORT))
  endpoint.app.get('/slow', () => new Promise(() => {}))
  const url = await endpoint.listen()
  t.equal((await new HttpClient(t, new URL('/slow', url)).get()).status, 503, 'it is for the other routes')
  const client = await openSession(t, url)
  const stream = await client.get()
  await callWait(endpoint, client)
  t.notOk(stream.ended || stream.broken)
  t.equal((await client.delete()).status, 200)
})

t.test('a call that takes longer than the timeout of the endpoint is 503, with sessions and without', async (t) => {
  for (const enabled of [true, false]) {
    const endpoint = await buildEndpoint(t, { sessions: { enabled }, endpoint: { handlerTimeout: LONG, responseMode: 'json' } })
    const client = new HttpClient(t, await endpoint.listen())
    if (enabled) await client.open()
    const answer = await (await client.post(call(2, 'wait'))).end()
    t.equal(answer.status, 503)
    t.match(JSON.parse(answer.text), { code: 'FST_ERR_HANDLER_TIMEOUT', message: `Request timed out after ${LONG} ms on route '/mcp'` })
    t.equal((await client.post(call(3, 'echo', { text: 'x' }))).status, 200, 'and others are answered')
  }
})

t.test('the stream of a call that takes longer is cut, a GET stream is not', async (t) => {
  const { lines, stream: log } = captureLog()
  const endpoint = await buildEndpoint(t, { endpoint: { handlerTimeout: LONG, responseMode: 'sse' }, server: { logger: { level: 'warn', stream: log } } })
  const client = await openSession(t, await endpoint.listen())
  const stream = await client.get()
  const answer = await client.post(call(2, 'wait'))
  t.equal(answer.status, 200)
  await until(() => answer.broken, 'the stream is cut')
  t.match(lines.map((line) => JSON.parse(line)), [{ timeout: LONG, msg: 'The stream of a call was cut off: it took longer than the option handlerTimeout' }])
  t.notOk(stream.ended || stream.broken)
})

t.test('subscriptions/listen is no call either', async (t) => {
  const { listen } = await buildEndpoint(t, {
    endpoint: {
      handlerTimeout: SHORT,
      modern: toHandler(async () => new Response(new ReadableStream({ start () {} }), { headers: { 'content-type': 'text/event-stream' } }))
    }
  })
  const client = new HttpClient(t, await listen())
  const stream = await client.post({ jsonrpc: '2.0', id: 1, method: 'subscriptions/listen' }, { 'mcp-protocol-version': '2026-07-28' })
  await new Promise((resolve) => setTimeout(resolve, 3 * SHORT))
  t.notOk(stream.ended || stream.broken)
})

t.test('without any, no request has a timer', async (t) => {
  const { routes } = await routesOf(t, {})
  for (const method of ['POST', 'GET', 'DELETE']) t.notOk('handlerTimeout' in (routeOf(routes, method) ?? {}), method)
})
