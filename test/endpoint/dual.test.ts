// One createServer for clients of both eras: `modern: true`, and what becomes of a handler that the app has made.
import { createMcpHandler, McpServer, requireScopes, Server } from '@modelcontextprotocol/server'
import Fastify, { type FastifyRequest } from 'fastify'
import { mock } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import mcpSessions, { mcpEndpoint, MissingSdkError, type CreateServerContext, type DualEndpointOptions, type ModernServerContext } from '../../index.js'
import { DualLeg, loadSdk } from '../../lib/endpoint/modern/dual-leg.js'
import { LocalAnnouncements } from '../../lib/http/announcements.js'
import { EventBus } from '../../lib/http/event-bus.js'
import { createDeferred } from '../helpers/waiting/deferred.js'
import { buildEndpoint, type EndpointApp, type EndpointSetup } from '../helpers/apps/endpoint-app.js'
import { type Answer, call, HttpClient, openSession } from '../helpers/clients/http-client.js'
import { captureLog } from '../helpers/observe/log-lines.js'
import { modernRequest, toHandler } from '../helpers/mcp-servers/modern-handler.js'
import { connectSdkClient } from '../helpers/clients/sdk-clients.js'
import { ToolServer } from '../helpers/mcp-servers/tool-server.js'
import { ToolServer2 } from '../helpers/mcp-servers/tool-server-2.js'
import { until } from '../helpers/waiting/until.js'

type Context = CreateServerContext | ModernServerContext

interface Dual extends EndpointApp {
  readonly contexts: Context[]
  readonly made: ToolServer2[]
}

/** An endpoint whose servers are of SDK 2, whoever they are for. */
async function buildDual (t: Test, setup: Omit<EndpointSetup, 'endpoint'> & { endpoint?: Partial<DualEndpointOptions> } = {}): Promise<Dual> {
  const contexts: Context[] = []
  const made: ToolServer2[] = []
  const createServer = (context: Context): McpServer => {
    contexts.push(context)
    const server = new ToolServer2()
    made.push(server)
    return server.mcp
  }
  const built = await buildEndpoint(t, { ...setup, endpoint: { modern: true, createServer, ...setup.endpoint } })
  return { ...built, contexts, made }
}

async function send (client: HttpClient, method: string, params: object = {}, headers: Record<string, string> = {}): Promise<Answer> {
  const request = modernRequest(7, method, params)
  return client.post(request.body, { ...request.headers, ...headers })
}

const listen = (client: HttpClient): Promise<Answer> => send(client, 'subscriptions/listen', { notifications: { toolsListChanged: true } })

/** Puts on the request what `x-scopes` says. */
function authenticate (app: EndpointApp['app']): void {
  app.decorateRequest('auth', null)
  app.addHook('onRequest', async (request: FastifyRequest) => {
    const { 'x-scopes': scopes } = request.headers
    if (typeof scopes === 'string') Reflect.set(request, 'auth', { token: 't', clientId: 'ada', scopes: scopes.split(' ') })
  })
}

t.test('one factory serves clients of both eras, and is told which one it is for', async (t) => {
  const { app, contexts, made, listen } = await buildDual(t, { before: authenticate })
  const url = await listen()
  const legacy = await connectSdkClient(t, 'SDK 1', url)
  t.equal(await legacy.callTool('echo', { text: 'hello' }), 'hello')
  t.match(contexts, [{ era: 'legacy', session: { id: legacy.sessionId }, restored: false, authInfo: undefined, request: { method: 'POST' } }])
  const modern = await connectSdkClient(t, 'SDK 2, auto', url)
  t.ok((await modern.listTools()).includes('echo'))
  t.equal(await modern.callTool('echo', { text: 'hello' }), 'hello')
  t.equal(app.sessionManager.getActiveSessionCount(), 1, 'without a session')
  const auth = { token: 't', clientId: 'ada', scopes: ['read'] }
  const known = await (await send(new HttpClient(t, url), 'tools/call', { name: 'echo', arguments: { text: 'x' } }, { 'x-scopes': 'read' })).end()
  t.match(known.messages, [{ id: 7, result: { content: [{ text: 'x' }] } }])
  t.match(contexts.at(-1), { era: 'modern', session: null, restored: false, authInfo: auth, request: { url: '/mcp' } })
  const [, ...modernServers] = made
  await until(() => modernServers.every(({ closed }) => closed === 1), 'a server lives as long as its request')
  t.equal(made[0]?.closed, 0)
})

