// The plugin with the option `cluster`: several apps in this process, over one Redis.
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import { Redis } from 'ioredis'
import { randomUUID } from 'node:crypto'
import { Readable } from 'node:stream'
import { mock } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import mcpSessions from '../../index.js'
import { Outbox } from '../../lib/cluster/outbox.js'
import { start } from '../helpers/processes/child.js'
import { createDeferred } from '../helpers/waiting/deferred.js'
import { createCluster, type ClusterApp } from '../helpers/cluster/cluster-apps.js'
import { captureLog } from '../helpers/observe/log-lines.js'
import { needsRedis, needsRedisServer, RedisServer, startRedis } from '../helpers/redis/redis-server.js'

t.setTimeout(120_000)

/** What becomes of a session is written behind the back of who changed it. */
async function eventually (t: Test, check: () => Promise<boolean>, what: string): Promise<void> {
  const end = performance.now() + 10_000
  while (!await check()) {
    if (performance.now() > end) throw new Error(`In vain: ${what}`)
    await sleep(5)
  }
  t.pass(what)
}

async function cartRoutes (app: FastifyInstance): Promise<void> {
  app.post<{ Body: { item: string } }>('/cart', { config: { mcpSession: 'required' } }, async (request) => {
    const { id, metadata } = request.mcpSession ?? { id: '' }
    const before: unknown = metadata?.['cart']
    const cart = [...(Array.isArray(before) ? before : []), request.body.item]
    app.sessionManager.update(id, { cart })
    return { cart }
  })
  app.get('/whoami', async (request) => ({ principal: request.mcpSession?.principal ?? null, tag: request.mcpSession?.metadata?.['tag'] ?? null }))
}

function call ({ url }: ClusterApp, id: string, init: RequestInit = {}, path = '/cart'): Promise<Response> {
  return fetch(url + path, {
    method: 'POST',
    body: JSON.stringify({ item: 'x' }),
    ...init,
    headers: { 'content-type': 'application/json', 'mcp-session-id': id, authorization: 'ann', connection: 'close', ...init.headers }
  })
}

const get = (node: ClusterApp, id: string, headers: Record<string, string> = {}): Promise<Response> => call(node, id, { method: 'GET', body: null, headers }, '/whoami')

