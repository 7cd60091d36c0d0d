// How nodes reach each other, and what becomes of requests where they do not: apps in this process, over one Redis.
import type { FastifyInstance } from 'fastify'
import { once } from 'node:events'
import http, { type Server } from 'node:http'
import { createServer as createHttp2Server } from 'node:http2'
import https from 'node:https'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { Agent } from 'undici'
import { certificate, key } from '../fixtures/test-certificate.js'
import { createCluster, type ClusterApp } from '../helpers/cluster/cluster-apps.js'
import { freePort, needsRedis, startRedis } from '../helpers/redis/redis-server.js'
import { createDeferred } from '../helpers/waiting/deferred.js'
import { until } from '../helpers/waiting/until.js'

t.setTimeout(120_000)

const LEASE = 300
const UNREACHABLE = 'FST_ERR_MCP_SESSION_OWNER_UNREACHABLE'
const MISDIRECTED = 'FST_ERR_MCP_SESSION_MISDIRECTED'

async function routes (app: FastifyInstance): Promise<void> {
  app.get('/who', async ({ ip, protocol, host, ips }) => ({ ip, protocol, host, ips: ips ?? null }))
  app.post('/echo', async ({ body }) => ({ body }))
}

/** Opens a session that the whole cluster knows. */
async function open ({ app }: ClusterApp, principal?: string): Promise<string> {
  const id = app.sessionManager.create({}, { principal })
  while (await app.sessionDirectory.count() === 0) await sleep(5)
  return id
}

async function get (url: string, id: string, headers: Record<string, string> = {}): Promise<{ status: number, body: unknown, code: unknown }> {
  const response = await fetch(`${url}/who`, { headers: { 'mcp-session-id': id, ...headers } })
  const body: { error?: { data?: { code?: unknown } } } = JSON.parse(await response.text())
  return { status: response.status, body, code: body.error?.data?.code }
}

function send (url: string, id: string): Promise<Response> {
  return fetch(`${url}/echo`, { method: 'POST', headers: { 'mcp-session-id': id, 'content-type': 'application/json' }, body: '{"a":1}' })
}

async function post (url: string, id: string): Promise<number> {
  const response = await send(url, id)
  await response.text()
  return response.status
}

function portOf (server: Pick<Server, 'address'>): number {
  const address = server.address()
  return typeof address === 'object' && address !== null ? address.port : 0
}

/** Counts the requests that come to a server, without the questions of nodes whether it is there. */
function count (server: FastifyInstance['server']): () => number {
  let requests = 0
  server.prependListener('request', ({ url }) => { if (url !== '/mcp-session-hops') requests++ })
  return () => requests
}

/** The lines of a log about how nodes reach each other. */
function troubles ({ log }: ClusterApp): Array<{ url?: string, msg: string, err?: { message: string, code?: string } }> {
  return log.map((line) => JSON.parse(line)).filter(({ level, msg }) => level === 50 && /advertise/.test(msg))
}

async function listen (t: Test, server: Server): Promise<string> {
  server.listen(0, '127.0.0.1')
  t.teardown(() => { server.close().closeAllConnections() })
  await once(server, 'listening')
  return `http://127.0.0.1:${portOf(server)}`
}

