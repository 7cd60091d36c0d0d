// A request with a body holds its session when the body is there, and not before.
import Fastify, { type FastifyInstance } from 'fastify'
import { once } from 'node:events'
import { connect as connectHttp2 } from 'node:http2'
import t, { type Test } from 'tap'
import { OwnerFailedError } from '../../lib/base/errors.js'
import '../../lib/plugin/augmentation.js'
import { createBodyHook, type BodyHookOptions } from '../../lib/http/body-hook.js'
import { Rejections } from '../../lib/http/rejection.js'
import { ReplyTracker } from '../../lib/http/reply-tracker.js'
import { createSessionHook } from '../../lib/http/session-hook.js'
import { SessionManager } from '../../lib/session/session-manager.js'
import type { Session } from '../../lib/session/session.js'
import { buildApp, listen } from '../helpers/apps/app.js'
import { createDeferred } from '../helpers/waiting/deferred.js'
import { connectRaw, type RawClient } from '../helpers/clients/raw-client.js'
import { until } from '../helpers/waiting/until.js'

const UPLOAD = ['POST /upload HTTP/1.1', 'host: 127.0.0.1', 'content-type: text/plain']

interface Stage {
  readonly app: FastifyInstance
  readonly port: number
  /** What the handler has seen of the session that it was given. */
  readonly seen: number[]
  /** Announces an upload of ten bytes. */
  upload: (id: string) => Promise<RawClient>
}

async function stage (t: Test, options: object = {}): Promise<Stage> {
  const app = await buildApp(t, { drainTimeout: 0, ...options })
  let started = 0
  app.addHook('preParsing', async () => { started++ })
  const seen: number[] = []
  app.post('/upload', async ({ mcpSession }) => {
    seen.push(mcpSession?.activeRequests ?? -1)
    return 'uploaded'
  })
  const port = await listen(app)
  return {
    app,
    port,
    seen,
    async upload (id) {
      const client = await connectRaw(t, port)
      const before = started
      client.send(...UPLOAD, `mcp-session-id: ${id}`, 'content-length: 10')
      await until(() => started > before, 'the headers are there')
      return client
    }
  }
}

t.test('clients that never end their bodies do not lock others out', async (t) => {
  const { app, upload } = await stage(t, { maxSessions: 50 })
  const ids = Array.from({ length: 50 }, () => app.sessionManager.create())
  for (const id of ids) await upload(id)
  t.ok(app.sessionManager.list().every(({ activeRequests }) => activeRequests === 0))
  const newcomer = app.sessionManager.create()
  t.ok(app.sessionManager.get(newcomer))
  t.equal(app.sessionManager.get(String(ids[0])), undefined, 'which takes the place of the longest idle')
})

t.test('the handler finds the session held, whatever way the body is announced', async (t) => {
  const { app, port, seen, upload } = await stage(t)
  const id = app.sessionManager.create()
  const client = await upload(id)
  client.socket.write('x'.repeat(10))
  await client.see('uploaded')
  client.received = ''
  client.send(...UPLOAD, `mcp-session-id: ${id}`, 'transfer-encoding: chunked', '', '1', 'x', '0')
  await client.see('uploaded')
  t.equal((await app.inject({ method: 'POST', url: '/upload', headers: { 'mcp-session-id': id }, payload: { a: 1 } })).statusCode, 200)
  t.equal((await fetch(`http://127.0.0.1:${port}/upload`, { method: 'POST', headers: { 'mcp-session-id': id } })).status, 200, 'and without one')
  t.strictSame(seen, [1, 1, 1, 1])
  await until(() => app.sessionManager.get(id)?.activeRequests === 0, 'and it is released')
})

t.test('a request without a body holds its session before the hooks that follow', async (t) => {
  const app = await buildApp(t)
  const held: Array<number | undefined> = []
  app.addHook('preParsing', async ({ mcpSession }) => { held.push(mcpSession?.activeRequests) })
  app.route({ method: ['GET', 'POST'], url: '/', handler: async () => 'done' })
  const headers = { 'mcp-session-id': app.sessionManager.create() }
  await app.inject({ url: '/', headers })
  await app.inject({ method: 'POST', url: '/', headers })
  await app.inject({ method: 'POST', url: '/', headers: { ...headers, 'content-length': '0' } })
  await app.inject({ method: 'POST', url: '/', headers, payload: { a: 1 } })
  t.strictSame(held, [1, 1, 1, 0])
})

