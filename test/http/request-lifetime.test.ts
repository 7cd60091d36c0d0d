// A request holds its session until its response is over, however it ends.
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import { once } from 'node:events'
import { connect as connectHttp2, constants } from 'node:http2'
import { mock } from 'node:test'
import { PassThrough } from 'node:stream'
import mcpSessions from '../../index.js'
import { activeRequests, buildApp, listen, portOf } from '../helpers/apps/app.js'
import { createDeferred, type Deferred } from '../helpers/waiting/deferred.js'
import { connectRaw } from '../helpers/clients/raw-client.js'
import { until } from '../helpers/waiting/until.js'

interface Stage {
  readonly app: FastifyInstance
  readonly id: string
  readonly header: string
  /** Resolved when a handler has the request. */
  readonly entered: Deferred<FastifyRequest>
  /** Lets the handler go on. */
  readonly finish: Deferred<void>
}

// What a route can do with a reply. Each says "started" as soon as it can, and "finished" when it is let.
const routes: Record<string, (reply: FastifyReply, finish: Promise<void>) => unknown> = {
  async plain (_reply, finish) {
    await finish
    return 'finished'
  },
  stream (reply, finish) {
    const stream = new PassThrough()
    stream.write('started')
    finish.then(() => stream.end('finished'))
    return reply.send(stream)
  },
  web (reply, finish) {
    const body = new ReadableStream({
      async start (controller) {
        controller.enqueue(Buffer.from('started'))
        await finish
        controller.enqueue(Buffer.from('finished'))
        controller.close()
      }
    })
    return reply.send(new Response(body))
  },
  async hijacked (reply, finish) {
    reply.hijack()
    reply.raw.writeHead(200)
    reply.raw.write('started')
    await finish
    reply.raw.end('finished')
  },
  async failing (_reply, finish) {
    await finish
    throw new Error('finished')
  }
}

async function stage (t: Test, before?: (app: FastifyInstance) => void): Promise<Stage> {
  const app = Fastify()
  t.teardown(() => app.close())
  before?.(app)
  await app.register(mcpSessions)
  const id = app.sessionManager.create()
  const entered = createDeferred<FastifyRequest>()
  const finish = createDeferred()
  for (const [name, answer] of Object.entries(routes)) {
    app.route({
      method: ['GET', 'POST'],
      url: `/${name}`,
      handler: async function handleRequest (request, reply) {
        entered.resolve(request)
        return answer(reply, finish.promise)
      }
    })
  }
  return { app, id, header: `mcp-session-id: ${id}`, entered, finish }
}

for (const name of Object.keys(routes)) {
  t.test(`a ${name} reply over a socket holds the session until it is finished`, async (t) => {
    const { app, id, header, entered, finish } = await stage(t)
    const client = await connectRaw(t, await listen(app))
    client.get(`/${name}`, header)
    await entered.promise
    t.equal(activeRequests(app, id), 1)
    finish.resolve()
    await client.see('finished')
    await until(() => activeRequests(app, id) === 0, 'the session is released')
  })

  t.test(`a ${name} reply to inject holds the session until it is finished`, async (t) => {
    const { app, id, entered, finish } = await stage(t)
    const response = app.inject({ url: `/${name}`, headers: { 'mcp-session-id': id } })
    response.then(undefined, () => {})
    await entered.promise
    t.equal(activeRequests(app, id), 1)
    finish.resolve()
    t.match((await response).body, 'finished')
    t.equal(activeRequests(app, id), 0)
  })

  t.test(`a ${name} reply is over when its client vanishes`, async (t) => {
    const { app, id, header, entered, finish } = await stage(t)
    const client = await connectRaw(t, await listen(app))
    client.get(`/${name}`, header)
    await entered.promise
    t.equal(activeRequests(app, id), 1)
    client.vanish()
    await until(() => activeRequests(app, id) === 0, 'the session is released')
    finish.resolve()
    await new Promise(setImmediate)
    t.equal(activeRequests(app, id), 0, 'and is not released twice when the handler comes back')
  })
}

for (const name of ['stream', 'web', 'hijacked']) {
  t.test(`a ${name} reply to inject is over when its signal aborts`, async (t) => {
    const { app, id, finish } = await stage(t)
    const client = new AbortController()
    const response = await app.inject({
      url: `/${name}`, headers: { 'mcp-session-id': id }, payloadAsStream: true, signal: client.signal
    })
    response.stream().on('error', () => {})
    t.equal(activeRequests(app, id), 1)
    client.abort()
    await until(() => activeRequests(app, id) === 0, 'the session is released')
    finish.resolve()
  })
}