t.test('without sessions, too', async (t) => {
  const { contexts, listen } = await buildDual(t, { sessions: { enabled: false } })
  const client = new HttpClient(t, await listen())
  t.match((await (await client.post(call(1, 'echo', { text: 'x' }))).end()).messages, [{ id: 1, result: { content: [{ text: 'x' }] } }])
  t.match((await (await send(client, 'tools/call', { name: 'echo', arguments: { text: 'x' } })).end()).messages, [{ id: 7, result: {} }])
  t.strictSame(contexts.map(({ era }) => era), ['legacy', 'modern'])
})

for (const responseMode of ['auto', 'sse', 'json'] as const) {
  t.test(`responseMode ${responseMode} is for both eras`, async (t) => {
    const warnings: unknown[] = []
    t.intercept(console, 'warn', { value: (warning: unknown) => { warnings.push(warning) } })
    const { listen } = await buildDual(t, { endpoint: { responseMode } })
    const answer = await (await send(new HttpClient(t, await listen()), 'tools/call', { name: 'echo', arguments: { text: 'x' } })).end()
    t.match(answer.headers['content-type'], responseMode === 'sse' ? 'text/event-stream' : 'application/json')
    t.match(answer.messages, [{ id: 7, result: { content: [{ text: 'x' }] } }])
  })
}

t.test('a scope that the caller lacks is 403 in both eras, and nothing runs', async (t) => {
  const calls: string[] = []
  const { listen } = await buildDual(t, {
    before: authenticate,
    endpoint: {
      createServer ({ era }) {
        const server = new McpServer({ name: 'scoped', version: '1' })
        server.registerTool('admin', { scopeChallenge: requireScopes('admin') }, async () => {
          calls.push(era)
          return { content: [] }
        })
        return server
      }
    }
  })
  const url = await listen()
  const legacy = await openSession(t, url)
  const modern = new HttpClient(t, url)
  for (const scopes of ['read', 'admin']) {
    const headers = { 'x-scopes': scopes }
    for (const answer of [await legacy.post(call(2, 'admin'), headers), await send(modern, 'tools/call', { name: 'admin' }, headers)]) {
      await answer.end()
      t.equal(answer.status, scopes === 'admin' ? 200 : 403)
      if (scopes === 'read') t.match(answer.headers['www-authenticate'], /^Bearer error="insufficient_scope", .*scope="admin"/)
    }
  }
  t.strictSame(calls, ['legacy', 'modern'])
})

t.test('what createServer throws is the answer, in both eras', async (t) => {
  const { lines, stream } = captureLog()
  const { listen } = await buildDual(t, {
    server: { logger: { level: 'info', stream } },
    endpoint: { createServer () { throw Object.assign(new Error('no server for you'), { statusCode: 402 }) } }
  })
  const url = await listen()
  for (const answer of [await new HttpClient(t, url).open(), await (await send(new HttpClient(t, url), 'tools/list')).end(), await (await listenAt(url)).end()]) {
    t.equal(answer.status, 402)
    t.match(JSON.parse(answer.text), { message: 'no server for you' })
  }
  t.ok(lines.some((line) => line.includes('no server for you')))

  function listenAt (url: URL): Promise<Answer> {
    return send(new HttpClient(t, url), 'subscriptions/listen', { notifications: {} })
  }
})

t.test('a server of SDK 1 cannot serve the new era, and the answer says so', async (t) => {
  let closed = 0
  const { listen } = await buildDual(t, {
    endpoint: {
      createServer () {
        const { mcp } = new ToolServer()
        t.intercept(mcp, 'close', { value: async () => { closed++ } })
        return mcp
      }
    }
  })
  const url = await listen()
  t.equal((await new HttpClient(t, url).open()).status, 200)
  const answer = await (await send(new HttpClient(t, url), 'tools/list')).end()
  t.equal(answer.status, 500)
  t.match(JSON.parse(answer.text), { code: 'FST_ERR_MCP_SESSION_SERVER', message: /got one that is not of @modelcontextprotocol\/server/ })
  t.equal(closed, 1, 'it is closed')
})

t.test('one server for two requests is refused', async (t) => {
  const only = new McpServer({ name: 'only', version: '1' })
  const { listen } = await buildDual(t, { endpoint: { createServer: () => only } })
  const client = new HttpClient(t, await listen())
  t.equal((await (await send(client, 'server/discover')).end()).status, 200)
  const again = await (await send(client, 'server/discover')).end()
  t.equal(again.status, 500)
  t.match(JSON.parse(again.text), { message: /got one that it has returned before/ })
})

