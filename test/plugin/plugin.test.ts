import Fastify from 'fastify'
import t, { type Test } from 'tap'
import { mock } from 'node:test'
import defaultExport, { mcpSessions, SessionManager, type CloseReason, type LogEntry } from '../../index.js'
import { buildApp, listen } from '../helpers/apps/app.js'
import { createDeferred } from '../helpers/waiting/deferred.js'
import { connectRaw } from '../helpers/clients/raw-client.js'

const UNKNOWN = { 'mcp-session-id': 'b52d8c1e-6c0c-4a6b-9d52-000000000000' }

function fakeTime (t: Test): void {
  mock.timers.enable({ apis: ['Date', 'setInterval'], now: 1_000_000 })
  t.teardown(() => mock.timers.reset())
}

t.test('is a Fastify 5 plugin, exported by default and by name', async (t) => {
  t.equal(defaultExport, mcpSessions)
  const app = await buildApp(t)
  t.ok(app.hasPlugin('fastify-mcp-sessions'))
  t.match(Reflect.get(mcpSessions, Symbol.for('plugin-meta')), { name: 'fastify-mcp-sessions', fastify: '5.x' })
})

t.test('decorates the instance with a session manager, and requests with null', async (t) => {
  const app = await buildApp(t)
  t.ok(app.sessionManager instanceof SessionManager)
  t.ok(Object.hasOwn(app, 'sessionManager'))
  t.equal(app.sessionManager, app.sessionManager, 'a plain value')
  t.ok(app.hasRequestDecorator('mcpSession'))

  const seen: unknown[] = []
  const early = Fastify()
  t.teardown(() => early.close())
  early.addHook('onRequest', async (request) => { seen.push(request.mcpSession) })
  await early.register(mcpSessions)
  early.get('/', async () => '')
  await early.inject({ url: '/', headers: { 'mcp-session-id': early.sessionManager.create() } })
  t.strictSame(seen, [null], 'until the hook sets it')
})

t.test('cannot be registered twice, on one instance or within it', async (t) => {
  const app = await buildApp(t)
  await t.rejects(async () => app.register(mcpSessions), { code: 'FST_ERR_MCP_SESSION_REGISTERED_TWICE', message: /scopes beside each other/ })

  const outer = Fastify()
  t.teardown(() => outer.close())
  outer.register(mcpSessions)
  outer.register(async (scope) => { await scope.register(mcpSessions) })
  await t.rejects(async () => outer.ready(), { code: 'FST_ERR_MCP_SESSION_REGISTERED_TWICE' })
})

t.test('two apps in one process do not share sessions', async (t) => {
  const [one, other] = [await buildApp(t), await buildApp(t)]
  for (const app of [one, other]) app.get('/', async (request) => request.mcpSession)
  const headers = { 'mcp-session-id': one.sessionManager.create() }
  t.equal((await one.inject({ url: '/', headers })).statusCode, 200)
  t.equal((await other.inject({ url: '/', headers })).statusCode, 404)
  await one.close()
  t.equal(one.sessionManager.getActiveSessionCount(), 0)
  other.sessionManager.create()
  t.equal(other.sessionManager.getActiveSessionCount(), 1)
})

t.test('two scopes of one app do not share sessions either', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  const managers: SessionManager[] = []
  for (const prefix of ['/one', '/other']) {
    app.register(async (scope) => {
      await scope.register(mcpSessions)
      managers.push(scope.sessionManager)
      scope.get('/', async (request) => request.mcpSession)
    }, { prefix })
  }
  await app.ready()
  const headers = { 'mcp-session-id': managers[0]?.create() }
  t.equal((await app.inject({ url: '/one', headers })).statusCode, 200)
  t.equal((await app.inject({ url: '/other', headers })).statusCode, 404)
})

t.test('routes that have nothing to do with MCP are untouched', async (t) => {
  const app = await buildApp(t)
  app.get('/', async (request) => ({ session: request.mcpSession }))
  app.post('/', async (request) => request.body)
  t.strictSame((await app.inject('/')).json(), { session: null })
  t.strictSame((await app.inject({ method: 'POST', url: '/', payload: { a: 1 } })).json(), { a: 1 })
})