t.test('two requests hold a session twice, and the session is free after the second', async (t) => {
  const { app, id, header, finish } = await stage(t)
  const port = await listen(app)
  const [stays, vanishes] = [await connectRaw(t, port), await connectRaw(t, port)]
  stays.get('/stream', header)
  vanishes.get('/stream', header)
  await Promise.all([stays.see('started'), vanishes.see('started')])
  t.equal(activeRequests(app, id), 2)
  vanishes.vanish()
  await until(() => activeRequests(app, id) === 1, 'the first is over')
  finish.resolve()
  await until(() => activeRequests(app, id) === 0, 'the second is over')
})

t.test('a client that vanishes while an earlier hook of the app runs never holds the session', async (t) => {
  const asked = createDeferred()
  const answered = createDeferred()
  const { app, id, header, entered, finish } = await stage(t, (app) => {
    app.addHook('onRequest', async function askTheDatabase (request) {
      asked.resolve()
      if (request.method === 'GET') await answered.promise
    })
  })
  const client = await connectRaw(t, await listen(app))
  const gone = createDeferred()
  app.server.once('request', (request) => request.socket.once('close', () => gone.resolve()))
  client.get('/plain', header)
  await asked.promise
  client.vanish()
  await gone.promise
  answered.resolve()
  const request = await entered.promise
  t.equal(request.mcpSession?.id, id, 'the handler finds its session')
  t.equal(activeRequests(app, id), 0)
  finish.resolve()
})

t.test('a client that sends all it has to say and half-closes lets go of the session', async (t) => {
  const { app, id, header, entered, finish } = await stage(t)
  const client = await connectRaw(t, await listen(app))
  client.get('/plain', header)
  client.socket.end()
  await entered.promise
  finish.resolve()
  await until(() => activeRequests(app, id) === 0, 'the session is released')
})

t.test('requests that share a connection hold the session one by one', async (t) => {
  const { app, id, header, entered, finish } = await stage(t)
  finish.resolve()
  const client = await connectRaw(t, await listen(app))
  client.get('/plain', header)
  const { socket } = (await entered.promise).raw
  await client.see('finished')
  await until(() => activeRequests(app, id) === 0, 'the session is released')
  const listeners = socket.listenerCount('close')
  for (let round = 0; round < 3; round++) {
    client.received = ''
    client.get('/plain', header)
    await client.see('finished')
    await until(() => activeRequests(app, id) === 0, 'the session is released')
  }
  t.equal(socket.listenerCount('close'), listeners, 'and leave nothing behind on it')
})

t.test('pipelined requests', async (t) => {
  const PIPELINED = 20

  t.test('are all over when the connection goes while they wait for their turn', async (t) => {
    const { app, id, header, finish } = await stage(t)
    const client = await connectRaw(t, await listen(app))
    for (let i = 0; i < PIPELINED; i++) client.get('/plain', header)
    await until(() => activeRequests(app, id) === PIPELINED, 'all requests have come')
    client.vanish()
    await until(() => activeRequests(app, id) === 0, 'the session is released')
    finish.resolve()
    await new Promise(setImmediate)
    t.equal(activeRequests(app, id), 0)
  })

  t.test('are over only once when the connection goes in the middle of their turn', async (t) => {
    const { app, id, header, entered, finish } = await stage(t)
    const queued: boolean[] = []
    const over: string[] = []
    app.server.on('request', (request, response) => {
      queued.push(response.socket === null)
      response.once('close', () => over.push(request.url ?? ''))
    })
    app.sessionManager.acquire(id)
    const client = await connectRaw(t, await listen(app))
    client.send('GET /nowhere HTTP/1.1', 'host: a', '', 'GET /plain HTTP/1.1', 'host: a', header)
    await entered.promise
    await client.see('404')
    t.strictSame(queued, [false, true])
    t.equal(activeRequests(app, id), 2)
    client.vanish()
    await until(() => over.includes('/plain'), 'the response is closed')
    t.equal(activeRequests(app, id), 1, 'what else holds the session still does')
    finish.resolve()
  })

  t.test('are over one by one, without a listener each on their connection', async (t) => {
    const warnings: Error[] = []
    const onWarning = (warning: Error): void => { warnings.push(warning) }
    process.on('warning', onWarning)
    t.teardown(() => process.off('warning', onWarning))

    const { app, id, header, finish } = await stage(t)
    const client = await connectRaw(t, await listen(app))
    for (let i = 0; i < PIPELINED; i++) client.get('/plain', header)
    await until(() => activeRequests(app, id) === PIPELINED, 'all requests have come')
    finish.resolve()
    await until(() => activeRequests(app, id) === 0, 'the session is released')
    client.socket.end()
    await once(client.socket, 'close')
    t.equal(client.received.split('finished').length - 1, PIPELINED)
    t.equal(activeRequests(app, id), 0, 'the end of the connection changes nothing')
    t.strictSame(warnings, [])
  })

  t.test('that have their session checked when the connection is gone never hold it', async (t) => {
    const answered = createDeferred()
    let asked = 0
    const { app, id, header, finish } = await stage(t, (app) => {
      app.addHook('onRequest', async function askTheDatabase () {
        asked++
        await answered.promise
      })
    })
    const gone = createDeferred()
    app.server.once('request', (request) => request.socket.once('close', () => gone.resolve()))
    let entered = 0
    app.addHook('onRequest', async function countIn () { entered++ })
    const client = await connectRaw(t, await listen(app))
    client.get('/plain', header)
    client.get('/plain', header)
    await until(() => asked === 2, 'both requests have come')
    client.vanish()
    await gone.promise
    answered.resolve()
    await until(() => entered === 2, 'both have passed the hook')
    t.equal(activeRequests(app, id), 0)
    finish.resolve()
  })
})