t.test('over HTTP/2, the end of the stream says whether there is a body', async (t) => {
  const app = Fastify({ http2: true })
  const sessions = new SessionManager()
  const replies = new ReplyTracker(sessions)
  const reject = new Rejections().reject
  app.decorateRequest('mcpSession', null)
  // The same hooks, without the types of a plugin that knows HTTP/1 only.
  const options = { sessions, replies, reject, cluster: undefined, identify: () => undefined, shutdown: { hasStarted: false } }
  const [onRequest, preValidation] = [createSessionHook(options, { mode: 'required' }), createBodyHook(options)]
  const held: number[] = []
  const id = sessions.create()
  await app.register(async (scope) => {
    Reflect.apply(scope.addHook, scope, ['onRequest', onRequest])
    Reflect.apply(scope.addHook, scope, ['preValidation', preValidation])
    scope.addHook('onRequest', async () => { held.push(sessions.get(id)?.activeRequests ?? -1) })
    scope.addContentTypeParser('text/plain', { parseAs: 'string' }, (_request, _body, done) => done(null))
    scope.post('/', async () => String(sessions.get(id)?.activeRequests))
  })
  t.teardown(() => app.close())
  const address = await app.listen({ port: 0, host: '127.0.0.1' })
  const client = connectHttp2(address)
  t.teardown(() => client.destroy())
  for (const body of [undefined, 'x']) {
    const request = client.request({ ':method': 'POST', ':path': '/', 'mcp-session-id': id, 'content-type': 'text/plain' }, { endStream: body === undefined })
    if (body !== undefined) request.end(body)
    let answer = ''
    request.setEncoding('utf8').on('data', (chunk) => { answer += String(chunk) })
    await once(request, 'end')
    t.equal(answer, '1')
  }
  t.strictSame(held, [1, 0])
})

t.test('the headers start the idle time over, so that an upload has all of it', async (t) => {
  const { app, upload } = await stage(t)
  const id = app.sessionManager.create()
  const before = app.sessionManager.get(id)?.lastAccessedAt ?? Infinity
  await until(() => Date.now() > before, 'time has passed')
  await upload(id)
  t.ok(Number(app.sessionManager.get(id)?.lastAccessedAt) > before)
})

t.test('a stranger neither finds the session nor keeps it alive', async (t) => {
  const app = await buildApp(t, { identify: ({ headers }) => headers.authorization })
  app.post('/', async () => 'never')
  const id = app.sessionManager.create(undefined, { principal: 'ann' })
  const before = app.sessionManager.get(id)?.lastAccessedAt ?? Infinity
  await until(() => Date.now() > before, 'time has passed')
  for (const authorization of ['bob', '']) {
    const { statusCode } = await app.inject({ method: 'POST', url: '/', headers: { 'mcp-session-id': id, authorization }, payload: {} })
    t.equal(statusCode, 404)
  }
  t.equal((await app.inject({ method: 'POST', url: '/', headers: { 'mcp-session-id': 'none' }, payload: {} })).statusCode, 404)
  t.equal(app.sessionManager.get(id)?.lastAccessedAt, before)
})

t.test('a session that has gone by the time its body is there is not found', async (t) => {
  const { app, seen, upload } = await stage(t)
  const id = app.sessionManager.create()
  const client = await upload(id)
  app.sessionManager.cleanup(id)
  client.socket.write('x'.repeat(10))
  await client.see('Session not found')
  t.match(client.received, /^HTTP\/1.1 404 /)
  t.strictSame(seen, [])
})

t.test('one that was opened anew under the id is', async (t) => {
  const { app, seen, upload } = await stage(t)
  const id = app.sessionManager.create()
  const client = await upload(id)
  app.sessionManager.register(id)
  client.socket.write('x'.repeat(10))
  await client.see('uploaded')
  t.strictSame(seen, [1])
  await until(() => app.sessionManager.get(id)?.activeRequests === 0, 'and it is released')
})

t.test('a client that vanishes in the middle of its upload leaves nothing', async (t) => {
  const { app, seen, upload } = await stage(t)
  const id = app.sessionManager.create()
  const gone = createDeferred()
  app.server.once('request', (request) => request.socket.once('close', () => gone.resolve()))
  const client = await upload(id)
  client.vanish()
  await gone.promise
  t.equal(app.sessionManager.get(id)?.activeRequests, 0)
  t.strictSame(seen, [])
})

t.test('a session that is gone', async (t) => {
  async function ask (t: Test, changes: Partial<BodyHookOptions>): Promise<{ status: number, told: Array<Session | null> }> {
    const app = Fastify()
    t.teardown(() => app.close())
    const sessions = new SessionManager()
    const replies = new ReplyTracker(sessions)
    const told: Array<Session | null> = []
    app.decorateRequest('mcpSession', null)
    app.addHook('onRequest', async (request, reply) => {
      const session = sessions.get(sessions.create())
      if (session === undefined) throw new Error('There is no session')
      request.mcpSession = session
      replies.begin(request, reply, 'request').expect(session)
      sessions.cleanup(session.id)
    })
    app.addHook('preValidation', createBodyHook({ sessions, replies, reject: new Rejections().reject, cluster: undefined, shutdown: { hasStarted: false }, ...changes }))
    app.addHook('onSend', async ({ mcpSession }) => { told.push(mcpSession) })
    app.get('/', async () => 'never')
    const { statusCode } = await app.inject('/')
    return { status: statusCode, told }
  }

  t.test('may live on, when the app shuts down', async (t) => {
    t.equal((await ask(t, { shutdown: { hasStarted: true } })).status, 503)
  })

  t.test('is another node\'s, when this one has lost it', async (t) => {
    t.equal((await ask(t, { cluster: { barrier: () => Promise.reject(new OwnerFailedError()) } })).status, 502)
  })

  t.test('has ended, when the cluster knows no better', async (t) => {
    for (const ended of [undefined, Promise.resolve()]) t.equal((await ask(t, { cluster: { barrier: () => ended } })).status, 404)
  })

  t.test('is not waited for by the answer', async (t) => {
    t.strictSame((await ask(t, {})).told, [null])
  })
})