t.test('what SDK 2 reports is in the log', async (t) => {
  const { lines, stream } = captureLog()
  const { listen } = await buildDual(t, { server: { logger: { level: 'info', stream } } })
  const client = new HttpClient(t, await listen())
  const answer = await (await client.post(modernRequest(1, 'tools/list').body, { 'mcp-protocol-version': '2026-07-28' })).end()
  t.equal(answer.status, 400)
  t.ok(lines.some((line) => /Mcp-Method header is absent.*A request of a client without a session was refused/.test(line)), lines.join(''))
})

t.test('there are no more listening clients than there may be sessions', async (t) => {
  const { listen: start } = await buildDual(t, { sessions: { maxSessions: 1 } })
  const client = new HttpClient(t, await start())
  const first = await listen(client)
  await first.see('acknowledged')
  const refused = await (await listen(client)).end()
  t.equal(refused.status, 503)
  t.match(refused.headers['retry-after'], '5')
  first.vanish()
  for (let tries = 0; tries < 100; tries++) {
    const again = await listen(client)
    if (again.status === 200) return again.see('acknowledged')
    await again.end()
  }
  t.fail('there is room when it has gone')
})

for (const kind of ['true', 'a handler'] as const) {
  t.test(`strangers who listen lock nobody out, with modern: ${kind}`, async (t) => {
    const identify = ({ headers }: FastifyRequest): string | undefined => headers.authorization
    const modern = kind === 'true' ? true : createMcpHandler(createNotingServer)
    const { listen: start } = await buildEndpoint(t, {
      sessions: { identify, maxSessions: 2, maxSessionsPerPrincipal: 1 }, endpoint: { modern, createServer: createNotingServer }
    })
    const client = new HttpClient(t, await start())
    const ask = (headers: Record<string, string> = {}): Promise<Answer> => send(client, 'subscriptions/listen', { notifications: EVERYTHING }, headers)
    const strangers = [await ask(), await ask()]
    for (const stranger of strangers) await stranger.see('acknowledged')
    const ada = await ask({ authorization: 'ada' })
    await ada.see('acknowledged')
    await strangers[0]?.end()
    if (kind === 'true') t.match(strangers[0]?.messages.at(-1), { id: 7, result: {} }, 'the oldest has its result')
    t.notOk(strangers[1]?.ended)
    t.equal((await (await ask({ authorization: 'ada' })).end()).status, 503, 'one principal may have one')
    t.notOk(ada.ended)
  })
}

t.test('who is somebody else by now listens no longer', async (t) => {
  mock.timers.enable({ apis: ['setInterval'] })
  t.teardown(() => mock.timers.reset())
  for (const revoke of [() => 'bob', () => { throw new Error('revoked') }]) {
    let identify = (): string => 'ada'
    const { listen: start } = await buildDual(t, { sessions: { identify: () => identify() }, endpoint: { heartbeatInterval: 1000 } })
    const stream = await listen(new HttpClient(t, await start()))
    await stream.see('acknowledged')
    mock.timers.tick(1000)
    for (let round = 0; round < 20; round++) await turn()
    t.notOk(stream.ended || stream.broken)
    identify = revoke
    mock.timers.tick(1000)
    await stream.end()
  }
})

t.test('recheckOwner: false leaves it open', async (t) => {
  mock.timers.enable({ apis: ['setInterval'] })
  t.teardown(() => mock.timers.reset())
  let asked = 0
  const { listen: start } = await buildDual(t, { sessions: { identify: () => String(asked++) }, endpoint: { heartbeatInterval: 1000, recheckOwner: false } })
  const stream = await listen(new HttpClient(t, await start()))
  await stream.see('acknowledged')
  mock.timers.tick(1000)
  for (let round = 0; round < 20; round++) await turn()
  t.equal(asked, 1)
  t.notOk(stream.ended || stream.broken)
})

const CHANGES = [
  ['tools', (app: EndpointApp['app']) => app.mcp.notify.toolsChanged()],
  ['prompts', (app: EndpointApp['app']) => app.mcp.notify.promptsChanged()],
  ['resources', (app: EndpointApp['app']) => app.mcp.notify.resourcesChanged()],
  ['note', (app: EndpointApp['app']) => app.mcp.notify.resourceUpdated('note://1')]
] as const

const EVERYTHING = { toolsListChanged: true, promptsListChanged: true, resourcesListChanged: true, resourceSubscriptions: ['note://1'] }
const HEARD = [
  'notifications/subscriptions/acknowledged', 'notifications/tools/list_changed', 'notifications/prompts/list_changed',
  'notifications/resources/list_changed', 'notifications/resources/updated'
]