t.test('over HTTP/2', async (t) => {
  async function stageHttp2 (t: Test, hook?: Promise<void>) {
    const app = Fastify({ http2: true })
    t.teardown(() => app.close())
    if (hook !== undefined) app.addHook('onRequest', () => hook)
    await app.register(mcpSessions)
    const id = app.sessionManager.create()
    const entered = createDeferred()
    const finish = createDeferred()
    app.get('/plain', async () => {
      entered.resolve()
      await finish.promise
      return 'finished'
    })
    await app.listen({ port: 0, host: '127.0.0.1' })
    const address = app.server.address()
    if (typeof address !== 'object' || address === null) throw new Error('The app listens on no port')
    const client = connectHttp2(`http://127.0.0.1:${address.port}`)
    t.teardown(() => client.destroy())
    const request = client.request({ ':path': '/plain', 'mcp-session-id': id })
    request.on('error', () => {})
    const held = (): number | undefined => app.sessionManager.get(id)?.activeRequests
    return { app, request, entered, finish, held }
  }

  t.test('a finished reply lets go of the session', async (t) => {
    const { request, entered, finish, held } = await stageHttp2(t)
    await entered.promise
    t.equal(held(), 1)
    finish.resolve()
    request.resume()
    await once(request, 'end')
    await until(() => held() === 0, 'the session is released')
  })

  t.test('a reset stream lets go of the session', async (t) => {
    const { request, entered, finish, held } = await stageHttp2(t)
    await entered.promise
    request.close(constants.NGHTTP2_CANCEL)
    await until(() => held() === 0, 'the session is released')
    finish.resolve()
  })

  t.test('a stream that is reset while an earlier hook runs never holds the session', async (t) => {
    const hook = createDeferred()
    const gone = createDeferred()
    const { app, request, entered, finish, held } = await stageHttp2(t, hook.promise)
    app.server.once('stream', (stream) => stream.once('close', () => gone.resolve()))
    await once(request, 'ready')
    request.close(constants.NGHTTP2_CANCEL)
    await gone.promise
    hook.resolve()
    await entered.promise
    t.equal(held(), 0)
    finish.resolve()
  })
})

t.test('a HEAD request holds the session like any other', async (t) => {
  const app = await buildApp(t)
  const id = app.sessionManager.create()
  const held: number[] = []
  app.get('/plain', async () => {
    held.push(activeRequests(app, id))
    return 'body'
  })
  const response = await app.inject({ method: 'HEAD', url: '/plain', headers: { 'mcp-session-id': id } })
  t.equal(response.statusCode, 200)
  t.strictSame(held, [1])
  t.equal(activeRequests(app, id), 0)
})

t.test('a request that a later hook turns away lets go of the session', async (t) => {
  const app = await buildApp(t)
  const id = app.sessionManager.create()
  app.get('/refused', {
    preHandler: async (_request, reply) => reply.code(403).send()
  }, async () => 'never')
  app.get('/broken', {
    preHandler: async () => { throw new Error('broken') }
  }, async () => 'never')
  for (const [url, statusCode] of [['/refused', 403], ['/broken', 500]] as const) {
    const response = await app.inject({ url, headers: { 'mcp-session-id': id } })
    t.equal(response.statusCode, statusCode)
    t.equal(activeRequests(app, id), 0)
  }
})

t.test('a request that never gets to the hook does not hold the session', async (t) => {
  const { app, id, header } = await stage(t, (app) => {
    app.addHook('onRequest', async (_request, reply) => reply.code(401).send())
  })
  const client = await connectRaw(t, await listen(app))
  client.get('/plain', header)
  await client.see('401')
  t.equal(activeRequests(app, id), 0)
})

