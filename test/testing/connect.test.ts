// The test kit as its users have it, with the clients of both SDKs.
import { Client as Client2 } from '@modelcontextprotocol/client'
import { Client as Client1 } from '@modelcontextprotocol/sdk/client/index.js'
import { ElicitRequestSchema } from '@modelcontextprotocol/sdk/types.js'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import mcpSessions, { mcpEndpoint, type CreateServerContext, type SessionEndpointOptions, type McpSessionsOptions } from '../../index.js'
import { connect, serveSession, sessionClock } from '../../lib/testing/index.js'
import { createDeferred } from '../helpers/waiting/deferred.js'
import { until } from '../helpers/waiting/until.js'

const INFO = { name: 'test', version: '1.0.0' }
const HOUR = 3_600_000

interface Kit {
  readonly app: FastifyInstance
  readonly contexts: CreateServerContext[]
  readonly servers: McpServer[]
}

async function build (t: Test, sessions: McpSessionsOptions = {}, endpoint: Partial<SessionEndpointOptions> = {}): Promise<Kit> {
  const app = Fastify()
  t.teardown(() => app.close())
  const contexts: CreateServerContext[] = []
  const servers: McpServer[] = []
  await app.register(mcpSessions, sessions)
  await app.register(mcpEndpoint, {
    createServer (context) {
      const server = new McpServer(INFO, { capabilities: { logging: {} } })
      server.registerTool('who', {}, () => toResult(String(context.session.principal)))
      server.registerTool('cart', {}, () => toResult(JSON.stringify(context.session.metadata)))
      server.registerTool('ask', {}, async () => {
        const { action } = await server.server.elicitInput({ message: 'Your name?', requestedSchema: { type: 'object', properties: {} } })
        return toResult(action)
      })
      contexts.push(context)
      servers.push(server)
      return server
    },
    ...endpoint
  })
  return { app, contexts, servers }
}

function toResult (text: string): { content: [{ type: 'text', text: string }] } {
  return { content: [{ type: 'text', text }] }
}

t.test('a client is connected, and the app sees its session', async (t) => {
  const { app } = await build(t)
  const client = await connect(app)
  t.match(await client.listTools(), { tools: [{ name: 'who' }, { name: 'cart' }, { name: 'ask' }] })
  t.equal(app.sessionManager.getActiveSessionCount(), 1)
  await client.close()
})

const CLIENTS = {
  'SDK 1': () => new Client1(INFO, { capabilities: { elicitation: {} } }),
  'SDK 2': () => new Client2(INFO, { capabilities: { elicitation: {} } })
}

for (const [name, create] of Object.entries(CLIENTS)) {
  t.test(`a client of ${name}: calls, questions to it, and what the server says of its own accord`, async (t) => {
    const { app, servers } = await build(t)
    const client = create()
    const changed = createDeferred()
    if (client instanceof Client1) client.setRequestHandler(ElicitRequestSchema, async () => ({ action: 'decline' }))
    else client.setRequestHandler('elicitation/create', async () => ({ action: 'decline' }))
    client.fallbackNotificationHandler = async ({ method }) => { if (method === 'notifications/tools/list_changed') changed.resolve() }
    t.equal(await connect(app, { client, principal: 'ann' }), client)
    t.match(await client.callTool({ name: 'who' }), toResult('ann'))
    t.match(await client.callTool({ name: 'ask' }), toResult('decline'))
    await until(() => app.sessionManager.list().some(({ openStreams }) => openStreams === 1), 'the GET stream is open')
    servers[0]?.sendToolListChanged()
    await changed.promise
    await client.close()
    await until(() => app.sessionManager.list().every(({ activeRequests }) => activeRequests === 0), 'the stream has ended')
  })

  t.test(`close() returns while a client of ${name} has a stream open`, async (t) => {
    const { app } = await build(t)
    const client = create()
    let closed = 0
    await connect(app, { client })
    client.onclose = () => { closed++ }
    await until(() => app.sessionManager.list().some(({ openStreams }) => openStreams === 1), 'the GET stream is open')
    await app.close()
    t.equal(app.sessionManager.getActiveSessionCount(), 0)
    t.equal(closed, 1, 'the client is closed too')
  })
}