function createNotingServer (): McpServer {
  return new McpServer({ name: 'noting', version: '1' }, {
    capabilities: { tools: { listChanged: true }, prompts: { listChanged: true }, resources: { listChanged: true, subscribe: true } }
  })
}

for (const kind of ['true', 'a handler on app.mcp.bus', 'a handler on its own bus', 'a handler with notify alone', 'a handler with neither'] as const) {
  t.test(`app.mcp.notify reaches those who listen, with modern: ${kind}`, async (t) => {
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(mcpSessions, { identify: ({ headers }) => headers.authorization })
    if (kind === 'true') {
      await app.register(mcpEndpoint, { createServer: createNotingServer, modern: true })
    } else {
      const { fetch, close, notify, bus } = createMcpHandler(createNotingServer, { legacy: 'reject', ...(kind.includes('app.mcp.bus') && { bus: app.mcp.bus }) })
      const modern = { fetch, close, ...(kind.includes('bus') && { bus }), ...(!kind.includes('neither') && { notify }) }
      await app.register(mcpEndpoint, { createServer: createNotingServer, modern })
    }
    const url = new URL('/mcp', await app.listen({ port: 0, host: '127.0.0.1' }))
    const [ann, bob] = await Promise.all(['ann', 'bob'].map(async (authorization) => {
      const stream = await send(new HttpClient(t, url), 'subscriptions/listen', { notifications: EVERYTHING }, { authorization })
      await stream.see('acknowledged')
      return stream
    }))
    if (ann === undefined || bob === undefined) throw new Error('Both are there')
    app.mcp.notify.toolsChanged({ principal: 'ann' })
    app.mcp.notify.toolsChanged({ session: 'none has it' })
    for (const [, announce] of CHANGES) announce(app)
    if (kind !== 'a handler with neither') for (const stream of [ann, bob]) await stream.see('notifications/resources/updated')
    const methods = ({ messages }: Answer): unknown[] => messages.map(({ method }) => method)
    const isTold = kind === 'true' || kind === 'a handler on app.mcp.bus'
    const all = kind === 'a handler with neither' ? HEARD.slice(0, 1) : HEARD
    t.strictSame(methods(bob), all)
    t.strictSame(methods(ann), isTold ? [HEARD[0], HEARD[1], ...HEARD.slice(1)] : all, isTold ? 'what is for one principal' : 'nobody can tell whose a stream is')
  })
}

t.test('who comes back hears what has changed meanwhile', async (t) => {
  const { app, listen: start } = await buildDual(t)
  const client = new HttpClient(t, await start())
  app.mcp.notify.toolsChanged()
  const stream = await listen(client)
  await stream.see('tools/list_changed')
})

t.test('a call that outlives drainTimeout is told that the app closes, and so is one that comes after', async (t) => {
  const { app, made, listen } = await buildDual(t, { sessions: { drainTimeout: 50 }, server: { return503OnClosing: false } })
  const url = await listen()
  const running = send(new HttpClient(t, url), 'tools/call', { name: 'wait' })
  await until(() => made[0]?.waiting.length === 1, 'the call has come')
  const closing = app.close()
  const answer = await (await running).end()
  t.equal(answer.status, 503)
  t.match(JSON.parse(answer.text), { error: { data: { code: 'FST_ERR_MCP_SESSION_SHUTTING_DOWN' } } })
  t.equal(made[0]?.aborted, 1)
  await closing
  const late = await app.inject({ method: 'POST', url: '/mcp', ...toInjection(modernRequest(1, 'tools/list')) }).catch(() => undefined)
  t.not(late?.statusCode, 200)
})

t.test('a request that comes when all is closed is 503', async (t) => {
  const closed = createDeferred()
  const ending = createDeferred()
  const handler = { fetch: async () => Response.json({}), async close () { closed.resolve(); await ending.promise } }
  const { app, listen } = await buildEndpoint(t, { endpoint: { modern: handler }, server: { return503OnClosing: false } })
  const client = new HttpClient(t, await listen())
  t.equal((await (await send(client, 'tools/list')).end()).status, 200)
  const closing = app.close()
  await closed.promise
  const late = await (await send(client, 'tools/list')).end()
  t.equal(late.status, 503)
  ending.resolve()
  await closing
})