t.test('a request that outlives its session ends in peace', async (t) => {
  const { app, id, header, entered, finish } = await stage(t)
  const client = await connectRaw(t, await listen(app))
  client.get('/plain', header)
  await entered.promise
  app.sessionManager.cleanup(id)
  finish.resolve()
  await client.see('finished')
  t.equal(app.sessionManager.getActiveSessionCount(), 0)
})

t.test('a request of a replaced session does not release the one that took its place', async (t) => {
  const { app, id, header, entered, finish } = await stage(t)
  const client = await connectRaw(t, await listen(app))
  const over = createDeferred()
  app.server.once('request', (_request, response) => response.once('close', over.resolve))
  client.get('/plain', header)
  await entered.promise
  app.sessionManager.register(id)
  app.sessionManager.acquire(id)
  finish.resolve()
  await over.promise
  t.equal(activeRequests(app, id), 1)
})

t.test('the idle time', async (t) => {
  const TTL = 1_000

  async function stageClock (t: Test): Promise<Stage> {
    mock.timers.enable({ apis: ['Date', 'setInterval'], now: 1_000_000 })
    t.teardown(() => mock.timers.reset())
    const app = await buildApp(t, { ttl: TTL, cleanupInterval: TTL })
    const id = app.sessionManager.create()
    const entered = createDeferred<FastifyRequest>()
    const finish = createDeferred()
    app.get('/plain', async (request) => {
      entered.resolve(request)
      await finish.promise
      return 'finished'
    })
    await app.ready()
    return { app, id, header: id, entered, finish }
  }

  t.test('does not run during a request that is longer than the ttl, and starts at its end', async (t) => {
    const { app, id, entered, finish } = await stageClock(t)
    const response = app.inject({ url: '/plain', headers: { 'mcp-session-id': id } })
    response.then(undefined, () => {})
    await entered.promise
    for (let i = 0; i < 5; i++) mock.timers.tick(TTL)
    t.equal(activeRequests(app, id), 1, 'five sweeps have left it alone')
    finish.resolve()
    await response
    mock.timers.tick(TTL)
    t.ok(app.sessionManager.get(id), 'it has all of its ttl after the end')
    mock.timers.tick(1)
    t.equal(app.sessionManager.get(id), undefined, 'and not a millisecond more')
  })

  t.test('starts at the end of the last of several requests', async (t) => {
    const { app, id, finish } = await stageClock(t)
    const session = app.sessionManager.acquire(id)
    if (session === undefined) throw new Error('The session is gone')
    finish.resolve()
    await app.inject({ url: '/plain', headers: { 'mcp-session-id': id } })
    mock.timers.tick(2 * TTL)
    t.ok(app.sessionManager.get(id))
    app.sessionManager.release(session)
    mock.timers.tick(TTL + 1)
    t.equal(app.sessionManager.getActiveSessionCount(), 0, 'a sweep has removed it')
  })

  t.test('starts over with each request', async (t) => {
    const { app, id, finish } = await stageClock(t)
    finish.resolve()
    for (let i = 0; i < 4; i++) {
      mock.timers.tick(TTL)
      const response = await app.inject({ url: '/plain', headers: { 'mcp-session-id': id } })
      t.equal(response.statusCode, 200)
    }
    mock.timers.tick(TTL + 1)
    const response = await app.inject({ url: '/plain', headers: { 'mcp-session-id': id } })
    t.equal(response.statusCode, 404)
  })

  t.test('starts over with a request whose client is gone before it is looked at', async (t) => {
    mock.timers.enable({ apis: ['Date'], now: 1_000_000 })
    t.teardown(() => mock.timers.reset())
    const app = Fastify()
    t.teardown(() => app.close())
    const hook = createDeferred()
    const gone = createDeferred()
    const entered = createDeferred()
    app.addHook('onRequest', () => hook.promise)
    await app.register(mcpSessions, { ttl: TTL })
    app.get('/plain', async () => entered.resolve())
    const id = app.sessionManager.create()
    await listen(app)
    app.server.once('request', (request) => {
      request.socket.once('close', () => gone.resolve())
      client.vanish()
    })
    const client = await connectRaw(t, portOf(app))
    client.get('/plain', `mcp-session-id: ${id}`)
    await gone.promise
    mock.timers.tick(TTL)
    hook.resolve()
    await entered.promise
    mock.timers.tick(TTL)
    t.ok(app.sessionManager.get(id))
    mock.timers.tick(1)
    t.equal(app.sessionManager.get(id), undefined)
  })
})
