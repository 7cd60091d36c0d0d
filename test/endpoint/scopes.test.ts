// Scopes that tools of SDK 2 demand are asked for before a message reaches the server, as its own handler does it.
import { createMcpHandler, McpServer, requireScopes } from '@modelcontextprotocol/server'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import { buildEndpoint, type EndpointSetup } from '../helpers/apps/endpoint-app.js'
import { createDeferred } from '../helpers/waiting/deferred.js'
import { type Answer, call, HttpClient, openSession } from '../helpers/clients/http-client.js'

const MODES = ['auto', 'sse', 'json'] as const

/** The calls that have reached their tool. */
type Calls = string[]

function createServer (calls: Calls): McpServer {
  const server = new McpServer({ name: 'scoped', version: '1' })
  const add = (name: string, scopes: [string, ...string[]] | undefined): void => {
    server.registerTool(name, scopes === undefined ? {} : { scopeChallenge: requireScopes(...scopes) }, async () => {
      calls.push(name)
      return { content: [{ type: 'text', text: name }] }
    })
  }
  add('open', undefined)
  add('admin', ['admin'])
  add('both', ['admin', 'audit'])
  return server
}

/** Whoever sends `x-scopes` has these. */
function authenticate (app: FastifyInstance): void {
  app.decorateRequest('auth', null)
  app.addHook('onRequest', async (request: FastifyRequest) => {
    const scopes = request.headers['x-scopes']
    if (typeof scopes === 'string') Reflect.set(request, 'auth', { token: 't', clientId: 'ada', scopes: scopes.split(' '), resource: new URL('https://api.example/mcp') })
  })
}

async function build (t: Test, setup: EndpointSetup = {}): Promise<{ app: FastifyInstance, url: URL, calls: Calls }> {
  const calls: Calls = []
  const { app, listen } = await buildEndpoint(t, {
    before: authenticate, ...setup, endpoint: { createServer: () => createServer(calls), ...setup.endpoint }
  })
  return { app, url: await listen(), calls }
}

function modernCall (name: string): object {
  const _meta = {
    'io.modelcontextprotocol/protocolVersion': '2026-07-28',
    'io.modelcontextprotocol/clientInfo': { name: 'test', version: '1' },
    'io.modelcontextprotocol/clientCapabilities': {}
  }
  return { ...call(7, name), params: { name, arguments: {}, _meta } }
}

async function send (client: HttpClient, body: object, scopes?: string): Promise<Answer> {
  return (await client.post(body, scopes === undefined ? {} : { 'x-scopes': scopes })).end()
}

for (const responseMode of MODES) {
  for (const enabled of [true, false]) {
    t.test(`a call without the scope is 403, says which one, and does not run, with responseMode ${responseMode} and sessions ${enabled}`, async (t) => {
      const { url, calls } = await build(t, { sessions: { enabled }, endpoint: { responseMode } })
      const client = enabled ? await openSession(t, url) : new HttpClient(t, url)
      for (const name of ['admin', 'both']) {
        const refused = await send(client, call(2, name), 'read admin-not')
        t.equal(refused.status, 403)
        t.equal(refused.headers['content-type'], 'application/json; charset=utf-8')
        t.match(refused.headers['www-authenticate'], name === 'admin' ? /^Bearer error="insufficient_scope", .*scope="admin"/ : /scope="admin audit"/)
        t.match(JSON.parse(refused.text), { error: 'insufficient_scope' })
      }
      t.strictSame(calls, [])
      t.match((await send(client, call(3, 'admin'), 'admin')).messages, [{ id: 3, result: { content: [{ text: 'admin' }] } }])
      t.match((await send(client, call(4, 'open'), 'read')).messages, [{ id: 4, result: {} }])
      t.match((await send(client, call(5, 'admin'))).messages, [{ id: 5, result: {} }], 'whether a caller is known at all, the app has to ask')
      t.strictSame(calls, ['admin', 'open', 'admin'])
    })
  }
}

t.test('it is the answer that the handler of SDK 2 gives to a modern request', async (t) => {
  const calls: Calls = []
  const handler = createMcpHandler(() => createServer(calls), { legacy: 'reject' })
  t.teardown(() => handler.close())
  const { url } = await build(t, { endpoint: { modern: handler } })
  const client = await openSession(t, url)
  for (const name of ['admin', 'both']) {
    const legacy = await send(client, call(7, name), 'read')
    const modern = await (await new HttpClient(t, url).post(modernCall(name), {
      'x-scopes': 'read', 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/call', 'mcp-name': name
    })).end()
    t.equal(legacy.status, modern.status)
    t.equal(legacy.headers['www-authenticate'], modern.headers['www-authenticate'])
    t.strictSame(JSON.parse(legacy.text), JSON.parse(modern.text))
  }
  t.strictSame(calls, [])
})

t.test('one call of a batch without its scope keeps the whole batch out', async (t) => {
  const { url, calls } = await build(t)
  const client = await openSession(t, url, '2025-03-26')
  client.headers = { 'mcp-protocol-version': '2025-03-26' }
  t.equal((await send(client, [call(2, 'open'), call(3, 'admin')], 'read')).status, 403)
  t.strictSame(calls, [])
  t.match((await send(client, [call(2, 'open'), call(3, 'admin')], 'admin')).messages, [{ id: 2, result: {} }, { id: 3, result: {} }])
})

t.test('a session that ends while the scopes are looked up is 404', async (t) => {
  const asked = createDeferred()
  const known = createDeferred()
  let calls = 0
  const { app, url } = await build(t, {
    endpoint: {
      createServer () {
        const server = new McpServer({ name: 'slow', version: '1' })
        const scopeChallenge = async (): Promise<undefined> => {
          asked.resolve()
          await known.promise
        }
        server.registerTool('slow', { scopeChallenge }, async () => {
          calls++
          return { content: [] }
        })
        return server
      }
    }
  })
  const client = await openSession(t, url)
  const pending = client.post(call(2, 'slow'))
  await asked.promise
  app.sessionManager.cleanup(client.sessionId)
  known.resolve()
  const answer = await (await pending).end()
  t.equal(answer.status, 404)
  t.match(JSON.parse(answer.text), { error: { code: -32001 } })
  t.equal(calls, 0)
})

t.test('a look-up that fails is an error of the app, and the call does not run', async (t) => {
  const { url } = await build(t, {
    endpoint: {
      createServer () {
        const server = new McpServer({ name: 'broken', version: '1' })
        server.registerTool('broken', { scopeChallenge: () => { throw new Error('no scopes today') } }, async () => ({ content: [] }))
        return server
      }
    }
  })
  const client = await openSession(t, url)
  const answer = await send(client, call(2, 'broken'), 'read')
  t.equal(answer.status, 500)
  t.match(JSON.parse(answer.text), { message: 'no scopes today' })
  t.equal((await send(client, { jsonrpc: '2.0', id: 3, method: 'ping' })).status, 200, 'and the session lives on')
})