t.test('a handler of the app is closed once, after the calls that run, and what it throws is logged', async (t) => {
  const { lines, stream } = captureLog()
  const gate = createDeferred()
  const events: string[] = []
  const handler = {
    async fetch () {
      events.push('begun')
      await gate.promise
      events.push('answered')
      return Response.json({})
    },
    async close () {
      events.push('closed')
      throw new Error('will not')
    }
  }
  const { app, listen } = await buildEndpoint(t, {
    sessions: { drainTimeout: 60_000 }, endpoint: { modern: handler }, server: { logger: { level: 'error', stream } }
  })
  const running = send(new HttpClient(t, await listen()), 'tools/list')
  await until(() => events.length === 1, 'the call has come')
  const closing = app.close()
  await turn()
  t.strictSame(events, ['begun'])
  gate.resolve()
  t.equal((await (await running).end()).status, 200)
  await closing
  t.strictSame(events, ['begun', 'answered', 'closed'])
  t.match(lines, [/Closing the handler of clients without sessions failed/])
})

t.test('a handler that does not answer with a Response is told so, and so is the log', async (t) => {
  const { lines, stream } = captureLog()
  const { app } = await buildEndpoint(t, { endpoint: { modern: toHandler(async () => JSON.parse('null')) }, server: { logger: { level: 'error', stream } } })
  const { statusCode, body } = await app.inject({ method: 'POST', url: '/mcp', ...toInjection(modernRequest(1, 'tools/list')) })
  t.equal(statusCode, 500)
  t.match(body, 'modern.fetch() must return a Response, not null')
  t.match(lines, [/modern\.fetch\(\) must return a Response, not null/])
})

t.test('what is no POST is none of theirs', async (t) => {
  const { app, contexts } = await buildDual(t)
  for (const method of ['GET', 'DELETE'] as const) {
    const { statusCode, headers } = await app.inject({ method, url: '/mcp', headers: toInjection(modernRequest(1, 'tools/list')).headers })
    t.equal(statusCode, 405)
    t.match(headers, { allow: 'POST' })
  }
  t.strictSame(contexts, [])
})

t.test('a handler is closed when the app fails to boot', async (t) => {
  let closed = 0
  const app = Fastify()
  await app.register(mcpSessions)
  await app.register(mcpEndpoint, { createServer: () => new ToolServer().mcp, modern: { fetch: async () => new Response(), async close () { closed++ } } })
  app.register(async () => { throw new Error('no boot') })
  await t.rejects(async () => { await app.ready() }, /no boot/)
  await app.close()
  t.equal(closed, 1)
})

t.test('a bare function is refused with the fix, and so is a handler that is only half one', async (t) => {
  const fetch = toHandler(async () => new Response()).fetch
  for (const [modern, message] of [
    [fetch, /write "modern: handler" for "modern: handler.fetch"/],
    [{ fetch }, /must be true, or what createMcpHandler\(\) returns/],
    [{ ...toHandler(fetch), notify: { toolsChanged () {} } }, /^Option "modern\.notify" must be an object \{ toolsChanged, promptsChanged/],
    [{ ...toHandler(fetch), bus: {} }, /^Option "modern.bus" must be an object with a method publish/]
  ] as const) {
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(mcpSessions)
    const registering = async (): Promise<void> => { await Reflect.apply(app.register, app, [mcpEndpoint, { createServer: () => new ToolServer().mcp, modern }]) }
    await t.rejects(registering, { name: 'TypeError', message })
  }
})

t.test('without SDK 2, modern: true says what to install', async (t) => {
  const missing = Object.assign(new Error('Cannot find package'), { code: 'ERR_MODULE_NOT_FOUND' })
  const error = await loadSdk(() => Promise.reject(missing)).then(() => t.fail('not found'), (reason: unknown) => reason)
  t.type(error, MissingSdkError)
  t.match(error, { code: 'FST_ERR_MCP_SESSION_SDK_MISSING', message: /npm install @modelcontextprotocol\/server/, cause: missing })
  await t.rejects(loadSdk(() => Promise.reject(new SyntaxError('broken'))), { name: 'SyntaxError', message: 'broken' }, 'one that is there and broken is another thing')
})

function toInjection ({ body, headers }: { body: object, headers: Record<string, string> }): { payload: object, headers: Record<string, string> } {
  return { payload: body, headers: { ...headers, host: 'localhost', accept: 'application/json, text/event-stream' } }
}

t.test('a server that is for no request is not made', async (t) => {
  let failure: unknown
  const leg = new DualLeg({
    sdk: {
      McpServer,
      Server,
      createMcpHandler (factory) {
        failure = factory({ era: 'modern' })
        return createMcpHandler(factory)
      }
    },
    createServer: () => new ToolServer2().mcp,
    responseMode: 'auto',
    bus: new EventBus(new LocalAnnouncements(() => {})),
    log: Fastify().log
  })
  await t.rejects(Promise.resolve(failure), /for no request/)
  await leg.close()
})