t.test('on one Redis', needsRedis(), async (t) => {
  const { url: redisUrl, stop } = await startRedis()
  t.teardown(stop)

  t.test('a node that advertises the URL of another: refused at the first hop, and said once', async (t) => {
    const addNode = createCluster(t, redisUrl)
    const cluster = { lease: LEASE }
    const other = await addNode({ routes, cluster })
    const wrong = await addNode({ routes, cluster: { lease: LEASE, advertise: other.url } })
    const third = await addNode({ routes, cluster })
    const id = await open(wrong)
    // Until then the others may take it for one that was there before, and has died.
    await sleep(LEASE + 50)
    const requests = count(other.app.server)
    for (let i = 0; i < 2; i++) t.equal((await get(other.url, id)).code, MISDIRECTED)
    t.equal(requests(), 2, 'nothing is passed on to itself')
    for (let i = 0; i < 2; i++) t.equal((await get(third.url, id)).code, MISDIRECTED)
    t.equal(requests(), 4, 'nor further')
    for (const node of [other, third]) {
      t.match(troubles(node), [{ url: other.url, msg: /leads to another node/ }])
      t.equal(troubles(node).length, 1)
    }
    t.equal((await get(wrong.url, id)).status, 200)
  })

  t.test('nodes that advertise each other', async (t) => {
    const addNode = createCluster(t, redisUrl)
    const one = await addNode({ routes, cluster: { lease: LEASE } })
    const two = await addNode({ routes, cluster: { lease: LEASE, advertise: one.url } })
    const three = await addNode({ routes, cluster: { lease: LEASE, advertise: two.url } })
    const requests = count(two.app.server)
    const id = await open(three)
    await sleep(LEASE + 50)
    t.equal((await get(one.url, id)).code, MISDIRECTED)
    t.equal(requests(), 1)
  })

  t.test('an owner that lives and cannot be reached', async (t) => {
    const plain = await listen(t, http.createServer((_req, res) => { res.end() }))
    const places: Array<[what: string, url: string, cause: RegExp]> = [
      ['refused', `http://127.0.0.1:${await freePort()}`, /ECONNREFUSED/],
      ['an unknown name', 'http://no-such-node.invalid:3000', /ENOTFOUND|EAI_AGAIN/],
      ['the wrong protocol', plain.replace('http:', 'https:'), /SSL|EPROTO|wrong version/i]
    ]
    for (const [what, advertise, cause] of places) {
      const addNode = createCluster(t, redisUrl)
      const owner = await addNode({ routes, cluster: { lease: LEASE, advertise } })
      const other = await addNode({ routes, cluster: { lease: LEASE } })
      const id = await open(owner)
      const started = performance.now()
      t.strictSame(await Promise.all([get(other.url, id).then(({ code }) => code), post(other.url, id)]), [UNREACHABLE, 503], what)
      t.ok(performance.now() - started < LEASE + 2500, 'as soon as its session could have been taken over')
      const again = performance.now()
      t.equal((await get(other.url, id)).code, UNREACHABLE)
      t.ok(performance.now() - again < 1000, 'then at once')
      t.match(troubles(other), [{ url: advertise, msg: /cannot be reached/ }])
      t.match(JSON.stringify(troubles(other)[0]?.err), cause)
      t.equal(troubles(other).length, 1, 'which is said once')
      t.equal((await get(owner.url, id)).status, 200)
    }
  })

  t.test('an owner that speaks HTTP/2 alone may have got what it was sent, and the log says why it is not answered', async (t) => {
    const addNode = createCluster(t, redisUrl)
    const http2 = createHttp2Server().listen(0, '127.0.0.1')
    t.teardown(() => http2.close())
    await once(http2, 'listening')
    const owner = await addNode({ routes, cluster: { advertise: `http://127.0.0.1:${portOf(http2)}` } })
    const other = await addNode({ routes })
    const id = await open(owner)
    t.equal(await post(other.url, id), 502)
    t.equal(await post(other.url, id), 502)
    t.equal(other.log.filter((line) => /broken off.*HTTP\/1\.1|HTTP\/1\.1.*broken off/.test(line)).length, 1)
  })

  t.test('a certificate that nobody knows: until a dispatcher does', async (t) => {
    const addNode = createCluster(t, redisUrl)
    const owner = await addNode({ routes, cluster: { lease: LEASE }, server: { serverFactory: (handler) => https.createServer({ key, cert: certificate }, handler) } })
    const id = await open(owner)
    const wary = await addNode({ routes, cluster: { lease: LEASE } })
    t.equal((await get(wary.url, id)).code, UNREACHABLE)
    t.match(troubles(wary), [{ url: /^https:/, err: { message: /self-signed certificate/ } }])
    const dispatcher = new Agent({ connect: { ca: certificate } })
    t.teardown(() => dispatcher.destroy())
    const knowing = await addNode({ routes, cluster: { lease: LEASE, dispatcher } })
    t.match(await get(knowing.url, id), { status: 200, body: { protocol: 'http' } })
    t.equal(await post(knowing.url, id), 200)
    await knowing.app.close()
    t.equal(dispatcher.closed, false, 'which stays the app\'s')
  })

  t.test('something else at the address of the owner does not answer for it', async (t) => {
    const addNode = createCluster(t, redisUrl)
    let requests = 0
    const advertise = await listen(t, http.createServer((_req, res) => {
      requests++
      res.writeHead(404).end('Not found')
    }))
    const owner = await addNode({ routes, cluster: { lease: LEASE, advertise } })
    const other = await addNode({ routes, cluster: { lease: LEASE } })
    const id = await open(owner)
    const response = await send(other.url, id)
    t.equal(response.status, 503)
    t.match(await response.text(), /may or may not have been carried out/)
    t.equal(requests, 1, 'nobody knows what it has done with the request')
    t.equal((await get(other.url, id)).code, UNREACHABLE)
    t.match(troubles(other), [{ url: advertise, err: { message: /no node of this cluster: it says 404/ } }])
    t.equal(troubles(other).length, 1)
  })

  t.test('an owner knows who is calling as the first node did, whatever it trusts', async (t) => {
    const headers = { 'x-forwarded-for': '203.0.113.7', 'x-forwarded-proto': 'https', 'x-forwarded-host': 'api.example.com' }
    const trusts = [false, true, '127.0.0.1', '10.0.0.0/8'] as const
    for (const first of trusts) {
      for (const then of trusts) {
        const addNode = createCluster(t, redisUrl)
        const limit = { identify: ({ ip }: { ip: string }) => ip }
        const owner = await addNode({ routes, plugin: limit, server: { trustProxy: then } })
        const other = await addNode({ routes, plugin: limit, server: { trustProxy: first } })
        const isTrusted = first === true || first === '127.0.0.1'
        const known = isTrusted ? { ip: '203.0.113.7', protocol: 'https', host: 'api.example.com' } : { ip: '127.0.0.1', protocol: 'http', host: new URL(other.url).host }
        const id = await open(owner, known.ip)
        t.match(await get(other.url, id, headers), { status: 200, body: known }, `${first}, ${then}`)
        await Promise.all([owner.app.close(), other.app.close()])
      }
    }
  })

  t.test('a node that passes a request on is not taken for a proxy which is not trusted', async (t) => {
    const addNode = createCluster(t, redisUrl)
    const [one, two] = [await addNode({ routes }), await addNode({ routes })]
    t.equal((await get(two.url, await open(one))).status, 200)
    t.notMatch([...one.log, ...two.log].join(), 'TRUST_PROXY')
    t.equal((await get(two.url, await open(one), { 'x-forwarded-for': '10.0.0.1' })).status, 200)
    t.match(two.log.join(), 'TRUST_PROXY')
  })

  t.test('what comes to another server of the app than the first, as Fastify has for a name with two addresses', async (t) => {
    const addNode = createCluster(t, redisUrl)
    const apps: FastifyInstance[] = []
    const advertise = await listen(t, http.createServer((req, res) => { apps[0]?.routing(req, res) }))
    const owner = await addNode({ routes, cluster: { advertise } })
    apps.push(owner.app)
    const other = await addNode({ routes })
    t.match(await get(other.url, await open(owner)), { status: 200, body: { host: new URL(other.url).host } })
  })

  t.test('a node that closes leaves no request unanswered that others go on passing on to it', async (t) => {
    const addNode = createCluster(t, redisUrl)
    const routes = async (app: FastifyInstance): Promise<void> => {
      app.post('/count', { config: { mcpSession: 'required' } }, async () => '')
    }
    const owner = await addNode({ routes, server: { return503OnClosing: false } })
    const other = await addNode({ routes })
    const ids = Array.from({ length: 60 }, () => owner.app.sessionManager.create())
    await until(async () => await other.app.sessionDirectory.count() === ids.length, 'all are in the directory')
    const post = async (id: string): Promise<number> => {
      const headers = { 'mcp-session-id': id, 'content-type': 'application/json' }
      return (await fetch(`${other.url}/count`, { method: 'POST', body: '{}', headers })).status
    }
    // From now on it remembers for a second whose they are, and a node is slow to hear that another leaves.
    t.strictSame(new Set(await Promise.all(ids.map(post))), new Set([200]))
    const closed = new AbortController()
    const closing = owner.app.close().then(() => closed.abort())
    const statuses: Array<Promise<number>> = []
    for (let n = 0; !closed.signal.aborted; n++) {
      statuses.push(post(String(ids[n % ids.length])))
      await sleep(5)
    }
    await closing
    t.strictSame(new Set(await Promise.all(statuses)), new Set([200]), `of ${statuses.length}`)
  })

  t.test('a forwarded answer that the app has hijacked or refused is the owner\'s', async (t) => {
    const addNode = createCluster(t, redisUrl)
    const own = async (app: FastifyInstance): Promise<void> => {
      app.get('/who', async (_request, reply) => {
        reply.hijack()
        reply.raw.writeHead(200, { 'content-type': 'application/json' }).end('{"hijacked":true}')
      })
    }
    const owner = await addNode({ routes: own })
    const other = await addNode({ routes: own })
    const id = await open(owner)
    t.match(await get(other.url, id), { status: 200, body: { hijacked: true } })
    t.strictSame(troubles(other), [])
  })

  t.test('what is passed on goes on when Redis loses all data, for as long as it takes', async (t) => {
    const addNode = createCluster(t, redisUrl)
    const slow = createDeferred<string>()
    const own = async (app: FastifyInstance): Promise<void> => { app.post('/echo', () => slow.promise) }
    const cluster = { lease: LEASE }
    const [owner, other] = [await addNode({ routes: own, cluster }), await addNode({ routes: own, cluster })]
    const id = await open(owner)
    const before = owner.app.sessionDirectory.node
    const running = post(other.url, id)
    await until(() => owner.app.sessionManager.get(id)?.activeRequests === 1, 'the owner has it')
    await owner.redis.del(await owner.redis.keys(`${owner.prefix}*`))
    await until(() => owner.app.sessionDirectory.node !== before, 'the owner has another lease')
    await sleep(3 * LEASE)
    slow.resolve('late')
    t.equal(await running, 200)
  })

  t.test('HEAD says the length of what GET would bring', async (t) => {
    const addNode = createCluster(t, redisUrl)
    const [owner, other] = [await addNode({ routes }), await addNode({ routes })]
    const id = await open(owner)
    const lengths = await Promise.all([owner, other].map(async ({ url }) => {
      const response = await fetch(`${url}/who`, { method: 'HEAD', headers: { 'mcp-session-id': id } })
      return response.headers.get('content-length')
    }))
    t.match(lengths[0], /^[1-9]/)
    t.equal(lengths[1], lengths[0])
  })

  t.test('a head that is too large for the owner', async (t) => {
    const addNode = createCluster(t, redisUrl)
    const [owner, other] = [await addNode({ routes }), await addNode({ routes })]
    Object.assign(owner.app.server, { maxHeaderSize: 2048 })
    const id = await open(owner)
    const response = await fetch(`${other.url}/who`, { headers: { 'mcp-session-id': id, 'x-large': 'x'.repeat(2000) } })
    t.match(await response.json(), { statusCode: 431 })
    t.equal(response.status, 431)
    t.strictSame(troubles(other), [])
  })

  t.test('a body that is too large for the owner, and for the buffers of a connection', async (t) => {
    const addNode = createCluster(t, redisUrl)
    const server = { bodyLimit: 100_000 }
    const [owner, other] = [await addNode({ routes, server }), await addNode({ routes, server })]
    const headers = { 'mcp-session-id': await open(owner), 'content-type': 'application/json', 'content-length': 8_000_000 }
    const request = http.request(`${other.url}/echo`, { method: 'POST', headers })
    request.on('error', () => {})
    request.end(Buffer.alloc(8_000_000, 32))
    const [response] = await once(request, 'response')
    t.equal(response.statusCode, 413)
    request.destroy()
  })
})
