// What is not GET, POST or DELETE is 405, and the answer says what is allowed.
import cors from '@fastify/cors'
import Fastify, { type RouteOptions } from 'fastify'
import t from 'tap'
import mcpSessions, { mcpEndpoint } from '../../index.js'
import { listen } from '../helpers/apps/app.js'
import { buildEndpoint } from '../helpers/apps/endpoint-app.js'
import { ACCEPT_BOTH, CountedServer, open, rejection, stageEndpoint } from '../helpers/apps/endpoint-stage.js'
import { openSession } from '../helpers/clients/http-client.js'
import { connectRaw } from '../helpers/clients/raw-client.js'

const createServer = (): CountedServer => new CountedServer()

for (const [enabled, allow] of [[true, 'GET, POST, DELETE'], [false, 'POST']] as const) {
  t.test(`with enabled ${enabled}, ${allow} are allowed`, async (t) => {
    const { app, servers } = await stageEndpoint(t, { sessions: { enabled } })
    for (const method of ['PUT', 'PATCH', 'TRACE', 'QUERY'] as const) {
      for (const headers of [{}, { 'content-type': 'application/json' }, { 'content-type': 'text/plain' }, { 'mcp-session-id': 'unknown' }]) {
        const response = await app.inject({ method, url: '/mcp', headers, payload: '{' })
        t.equal(response.statusCode, 405, method)
        t.equal(response.headers.allow, allow)
        t.match(response.headers['content-type'], /^application\/json/)
        t.strictSame(response.json(), rejection(-32000, 'Method not allowed'))
      }
    }
    t.equal(servers.length, 0)
  })
}

t.test('HEAD has no body, opens no stream, and leaves the connection as it is', async (t) => {
  const { app } = await stageEndpoint(t)
  const id = await open(app)
  const client = await connectRaw(t, await listen(app))
  const headers = [`accept: ${ACCEPT_BOTH}`, `mcp-session-id: ${id}`, 'host: 127.0.0.1']
  client.send('HEAD /mcp HTTP/1.1', ...headers)
  await client.see('\r\n\r\n')
  t.match(client.received, /^HTTP\/1\.1 405 /)
  t.match(client.received, /\r\nallow: GET, POST, DELETE\r\n/)
  t.ok(client.received.endsWith('\r\n\r\n'))
  t.equal(app.sessionManager.get(id)?.activeRequests, 0)
  client.received = ''
  client.send('DELETE /mcp HTTP/1.1', ...headers)
  await client.see('HTTP/1.1 200')
  t.match(client.received, /^HTTP\/1\.1 200 /)
})

t.test('with an app that makes HEAD routes of its GET routes, and with one that does not', async (t) => {
  for (const exposeHeadRoutes of [true, false]) {
    const { app } = await stageEndpoint(t, { server: { exposeHeadRoutes } })
    t.equal((await app.inject({ method: 'HEAD', url: '/mcp' })).statusCode, 405)
  }
})

t.test('below a prefix, and at the root of one', async (t) => {
  const { app } = await stageEndpoint(t, {
    async mount (app, options) {
      await app.register(mcpEndpoint, { ...options, prefix: '/api' })
      await app.register(mcpEndpoint, { ...options, prefix: '/v2', path: '/' })
      await app.register(mcpEndpoint, { ...options, path: '/' })
    }
  })
  for (const url of ['/api/mcp', '/v2', '/v2/', '/']) t.equal((await app.inject({ method: 'PUT', url })).statusCode, 405, url)
  t.equal((await app.inject({ method: 'PUT', url: '/mcp' })).statusCode, 404)
})

t.test('a route that the app has there already stays, and is allowed', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(mcpSessions)
  app.put('/a/mcp', async () => 'mine')
  app.patch('/b', async () => 'mine')
  app.put('/c/', async () => 'mine')
  await app.register(mcpEndpoint, { createServer, prefix: '/a/' })
  await app.register(mcpEndpoint, { createServer, prefix: '/b', path: '/' })
  await app.register(mcpEndpoint, { createServer, prefix: '/c', path: '/' })
  for (const [method, url, other] of [['PUT', '/a/mcp', 'PATCH'], ['PATCH', '/b', 'PUT'], ['PUT', '/c/', 'PATCH']] as const) {
    t.equal((await app.inject({ method, url })).body, 'mine')
    const refused = await app.inject({ method: other, url })
    t.equal(refused.statusCode, 405)
    t.equal(refused.headers.allow, `GET, POST, DELETE, ${method}`)
  }
})