t.test('starts the timer that removes expired sessions on ready, and not before', async (t) => {
  fakeTime(t)
  const app = await buildApp(t, { ttl: 1_000, cleanupInterval: 500 })
  app.sessionManager.create()
  mock.timers.tick(5_000)
  t.equal(app.sessionManager.getActiveSessionCount(), 1)
  await app.ready()
  mock.timers.tick(500)
  t.equal(app.sessionManager.getActiveSessionCount(), 0)
})

t.test('closing the app', async (t) => {
  t.test('stops the timer and closes all sessions with the reason "shutdown"', async (t) => {
    fakeTime(t)
    const entries: LogEntry[] = []
    const app = await buildApp(t, { ttl: 1_000, cleanupInterval: 500, logger: { sendLog: (entry) => { entries.push(entry) } } })
    await app.ready()
    const ids = [app.sessionManager.create(), app.sessionManager.create()]
    const closed: Array<[string, CloseReason]> = []
    app.sessionManager.on('closed', (session, reason) => closed.push([session.id, reason]))
    await app.close()
    t.strictSame(closed, ids.map((id) => [id, 'shutdown']))
    t.strictSame(entries.slice(-2).map(({ data }) => data), [
      'Stopped TTL cleanup', 'All sessions cleared: 2 session(s) removed'
    ])

    app.sessionManager.create()
    mock.timers.tick(10_000)
    t.equal(app.sessionManager.getActiveSessionCount(), 1, 'no sweep runs any more')
  })

  t.test('waits for the requests in flight, which keep their session to the end', async (t) => {
    const app = await buildApp(t)
    const entered = createDeferred()
    const finish = createDeferred()
    app.get('/', async (request) => {
      entered.resolve()
      await finish.promise
      return { count: app.sessionManager.getActiveSessionCount(), held: request.mcpSession?.activeRequests }
    })
    const client = await connectRaw(t, await listen(app))
    client.get('/', `mcp-session-id: ${app.sessionManager.create()}`, 'connection: close')
    await entered.promise
    const closing = app.close()
    await new Promise(setImmediate)
    finish.resolve()
    await client.see('{"count":1,"held":1}')
    await closing
    t.equal(app.sessionManager.getActiveSessionCount(), 0)
  })

  t.test('works when it never was ready, and when sessions never expire', async (t) => {
    for (const options of [{}, { ttl: 0 }]) {
      const app = Fastify()
      await app.register(mcpSessions, options)
      app.sessionManager.create()
      await app.close()
      t.equal(app.sessionManager.getActiveSessionCount(), 0)
    }
  })

  t.test('is not held up by a listener that throws or never ends', async (t) => {
    const app = await buildApp(t)
    app.sessionManager.on('closed', () => { throw new Error('listener broke') })
    app.sessionManager.on('closed', () => new Promise(() => {}))
    app.sessionManager.create()
    app.sessionManager.create()
    await app.close()
    t.equal(app.sessionManager.getActiveSessionCount(), 0)
  })
})

t.test('enabled: false', async (t) => {
  t.test('leaves the decorators there and validates nothing', async (t) => {
    const app = await buildApp(t, { enabled: false })
    app.get('/', { config: { mcpSession: 'required' } }, async (request) => ({ session: request.mcpSession }))
    t.ok(app.sessionManager instanceof SessionManager)
    const sent = [{}, UNKNOWN, { 'mcp-session-id': 'not good' }, { 'mcp-session-id': app.sessionManager.create() }]
    for (const headers of sent) {
      const response = await app.inject({ url: '/', headers })
      t.equal(response.statusCode, 200)
      t.strictSame(response.json(), { session: null })
    }
  })

  t.test('still expires sessions that the app keeps itself, and closes them', async (t) => {
    fakeTime(t)
    const app = await buildApp(t, { enabled: false, ttl: 1_000, cleanupInterval: 500 })
    await app.ready()
    const reasons: CloseReason[] = []
    app.sessionManager.on('closed', (_session, reason) => reasons.push(reason))
    app.sessionManager.create()
    mock.timers.tick(1_500)
    app.sessionManager.create()
    await app.close()
    t.strictSame(reasons, ['expired', 'shutdown'])
  })
})