t.test('an option that is wrong is named when the app boots', async (t) => {
  const redis = new Redis({ lazyConnect: true })
  t.teardown(() => { redis.disconnect() })
  const wrong: Array<[unknown, RegExp]> = [
    [null, /^Option "cluster" must be an object \{ redis \}, got null/],
    ['redis://localhost', /^Option "cluster" must be an object/],
    [{}, /^Option "cluster.redis" must be a client of ioredis/],
    [{ redis: null }, /^Option "cluster.redis" must be a client of ioredis/],
    [{ redis: {} }, /^Option "cluster.redis" must be a client of ioredis/],
    [{ redis, advertise: 'node-1:3000' }, /^Option "cluster.advertise" must be an http:\/\/ or https:\/\/ URL/],
    [{ redis, advertise: 'node 1' }, /^Option "cluster.advertise" must be an http:\/\/ or https:\/\/ URL/],
    [{ redis, advertise: 'http://node-1:3000/mcp' }, /^Option "cluster.advertise" must be a URL without a path or query.*: http:\/\/node-1:3000, got/],
    [{ redis, advertise: 'http://node-1:3000?x' }, /without a path or query/],
    [{ redis, advertise: 'http://node-1:3000/#' }, /without a path or query/],
    [{ redis, advertise: 'http://0.0.0.0:3000' }, /^Option "cluster.advertise" must be a URL with an address at which others reach this node: 0\.0\.0\.0 is only one to listen at/],
    [{ redis, advertise: 'http://[::]:3000' }, /: \[::\] is only one to listen at/],
    [{ redis, advertise: 'http://node-1:0' }, /^Option "cluster.advertise" must be a URL with the port at which the app listens, not 0/],
    [{ redis, advertise: 'https://user:secret@node-1' }, /^Option "cluster.advertise" must be a URL without credentials.*: https:\/\/node-1, got a URL with credentials$/],
    [{ redis, dispatcher: {} }, /^Option "cluster.dispatcher" must be an object with a method dispatch, such as an Agent of undici/],
    [{ redis, waitForReplicas: 1 }, /^Option "cluster.waitForReplicas" must be an object \{ count, timeout \}, got/],
    [{ redis, waitForReplicas: null }, /^Option "cluster.waitForReplicas" must be an object/],
    [{ redis, waitForReplicas: { replicas: 1 } }, /^Unknown option "cluster.waitForReplicas.replicas"/],
    [{ redis, waitForReplicas: { count: 0 } }, /^Option "cluster.waitForReplicas.count" must be a whole number > 0/],
    [{ redis, waitForReplicas: { timeout: 0 } }, /^Option "cluster.waitForReplicas.timeout" must be a whole number of milliseconds, from 1 to 5000, the lease, got/],
    [{ redis, waitForReplicas: { timeout: 0.5 } }, /^Option "cluster.waitForReplicas.timeout"/],
    [{ redis, lease: 400, waitForReplicas: { timeout: 500 } }, /from 1 to 400, the lease/],
    [{ redis, advertise: 3000 }, /^Option "cluster.advertise"/],
    [{ redis, prefix: '{mcp}' }, /^Option "cluster.prefix" must be a string without braces/],
    [{ redis, prefix: 1 }, /^Option "cluster.prefix"/],
    [{ redis, lease: '5s' }, /^Option "cluster.lease"/],
    [{ redis, leese: 5000 }, /^Unknown option "cluster.leese": did you mean "cluster.lease"\?$/],
    [{ redis, lease: 0 }, /^Option "cluster.lease" must be at least 300 ms/]
  ]
  for (const [cluster, message] of wrong) {
    const app = Fastify()
    const options = { cluster }
    await t.rejects(async () => Reflect.apply(app.register, app, [mcpSessions, options]), { name: 'TypeError', message })
    await app.close()
  }
})

t.test('without the option, nothing of Redis or of forwarding is loaded', async (t) => {
  const script = `
    import { createRequire } from 'node:module'
    import Fastify from 'fastify'
    import mcpSessions from './index.ts'
    const app = Fastify()
    await app.register(mcpSessions)
    await app.ready()
    const loaded = Object.keys(createRequire(import.meta.url).cache).filter((path) => /node_modules.(undici|ioredis)\\W/.test(path))
    console.log(JSON.stringify({ loaded, count: await app.sessionDirectory.count() }))
    await app.close()
  `
  const child = start(t, process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script])
  t.equal(await child.ended, 0, child.stderr)
  t.strictSame(JSON.parse(child.stdout), { loaded: [], count: 0 })
})