t.test('a route of the app for other constraints is not one for these', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(mcpSessions)
  app.put('/mcp', { constraints: { host: 'files.example' } }, async () => 'mine')
  await app.register(mcpEndpoint, { createServer, constraints: { host: 'mcp.example' }, allowedHosts: ['mcp.example'] })
  t.equal((await app.inject({ method: 'PUT', url: '/mcp', headers: { host: 'files.example' } })).body, 'mine')
  t.equal((await app.inject({ method: 'PUT', url: '/mcp', headers: { host: 'mcp.example' } })).headers.allow, 'GET, POST, DELETE')
})

t.test('these routes have the config of the others, and are in no description', async (t) => {
  const routes: RouteOptions[] = []
  await buildEndpoint(t, {
    endpoint: { config: { mine: true }, schema: { summary: 'MCP', headers: { type: 'object', required: ['x-key'] } }, handlerTimeout: 100 },
    before (app) { app.addHook('onRoute', (route) => { routes.push({ ...route }) }) }
  })
  for (const method of ['HEAD', 'PUT', 'PATCH', 'TRACE', 'QUERY']) {
    const { config, schema, handlerTimeout } = routes.find((route) => route.method === method) ?? {}
    t.match(config, { mine: true, mcpSession: 'ignore' }, method)
    t.strictSame(schema, { hide: true })
    t.equal(handlerTimeout, undefined)
  }
})

t.test('methods that the app has added are refused, too', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  app.addHttpMethod('PROPFIND', { hasBody: true })
  await app.register(mcpSessions)
  await app.register(mcpEndpoint, { createServer })
  const client = await connectRaw(t, await listen(app))
  client.send('PROPFIND /mcp HTTP/1.1', 'host: 127.0.0.1')
  await client.see('HTTP/1.1 405')
  t.match(client.received, /\r\nallow: GET, POST, DELETE\r\n/)
})

t.test('the guard and the hooks of the scope come first', async (t) => {
  const { app } = await stageEndpoint(t, {
    endpoint: { allowedHosts: ['mcp.example'] },
    before (app) {
      app.addHook('onRequest', async ({ headers }, reply) => {
        if (headers.authorization === undefined) return reply.code(401).send()
      })
    }
  })
  t.equal((await app.inject({ method: 'PUT', url: '/mcp' })).statusCode, 401)
  t.equal((await app.inject({ method: 'PUT', url: '/mcp', headers: { authorization: 'x' } })).statusCode, 403)
  t.equal((await app.inject({ method: 'PUT', url: '/mcp', headers: { authorization: 'x', host: 'mcp.example' } })).statusCode, 405)
})

const origin = 'http://localhost:9999'
const preflight = { origin, 'access-control-request-method': 'DELETE', 'access-control-request-headers': 'mcp-session-id' }

t.test('OPTIONS is left to @fastify/cors, be it registered before the endpoint or after it', async (t) => {
  for (const order of ['before', 'after'] as const) {
    const { app, listen } = await buildEndpoint(t, {
      async before (app) { if (order === 'before') await app.register(cors, { origin, methods: ['GET', 'POST', 'DELETE'] }) }
    })
    if (order === 'after') await app.register(cors, { origin, methods: ['GET', 'POST', 'DELETE'] })
    const client = await openSession(t, await listen())
    client.headers = { origin }
    const allowed = await client.send('OPTIONS', preflight)
    t.equal(allowed.status, 204, order)
    t.equal(allowed.headers['access-control-allow-origin'], origin)
    t.equal(allowed.headers['access-control-allow-methods'], 'GET, POST, DELETE')
    t.equal(allowed.headers['access-control-allow-headers'], 'mcp-session-id')
    t.equal((await client.send('OPTIONS', {})).status, 400, 'what is no preflight is for it to refuse')
    const refused = await client.send('PUT', {}, '{}')
    t.equal(refused.status, 405)
    if (order === 'before') t.equal(refused.headers['access-control-allow-origin'], origin, 'a browser may read the refusal')
  }
})

t.test('OPTIONS with a route of the app, and without any', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(mcpSessions)
  await app.register(mcpEndpoint, { createServer })
  await app.register(mcpEndpoint, { createServer, path: '/second' })
  app.options('/mcp', async () => 'mine')
  t.equal((await app.inject({ method: 'OPTIONS', url: '/mcp' })).body, 'mine')
  t.equal((await app.inject({ method: 'OPTIONS', url: '/second' })).statusCode, 404)
})