t.test('principals are strangers to each other, whatever identify says', async (t) => {
  const { app } = await build(t, { identify: ({ headers }) => headers['x-user']?.toString() })
  await connect(app, { principal: 'ann' })
  const [session] = app.sessionManager.list()
  t.equal(session?.principal, 'ann')
  const bob = await connect(app, { principal: 'bob', sessionId: String(session?.id) })
  await t.rejects(bob.listTools(), { message: /Session not found/ })
  const eve = await connect(app, { headers: { 'x-user': 'ann' }, sessionId: String(session?.id) })
  t.match(await eve.callTool({ name: 'who' }), toResult('ann'), 'identify is asked where no principal is given')
})

t.test('a header of the kit that comes from elsewhere names nobody', async (t) => {
  const { app } = await build(t)
  await connect(app, { principal: 'ann' })
  const client = await connect(app, { headers: { 'x-mcp-test-principal': 'ann' } })
  t.match(await client.callTool({ name: 'who' }), toResult('undefined'))
})

t.test('an endpoint can be at another path', async (t) => {
  const { app } = await build(t, {}, { path: '/t/:tenant/mcp' })
  const client = await connect(app, { path: '/t/red/mcp' })
  t.match(await client.listTools(), { tools: [{ name: 'who' }] })
  await t.rejects(connect(app, { path: 'mcp' }), { name: 'TypeError', message: 'Option "path" must be a string that starts with /, got "mcp" (string)' })
})

t.test('a name that is not known is refused', async (t) => {
  const { app } = await build(t)
  const options = { path: '/mcp', principle: 'ann' }
  await t.rejects(connect(app, options), new TypeError('Unknown option "principle": did you mean "principal"?'))
})

t.test('a session that the app has made is served as any other', async (t) => {
  const { app, contexts } = await build(t)
  const sessionId = app.sessionManager.create({ cart: ['tea'] }, { principal: 'ann' })
  const client = await connect(app, { sessionId, principal: 'ann' })
  t.match(await client.callTool({ name: 'cart' }), toResult('{"cart":["tea"]}'))
  t.match(await client.callTool({ name: 'who' }), toResult('ann'))
  t.equal(contexts.length, 1)
  t.equal(contexts[0]?.restored, false)
  t.equal(contexts[0]?.session.id, sessionId)
  await t.rejects((await connect(app, { sessionId, principal: 'bob' })).listTools(), { message: /Session not found/ })
})

t.test('so it is without a client of the kit, and knows what its client can do', async (t) => {
  const { app, servers } = await build(t)
  const id = app.sessionManager.create()
  const request = {
    method: 'POST' as const,
    url: '/mcp',
    headers: { accept: 'application/json, text/event-stream', 'mcp-session-id': id },
    payload: { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'who', arguments: {} } }
  }
  t.equal((await app.inject(request)).statusCode, 404, 'not before somebody says so')
  serveSession(app, id, { capabilities: { elicitation: {} } })
  t.match((await app.inject(request)).json(), { result: toResult('undefined') })
  t.match(servers[0]?.server.getClientCapabilities(), { elicitation: {} })
  t.throws(() => serveSession(app, 'nobody'), { code: 'FST_ERR_MCP_SESSION_NOT_FOUND' })
  t.throws(() => serveSession(app, id, JSON.parse('{"paths":"/mcp"}')), { message: 'Unknown option "paths": did you mean "path"?' })
})

t.test('session time moves without waiting', async (t) => {
  const { app } = await build(t)
  const ends: string[] = []
  app.sessionManager.on('closed', (_session, reason) => { ends.push(reason) })
  const clock = sessionClock(app)
  const client = await connect(app)
  const idle = app.sessionManager.create()
  await until(() => app.sessionManager.list().some(({ openStreams }) => openStreams === 1), 'the GET stream is open')
  const before = clock.now()
  clock.advance(HOUR)
  t.ok(clock.now() >= before + HOUR)
  clock.advance(1000)
  t.strictSame(ends, ['expired'], 'the idle one; a stream keeps its session')
  t.equal(app.sessionManager.get(idle), undefined)
  await client.close()
  await until(() => app.sessionManager.list().every(({ activeRequests }) => activeRequests === 0), 'the stream has ended')
  clock.advance(HOUR + 1000)
  t.strictSame(ends, ['expired', 'expired'])
  t.throws(() => clock.advance(-1), new TypeError('Option "milliseconds" must be a number of milliseconds >= 0 (0: look now), got -1 (number)'))
})
