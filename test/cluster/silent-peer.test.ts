// Ways between nodes that are silent, while both nodes live: real sockets, through a link that swallows what is sent.
import type { FastifyInstance } from 'fastify'
import type { ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { createGzip } from 'node:zlib'
import t, { type Test } from 'tap'
import { Agent } from 'undici'
import { TcpLink } from '../chaos/tcp-link.js'
import { createCluster, type ClusterApp, type ClusterAppOptions } from '../helpers/cluster/cluster-apps.js'
import { freePort, needsRedis, startRedis } from '../helpers/redis/redis-server.js'

t.setTimeout(120_000)

const LEASE = 1000
// In which what cannot be answered must have failed, and what this machine may be late.
const LATEST = LEASE + 1000 + 500
const PING_PATH = '/mcp-session-hops'
const UNREACHABLE = 'FST_ERR_MCP_SESSION_OWNER_UNREACHABLE'
const PERHAPS = 'The node that serves the session cannot be reached. The request may or may not have been carried out'

interface Answer {
  status: number
  text: string
  took: number
}

interface Scene {
  owner: ClusterApp
  other: ClusterApp
  /** The way from the other node to the owner. */
  link: TcpLink
  /** Calls at the other node; the owner answers after that many milliseconds, with so many bytes. */
  call: (after?: number, bytes?: number) => Promise<Answer>
  /** Opens a stream at the other node, of which the owner says that it is packed like that: resolves when it is open. */
  listen: (encoding?: string) => Promise<Response>
  /** What the owner writes to the streams that were opened, in turn. */
  streams: ServerResponse[]
  /** How many calls have begun. */
  begun: () => number
  /** What the owner was asked for, in turn. */
  asked: string[]
}

async function scene (t: Test, redisUrl: string, { routes, cluster }: ClusterAppOptions = {}): Promise<Scene> {
  const addNode = createCluster(t, redisUrl)
  const port = await freePort()
  const link = await TcpLink.to(port)
  t.teardown(() => link.close())
  let begun = 0
  const streams: ServerResponse[] = []
  const addRoutes = async (app: FastifyInstance): Promise<void> => {
    await routes?.(app)
    app.post<{ Body: { after: number, bytes: number } }>('/call', async ({ body: { after, bytes } }) => {
      begun++
      await sleep(after, undefined, { ref: false })
      return 'x'.repeat(bytes)
    })
    app.get<{ Querystring: { encoding?: string } }>('/stream', ({ query: { encoding } }, reply) => {
      reply.hijack()
      reply.raw.writeHead(200, { 'content-type': 'text/event-stream', ...(encoding !== undefined && { 'content-encoding': encoding }) }).flushHeaders()
      streams.push(reply.raw)
    })
  }
  const owner = await addNode({ routes: addRoutes, port, cluster: { lease: LEASE, ...cluster, advertise: `http://127.0.0.1:${link.port}` } })
  const other = await addNode({ routes: addRoutes, cluster: { lease: LEASE, ...cluster } })
  const id = owner.app.sessionManager.create()
  while (await owner.app.sessionDirectory.count() === 0) await sleep(5)
  const asked: string[] = []
  owner.app.server.prependListener('request', ({ url = '' }) => { asked.push(url) })
  const headers = { 'mcp-session-id': id, 'x-key': 'known' }
  return {
    owner,
    other,
    link,
    asked,
    streams,
    begun: () => begun,
    async call (after = 0, bytes = 4) {
      const sent = performance.now()
      const response = await fetch(`${other.url}/call`, {
        method: 'POST', headers: { ...headers, 'content-type': 'application/json' }, body: JSON.stringify({ after, bytes })
      })
      const text = await response.text()
      return { status: response.status, text, took: performance.now() - sent }
    },
    listen: (encoding) => fetch(`${other.url}/stream${encoding === undefined ? '' : `?encoding=${encoding}`}`, { headers })
  }
}

/** What the log says of nodes that cannot be reached. */
function troubles ({ log }: ClusterApp): Array<{ url: string, msg: string, err: { message: string } }> {
  return log.map((line) => JSON.parse(line)).filter(({ level, url }) => level === 50 && url !== undefined)
}

async function until (check: () => boolean): Promise<void> {
  while (!check()) await sleep(5)
}

t.test('on one Redis', needsRedis(), async (t) => {
  const { url: redisUrl, stop } = await startRedis()
  t.teardown(stop)

  t.test('a silent way to an owner that lives: every call fails in time, and the log says why, once', async (t) => {
    const { call, link, listen, other } = await scene(t, redisUrl)
    t.equal((await call()).status, 200)
    const stream = await listen()
    const before = call(60_000)
    await sleep(LEASE / 2)
    link.silence()
    const silentSince = performance.now()
    const answers = await Promise.all([call(), sleep(LEASE / 2).then(() => call()), sleep(LEASE).then(() => call())])
    for (const { status, text, took } of answers) {
      t.equal(status, 503)
      t.match(JSON.parse(text), { error: { message: PERHAPS, data: { code: UNREACHABLE } } })
      t.ok(took < LATEST, `after ${Math.round(took)} ms`)
    }
    t.equal((await before).status, 503, 'also a call that was running')
    await t.rejects(stream.text(), 'and a stream breaks')
    t.ok(performance.now() - silentSince < 2 * LATEST)
    t.match(troubles(other), [{ msg: /does not answer this one/, err: { message: /has not answered within/ } }])
    t.equal(troubles(other).length, 1)
    link.open()
    t.equal((await call()).status, 200)
  })

  t.test('what takes long on a way that is well is left alone, whatever hooks of the app say to the question', async (t) => {
    const { call, listen, asked, begun } = await scene(t, redisUrl, {
      async routes (app) {
        app.addHook('onRequest', async ({ headers }, reply) => {
          if (headers['x-key'] !== 'known') return reply.code(401).send('who are you?')
        })
      }
    })
    const stream = await listen()
    const answers = await Promise.all([call(3 * LEASE), call(3 * LEASE)])
    t.strictSame(answers.map(({ status }) => status), [200, 200])
    t.equal(begun(), 2)
    const reader = stream.body?.getReader()
    t.equal(await Promise.race([reader?.read().then(() => 'over'), sleep(50).then(() => 'open')]), 'open')
    const pings = asked.filter((url) => url === PING_PATH).length
    t.ok(pings >= 10 && pings < 60, `${pings} questions`)
    await reader?.cancel()
    await sleep(LEASE / 5)
    const last = asked.length
    await sleep(LEASE)
    t.equal(asked.length, last, 'without anything open there are none')
  })

  t.test('one connection is dead, and the node answers on others', async (t) => {
    const { call, link, other, begun } = await scene(t, redisUrl)
    const running = call(LEASE / 2)
    await until(() => begun() === 1)
    link.strand()
    const { status, text, took } = await running
    t.equal(status, 503, 'an answer that is lost')
    t.match(JSON.parse(text), { error: { message: PERHAPS, data: { code: UNREACHABLE } } })
    t.ok(took < LEASE / 2 + LATEST, `after ${Math.round(took)} ms`)
    t.match(troubles(other), [{ err: { message: /connection is dead/ } }])

    t.equal((await call()).status, 200)
    link.strand()
    const answers = await Promise.all(Array.from({ length: 10 }, () => call()))
    const lost = answers.filter(({ status }) => status === 503)
    const fine = answers.filter(({ status }) => status === 200)
    t.ok(lost.length > 0 && lost.every(({ took }) => took < LATEST), `requests on connections that had died before: ${lost.map(({ took }) => Math.round(took)).join()} ms`)
    t.ok(fine.length > 0 && Math.max(...fine.map(({ took }) => took)) < Math.min(...lost.map(({ took }) => took)), 'those on others do not wait for them')
    t.equal(fine.length + lost.length, 10)
    t.equal(begun(), 2 + fine.length, 'and the owner never got them')
  })

  t.test('the connection of a stream dies, which its owner holds open', async (t) => {
    const { call, link, listen, other, streams } = await scene(t, redisUrl)
    const [quiet, lost] = [await listen(), await listen()]
    const readers = [quiet, lost].map(({ body }) => body?.getReader())
    const read = async (index: number): Promise<string> => Buffer.from((await readers[index]?.read())?.value ?? []).toString()
    for (const stream of streams) stream.write('data: one\n\n')
    t.strictSame([await read(0), await read(1)], ['data: one\n\n', 'data: one\n\n'])
    link.strand()
    streams[1]?.write('data: two\n\n')
    const next = [0, 1].map((index) => read(index).catch(({ message }: Error) => message))
    const sent = performance.now()
    t.equal(await next[1], 'terminated')
    t.ok(performance.now() - sent < LATEST, `after ${Math.round(performance.now() - sent)} ms`)
    t.match(troubles(other), [])
    t.equal((await call(LEASE)).status, 200, 'other connections are left alone')
    t.equal(await Promise.race([next[0], sleep(50, 'open')]), 'open', 'so is a stream that has missed nothing')
    const sentLate = performance.now()
    streams[0]?.write('data: two, and longer, with ümlauts\n\n', 'utf8')
    t.equal(await next[0], 'terminated', 'until it does')
    t.ok(performance.now() - sentLate < LATEST, `after ${Math.round(performance.now() - sentLate)} ms`)
  })

  t.test('the connection of a stream dies that its owner packs', async (t) => {
    const { link, listen, streams } = await scene(t, redisUrl)
    const stream = await listen('gzip')
    const packer = createGzip()
    packer.on('data', (chunk) => streams[0]?.write(chunk))
    const reader = stream.body?.getReader()
    packer.write('data: one\n\n')
    packer.flush()
    t.equal(Buffer.from((await reader?.read())?.value ?? []).toString(), 'data: one\n\n')
    link.strand()
    packer.write('data: two\n\n')
    packer.flush()
    const sent = performance.now()
    await t.rejects(async () => reader?.read(), { message: 'terminated' })
    t.ok(performance.now() - sent < LATEST, `after ${Math.round(performance.now() - sent)} ms`)
  })

  t.test('the connection of an answer dies that is larger than what the system keeps for it', async (t) => {
    const { call, link, begun } = await scene(t, redisUrl)
    const running = call(LEASE / 2, 50_000_000)
    await until(() => begun() === 1)
    link.strand()
    const { status, took } = await running
    t.equal(status, 503)
    t.ok(took < LEASE / 2 + LATEST, `after ${Math.round(took)} ms`)
  })

  t.test('a client that does not read misses nothing', async (t) => {
    const { listen, streams } = await scene(t, redisUrl)
    const stream = await listen()
    const event = `data: ${'x'.repeat(1_000_000)}\n\n`
    for (let i = 0; i < 30; i++) streams[0]?.write(event)
    await sleep(3 * LEASE)
    streams[0]?.end()
    t.equal((await stream.text()).length, 30 * event.length)
  })

  t.test('a dispatcher that has no connection to spare says nothing about the owner', async (t) => {
    const dispatcher = new Agent({ connections: 1 })
    t.teardown(() => dispatcher.destroy())
    const { call, other } = await scene(t, redisUrl, { cluster: { dispatcher } })
    t.equal((await call(3 * LEASE)).status, 200)
    t.strictSame(troubles(other), [])
  })

  t.test('nobody but a node is answered', async (t) => {
    const { other } = await scene(t, redisUrl)
    for (const headers of [{}, { 'mcp-session-forwarded': 'made up', 'mcp-session-hops': 'a,b' }]) {
      const response = await fetch(`${other.url}${PING_PATH}`, { headers })
      await response.text()
      t.equal(response.status, 404)
      t.equal(response.headers.get('mcp-session-hops'), null)
    }
  })
})