t.test('on one Redis', needsRedis(), async (t) => {
  const { url: redisUrl, stop } = await startRedis()
  t.teardown(stop)

  t.test('a session that an app opened is found through any other, which passes requests on to it', async (t) => {
    const addNode = createCluster(t, redisUrl)
    const [one, two, three] = [await addNode({ routes: cartRoutes }), await addNode({ routes: cartRoutes }), await addNode({ routes: cartRoutes })]
    const id = one.app.sessionManager.create({ tag: 'mine' }, { principal: 'ann' })
    await eventually(t, async () => await two.app.sessionDirectory.count() === 1, 'it is in the directory')
    for (const [n, node] of [two, three, one].entries()) {
      const response = await call(node, id)
      t.strictSame(await response.json(), { cart: Array(n + 1).fill('x') })
    }
    t.strictSame(await (await get(two, id)).json(), { principal: 'ann', tag: 'mine' })
    t.equal(two.app.sessionManager.getActiveSessionCount(), 0, 'and lives in one place')
    t.strictSame(one.app.sessionManager.get(id)?.metadata, { tag: 'mine', cart: ['x', 'x', 'x'] })
    t.equal(one.app.sessionManager.get(id)?.activeRequests, 0)
  })

  t.test('the directory knows the nodes, and where each session lives', async (t) => {
    const addNode = createCluster(t, redisUrl)
    const [one, two] = [await addNode(), await addNode()]
    one.app.sessionManager.create()
    await eventually(t, async () => (await two.app.sessionDirectory.nodes()).map(({ sessions }) => sessions).sort().join() === '0,1', 'both have told what they hold')
    const nodes = await two.app.sessionDirectory.nodes()
    t.strictSame(nodes.map(({ id, url, sessions }) => [id, url, sessions]).sort(), [
      [one.app.sessionDirectory.node, one.url, 1], [two.app.sessionDirectory.node, two.url, 0]
    ].sort())
    for (const { lease } of nodes) t.ok(lease > 0 && lease <= 1500)
    for await (const { node } of two.app.sessionDirectory.list()) t.equal(node, one.app.sessionDirectory.node)
    await one.app.close()
    t.strictSame((await two.app.sessionDirectory.nodes()).map(({ url }) => url), [two.url], 'one that has left is none')
    for await (const { node } of two.app.sessionDirectory.list()) t.equal(node, undefined, 'nobody serves what it has left')
  })

  t.test('two scopes of one app can be in two clusters', async (t) => {
    const prefixes = [`test-${randomUUID()}:`, `test-${randomUUID()}:`]
    const lease = 1000
    async function addNode (): Promise<{ url: string, scopes: FastifyInstance[] }> {
      const app = Fastify({ forceCloseConnections: true })
      const scopes: FastifyInstance[] = []
      for (const [index, prefix] of prefixes.entries()) {
        const redis = new Redis(redisUrl)
        app.addHook('onClose', () => redis.disconnect())
        await app.register(async function addScope (scope) {
          await scope.register(mcpSessions, { cluster: { redis, prefix, lease }, drainTimeout: 100 })
          // So long that its node is asked meanwhile whether it is there.
          scope.get(`/${index}`, { config: { mcpSession: 'required' } }, async (request) => {
            await sleep(lease * 1.5)
            return request.mcpSession?.metadata?.['tag']
          })
          scopes.push(scope)
        })
      }
      t.teardown(() => app.close())
      return { url: await app.listen({ port: 0, host: '127.0.0.1' }), scopes }
    }
    const owner = await addNode()
    const other = await addNode()
    const answers = owner.scopes.map(async ({ sessionManager }, index) => {
      const id = sessionManager.create({ tag: `of ${index}` })
      await eventually(t, async () => await other.scopes[index]?.sessionDirectory.count() === 1, 'it is in the directory')
      const passed = await fetch(`${other.url}/${index}`, { headers: { 'mcp-session-id': id } })
      const stranger = await fetch(`${other.url}/${1 - index}`, { headers: { 'mcp-session-id': id } })
      return [passed.status, await passed.text(), stranger.status]
    })
    t.strictSame(await Promise.all(answers), [[200, 'of 0', 404], [200, 'of 1', 404]])
  })

  t.test('a foreign principal gets the same 404 on every node, as for a session that never was', async (t) => {
    const addNode = createCluster(t, redisUrl)
    const nodes = [await addNode({ routes: cartRoutes }), await addNode({ routes: cartRoutes })]
    const [one] = nodes
    const id = one?.app.sessionManager.create({}, { principal: 'ann' }) ?? ''
    await eventually(t, async () => await nodes[1]?.app.sessionDirectory.count() === 1, 'it is in the directory')
    const answers = new Set<string>()
    for (const node of nodes) {
      for (const [asked, authorization] of [[id, 'bob'], ['never-was', 'ann'], [id, '']] as const) {
        const response = await call(node, asked, { headers: { authorization } })
        const headers = [...response.headers].filter(([name]) => name !== 'date')
        answers.add(JSON.stringify([response.status, headers, await response.text()]))
      }
    }
    t.equal(answers.size, 1)
    t.match([...answers][0], /^\[404,/)
    t.equal(one?.app.sessionManager.get(id)?.activeRequests, 0)
  })

  t.test('a forwarding header that a client made up gains nothing', async (t) => {
    const addNode = createCluster(t, redisUrl)
    const [one, two] = [await addNode({ routes: cartRoutes }), await addNode({ routes: cartRoutes })]
    const id = one.app.sessionManager.create({}, { principal: 'ann' })
    await eventually(t, async () => await two.app.sessionDirectory.count() === 1, 'it is in the directory')
    const claims = Buffer.from(JSON.stringify({ from: 'x', principal: 'ann' })).toString('base64url')
    for (const node of [one, two]) {
      for (const forged of [`${claims}.AAAA`, claims, '.', '']) {
        const response = await call(node, id, { headers: { authorization: 'bob', 'mcp-session-forwarded': forged } })
        t.equal(response.status, 404)
        t.equal((await call(node, id, { headers: { 'mcp-session-forwarded': forged } })).status, 200, 'nor does it lose anything')
      }
    }
  })

  t.test('what ends a session ends it for the whole cluster', async (t) => {
    const addNode = createCluster(t, redisUrl)
    const [one, two] = [
      await addNode({ routes: cartRoutes, plugin: { maxSessions: 3, ttl: 60_000 } }), await addNode({ routes: cartRoutes })
    ]
    const { sessionManager } = one.app
    const create = (): string => sessionManager.create({}, { principal: 'ann' })
    const count = (n: number): Promise<void> => eventually(t, async () => await two.app.sessionDirectory.count() === n, `${n} left`)
    const [first, second] = [create(), create(), create()]
    await count(3)
    create()
    await count(3)
    t.equal((await call(two, first)).status, 404, 'evicted')
    sessionManager.cleanup(second)
    await count(2)
    t.equal((await call(two, second)).status, 404, 'deleted')
    sessionManager.clearAll()
    await count(0)
  })

  t.test('a session that has expired is gone, also for the request that finds it out', async (t) => {
    const addNode = createCluster(t, redisUrl)
    const one = await addNode({ routes: cartRoutes, plugin: { ttl: 300 } })
    for (let i = 0; i < 5; i++) {
      const id = one.app.sessionManager.create({}, { principal: 'ann' })
      t.equal((await call(one, id)).status, 200)
      // The directory keeps it a little longer.
      await sleep(305)
      t.equal((await call(one, id)).status, 404)
    }
    await eventually(t, async () => await one.app.sessionDirectory.count() === 0, 'and none is left')
  })

  t.test('the directory lists and ends sessions wherever they live', async (t) => {
    const addNode = createCluster(t, redisUrl)
    const [one, two] = [await addNode({ routes: cartRoutes }), await addNode({ routes: cartRoutes })]
    const mine = one.app.sessionManager.create({ n: 1 }, { principal: 'ann', clientInfo: { name: 'c', version: '1' }, protocolVersion: '2025-06-18' })
    const theirs = two.app.sessionManager.create({ n: 2 })
    await eventually(t, async () => await one.app.sessionDirectory.count() === 2, 'both are there')
    const listed = []
    for await (const session of two.app.sessionDirectory.list()) listed.push(session)
    t.strictSame(listed.find(({ id }) => id === mine), {
      id: mine,
      principal: 'ann',
      clientInfo: { name: 'c', version: '1' },
      protocolVersion: '2025-06-18',
      metadata: { n: 1 },
      createdAt: one.app.sessionManager.get(mine)?.createdAt,
      lastAccessedAt: one.app.sessionManager.get(mine)?.lastAccessedAt,
      node: one.app.sessionDirectory.node
    })
    t.equal(listed.length, 2)

    t.equal(await one.app.sessionDirectory.terminate(mine), true, 'here')
    t.equal(one.app.sessionManager.get(mine), undefined)
    t.equal(await one.app.sessionDirectory.terminate(theirs), true, 'elsewhere')
    await eventually(t, async () => two.app.sessionManager.get(theirs) === undefined, 'its owner hears of it')
    t.equal(await one.app.sessionDirectory.terminate(theirs), false, 'once')
    t.equal(await one.app.sessionDirectory.count(), 0)
    const unrecorded = one.app.sessionManager.create()
    t.equal(await one.app.sessionDirectory.terminate(unrecorded), true, 'before it was recorded')

    const left = two.app.sessionManager.create({}, { principal: 'ann' })
    await eventually(t, async () => await one.app.sessionDirectory.count() === 1, 'another one')
    await two.app.close()
    t.equal(await one.app.sessionDirectory.terminate(left), true, 'nowhere')
    t.equal((await call(one, left)).status, 404)
  })

  t.test('an app that closes leaves its sessions to the others, with their metadata', async (t) => {
    const addNode = createCluster(t, redisUrl)
    const [one, two, three] = [await addNode({ routes: cartRoutes }), await addNode({ routes: cartRoutes }), await addNode({ routes: cartRoutes })]
    const id = one.app.sessionManager.create({ tag: 't' }, { principal: 'ann' })
    await call(one, id)
    const closed: string[] = []
    one.app.sessionManager.on('closed', (_, reason) => { closed.push(reason) })
    await one.app.close()
    t.strictSame(closed, ['shutdown'])
    const answers = await Promise.all(Array.from({ length: 10 }, (_, i) => get(i % 2 ? two : three, id)))
    for (const answer of answers) t.strictSame(await answer.json(), { principal: 'ann', tag: 't' })
    const owners = [two, three].filter(({ app }) => app.sessionManager.get(id) !== undefined)
    t.equal(owners.length, 1, 'one of them has it now')
    t.strictSame(owners[0]?.app.sessionManager.get(id)?.metadata, { tag: 't', cart: ['x'] })
  })

  t.test('an app that closes lets the owner finish what it has passed on: only streams of endpoints have no end', async (t) => {
    const addNode = createCluster(t, redisUrl)
    const routes = async (app: FastifyInstance): Promise<void> => {
      await cartRoutes(app)
      app.get('/report', async (_request, reply) => reply.send(Readable.from(report())))
    }
    async function * report (): AsyncGenerator<string> {
      for (const line of ['one', 'two', 'three']) {
        yield line
        await sleep(200)
      }
    }
    const owner = await addNode({ routes })
    const passing = await addNode({ routes, plugin: { drainTimeout: 10_000 }, server: { forceCloseConnections: false } })
    const id = owner.app.sessionManager.create({}, { principal: 'ann' })
    await eventually(t, async () => await passing.app.sessionDirectory.count() === 1, 'it is in the directory')
    const reading = await call(passing, id, { method: 'GET', body: null, headers: { connection: 'close' } }, '/report')
    t.equal(owner.app.sessionManager.get(id)?.activeRequests, 1)
    await passing.app.close()
    t.equal(await reading.text(), 'onetwothree')
  })

  t.test('a request whose body comes when its session is elsewhere is not told that there is none', async (t) => {
    const addNode = createCluster(t, redisUrl)
    const [one, two] = [await addNode({ routes: cartRoutes }), await addNode({ routes: cartRoutes })]
    const id = one.app.sessionManager.create({}, { principal: 'ann' })
    const moved = createDeferred()
    const body = async function * (): AsyncGenerator<Uint8Array> {
      yield Buffer.from('{')
      await moved.promise
      yield Buffer.from('"item":"x"}')
    }
    const touched = one.app.sessionManager.get(id)?.lastAccessedAt ?? Infinity
    const upload = call(one, id, { body: ReadableStream.from(body()), duplex: 'half' })
    await eventually(t, async () => Number(one.app.sessionManager.get(id)?.lastAccessedAt) > touched, 'its headers are there')
    one.app.sessionManager.cleanup(id, 'moved')
    moved.resolve()
    t.equal((await upload).status, 502)
    t.equal((await call(two, id)).status, 200)
  })

  /** Has a node close while a call runs. What a new request to `/ready` is told meanwhile, and what is in the log. */
  async function requestWhileClosing (t: Test, server: FastifyServerOptions, body: string): Promise<{ status: number, warned: string[] }> {
    const [entered, answer] = [createDeferred<void>(), createDeferred<string>()]
    const node = await createCluster(t, redisUrl)({
      server,
      async routes (app) {
        app.get('/slow', { config: { mcpSession: 'required' } }, () => {
          entered.resolve()
          return answer.promise
        })
        // At once, without a promise between: as a refusal of Fastify's own.
        app.get('/ready', (_request, reply) => { reply.code(503).send(body) })
      }
    })
    const { app, url, log } = node
    const id = app.sessionManager.create({}, { principal: 'ann' })
    const slow = call(node, id, { method: 'GET', body: null }, '/slow')
    await entered.promise
    const closed = app.close()
    const { status } = await fetch(`${url}/ready`)
    await fetch(`${url}/ready`)
    answer.resolve('done')
    await slow
    await closed
    return { status, warned: log.map((line) => JSON.parse(line).code).filter((code) => String(code).startsWith('FST_WARN_')) }
  }

  t.test('a node that closes listens for as long as others come to it without asking who the owner is', async (t) => {
    const addNode = createCluster(t, redisUrl)
    const server = { return503OnClosing: false }
    const [one, two] = [await addNode({ routes: cartRoutes, server }), await addNode({ routes: cartRoutes })]
    const id = one.app.sessionManager.create({}, { principal: 'ann' })
    await eventually(t, async () => await two.app.sessionDirectory.count() === 1, 'recorded')
    t.equal((await call(two, id)).status, 200)
    const served = performance.now()
    let listenedUntil = served
    const clock = setInterval(() => { if (one.app.server.listening) listenedUntil = performance.now() }, 10)
    await one.app.close()
    clearInterval(clock)
    t.ok(listenedUntil - served > 950, `${listenedUntil - served} ms after it has answered the other one`)
    t.equal((await call(two, id)).status, 200)
  })

  t.test('a node that refuses requests while it hands its sessions over says so, once', async (t) => {
    t.strictSame(await requestWhileClosing(t, {}, 'stopping'), { status: 503, warned: ['FST_WARN_MCP_SESSION_REFUSED_WHILE_CLOSING'] })
    t.strictSame(await requestWhileClosing(t, { return503OnClosing: false }, 'stopping'), { status: 503, warned: [] }, 'an answer of the app is none')
  })

  t.test('a loopback address is warned of when Redis is on another machine', async (t) => {
    for (const [url, advertise, isWarned] of [[redisUrl, undefined, false], [redisUrl.replace('127.0.0.1', '0.0.0.0'), undefined, true], [redisUrl.replace('127.0.0.1', '0.0.0.0'), 'http://10.0.0.7:3000', false]] as const) {
      const { app, log } = await createCluster(t, url)({ cluster: { advertise } })
      await eventually(t, async () => app.mcp.readiness().isReady, 'it has joined')
      t.equal(log.filter((line) => line.includes('FST_WARN_MCP_SESSION_ADVERTISE')).length, isWarned ? 1 : 0, `${url} ${advertise}`)
    }
  })

  t.test('no room for a session that is taken over is a 503, and leaves it to others', async (t) => {
    const addNode = createCluster(t, redisUrl)
    const [one, full] = [await addNode({ routes: cartRoutes }), await addNode({ routes: cartRoutes, plugin: { maxSessions: 1 } })]
    const busy = full.app.sessionManager.create()
    full.app.sessionManager.acquire(busy)
    const id = one.app.sessionManager.create({}, { principal: 'ann' })
    await call(one, id)
    await one.app.close()
    const refused = await call(full, id)
    t.equal(refused.status, 503)
    t.equal(refused.headers.get('retry-after'), '5')
    const two = await addNode({ routes: cartRoutes })
    t.equal((await call(two, id)).status, 200)
  })

  t.test('sessions that were opened before the app listened can be reached', async (t) => {
    const addNode = createCluster(t, redisUrl)
    const two = await addNode({ routes: cartRoutes })
    let id = ''
    const one = await addNode({
      async routes (app) {
        await cartRoutes(app)
        app.addHook('onReady', async () => {
          id = app.sessionManager.create({ tag: 'early' }, { principal: 'ann' })
          await eventually(t, async () => await two.app.sessionDirectory.count() === 1, 'recorded before there is a port')
        })
      }
    })
    t.strictSame(await (await get(two, id)).json(), { principal: 'ann', tag: 'early' })
    t.equal(one.app.sessionManager.getActiveSessionCount(), 1)
  })

  t.test('metadata that are not JSON are logged', async (t) => {
    const addNode = createCluster(t, redisUrl)
    const one = await addNode()
    const loop: { self?: unknown } = {}
    loop.self = loop
    one.app.sessionManager.create({ loop })
    await eventually(t, async () => one.log.some((line) => line.includes('The metadata of a session is not JSON')), 'logged')
  })

  t.test('sessions that never expire stay in the directory', async (t) => {
    const addNode = createCluster(t, redisUrl)
    const one = await addNode({ plugin: { ttl: 0 } })
    one.app.sessionManager.create()
    await eventually(t, async () => await one.app.sessionDirectory.count() === 1, 'recorded')
    for (const key of await one.redis.keys('test-*session:*')) {
      if ((await one.redis.hget(key, 'createdAt')) === String(one.app.sessionManager.list()[0]?.createdAt)) t.equal(await one.redis.pttl(key), -1)
    }
  })

  t.test('a session that is used stays in the directory longer than a ttl', async (t) => {
    const addNode = createCluster(t, redisUrl)
    const one = await addNode({ plugin: { ttl: 1000 } })
    const id = one.app.sessionManager.create()
    one.app.sessionManager.acquire(id)
    await sleep(1500)
    t.equal(await one.app.sessionDirectory.count(), 1)
  })
})

t.test('an outage shorter than the lease is logged, and its end, and the next one', needsRedisServer(), async (t) => {
  const server = await RedisServer.start()
  t.teardown(() => server.kill())
  const { stream, lines } = captureLog()
  await createCluster(t, server.url)({ cluster: { lease: 1500 }, server: { logger: { level: 'info', stream } } })
  const count = (text: string): number => lines.filter((line) => line.includes(text)).length
  for (const round of [1, 2]) {
    server.freeze()
    await eventually(t, async () => count('does not answer') === round, 'it is away')
    server.thaw()
    await eventually(t, async () => count('answers again') === round, 'it is back')
  }
})

t.test('while Redis is away', needsRedisServer(), async (t) => {
  const server = await RedisServer.start()
  t.teardown(() => server.kill())
  const addNode = createCluster(t, server.url)
  const one = await addNode({ routes: cartRoutes, cluster: { lease: 3000 } })
  const id = one.app.sessionManager.create({}, { principal: 'ann' })
  t.equal((await call(one, id)).status, 200)
  server.freeze()
  t.equal((await get(one, id)).status, 200, 'what lives here is served')
  const unwritten = await call(one, id)
  t.equal(unwritten.status, 503, 'but a client is told of no change that could be lost')
  t.equal(unwritten.headers.get('retry-after'), '1')
  const unknown = await call(one, 'elsewhere')
  t.equal(unknown.status, 503)
  t.equal(unknown.headers.get('retry-after'), '1')
  const deleted = one.app.sessionManager.create({}, { principal: 'ann' })
  one.app.sessionManager.cleanup(id)
  await sleep(3000)
  t.equal((await get(one, deleted)).status, 503, 'the lease is over')
  t.equal(one.log.filter((line) => line.includes('does not answer')).length, 1, 'logged once')
  server.thaw()
  await eventually(t, async () => (await call(one, deleted)).status === 200, 'and goes on when it is back')
  t.equal((await call(one, id)).status, 404, 'what has ended meanwhile does not come back')
  await eventually(t, async () => await one.app.sessionDirectory.count() === 1, 'nor stays')

  await server.kill()
  // Tenths of a second, as this process has been able to run: what it waits for comes late on a busy machine, and so do they.
  let tenths = 0
  const clock = setInterval(() => tenths++, 100)
  const { mock: flush } = mock.method(Outbox.prototype, 'flush')
  t.teardown(() => mock.restoreAll())
  await one.app.close()
  clearInterval(clock)
  t.equal(flush.callCount(), 1, 'it tries once to hand over what it has')
  t.ok(tenths < 45, `closing takes no longer than a few timeouts: ${tenths} tenths of a second`)
})
