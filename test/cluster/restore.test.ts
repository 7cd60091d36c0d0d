// A session with a live MCP server that comes to another node: endpoints of several apps over one Redis.
import { Server } from '@modelcontextprotocol/sdk/server/index.js'
import {
  CallToolRequestSchema, SetLevelRequestSchema, SubscribeRequestSchema, UnsubscribeRequestSchema
} from '@modelcontextprotocol/sdk/types.js'
import type { FastifyInstance } from 'fastify'
import { once } from 'node:events'
import { request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { mcpEndpoint } from '../../index.js'
import type { CreateServerContext, SessionEndpointOptions } from '../../lib/endpoint/options.js'
import { serveSession } from '../../lib/testing/index.js'
import { createCluster, type ClusterApp, type ClusterAppOptions } from '../helpers/cluster/cluster-apps.js'
import { needsRedis, needsRedisServer, RedisServer, startRedis } from '../helpers/redis/redis-server.js'
import { until } from '../helpers/waiting/until.js'

t.setTimeout(120_000)

interface Built {
  restored: boolean
  /** What the client has said to this server, or another one for it. */
  heard: string[]
  server: Server
}

interface Node extends ClusterApp {
  built: Built[]
}

const INITIALIZE = {
  protocolVersion: '2025-06-18',
  capabilities: { elicitation: { form: {} }, roots: { listChanged: true } },
  clientInfo: { name: 'tester', version: '1.2.3' }
}

function buildServer (app: FastifyInstance, { session, restored }: CreateServerContext): Built {
  const server = new Server({ name: 'counter', version: '1' }, { capabilities: { tools: {}, logging: {}, resources: { subscribe: true } } })
  const heard: string[] = []
  server.oninitialized = () => { heard.push('initialized') }
  server.setRequestHandler(SetLevelRequestSchema, ({ params }) => {
    heard.push(params.level)
    return {}
  })
  server.setRequestHandler(SubscribeRequestSchema, ({ params }) => {
    heard.push(`+${params.uri}`)
    return {}
  })
  server.setRequestHandler(UnsubscribeRequestSchema, ({ params }) => {
    heard.push(`-${params.uri}`)
    return {}
  })
  server.setRequestHandler(CallToolRequestSchema, async (request, { sendNotification }) => {
    if (request.params.name === 'slow') await sleep(60_000, undefined, { ref: false })
    const count = Number(session.metadata?.['count'] ?? 0) + 1
    app.sessionManager.update(session.id, { count })
    await sendNotification({ method: 'notifications/message', params: { level: 'emergency', data: count } })
    return { content: [{ type: 'text', text: `${count} ${JSON.stringify(server.getClientCapabilities())} ${server.getClientVersion()?.name}` }] }
  })
  return { restored, heard, server }
}

function createNodes (t: Test, redisUrl: string): (endpoint?: Partial<SessionEndpointOptions>, options?: ClusterAppOptions) => Promise<Node> {
  const addNode = createCluster(t, redisUrl)
  return async (endpoint = {}, options = {}) => {
    const built: Built[] = []
    const node = await addNode({
      ...options,
      async routes (app) {
        await options.routes?.(app)
        await app.register(mcpEndpoint, {
          createServer (context) {
            const one = buildServer(app, context)
            built.push(one)
            return one.server
          },
          ...endpoint
        })
      }
    })
    return { ...node, built }
  }
}

function send ({ url }: Node, id: string | null, message: object, init: RequestInit = {}): Promise<Response> {
  return fetch(`${url}/mcp`, {
    method: 'POST',
    body: JSON.stringify({ jsonrpc: '2.0', ...message }),
    ...init,
    headers: {
      ...(init.body !== null && { 'content-type': 'application/json' }),
      accept: 'application/json, text/event-stream',
      authorization: 'ann',
      ...(id !== null && { 'mcp-session-id': id }),
      ...init.headers
    }
  })
}

/** Asks for nothing under a name of its own; the status of the answer. */
async function knock ({ url }: Node, id: string, headers: Record<string, string>): Promise<number | undefined> {
  const ping = request(`${url}/mcp`, {
    method: 'POST',
    agent: false,
    headers: { accept: 'application/json, text/event-stream', 'content-type': 'application/json', authorization: 'ann', 'mcp-session-id': id, ...headers }
  })
  ping.end(JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'ping' }))
  const [response] = await once(ping, 'response')
  response.resume()
  return response.statusCode
}

async function initialize (node: Node): Promise<string> {
  const response = await send(node, null, { id: 1, method: 'initialize', params: INITIALIZE })
  await response.text()
  return String(response.headers.get('mcp-session-id'))
}

async function count (node: Node, id: string, requestId: number | string = 7): Promise<string> {
  const response = await send(node, id, { id: requestId, method: 'tools/call', params: { name: 'count', arguments: {} } })
  const body = await response.text()
  return /"text":"(.*?)"\}\]/.exec(body)?.[1]?.replaceAll('\\"', '"') ?? `${response.status} ${body}`
}

async function shakeHands (node: Node): Promise<string> {
  const id = await initialize(node)
  for (const message of [
    { method: 'notifications/initialized' },
    { id: 2, method: 'logging/setLevel', params: { level: 'warning' } },
    { id: 3, method: 'logging/setLevel', params: { level: 'no level' } },
    { id: 4, method: 'resources/subscribe', params: { uri: 'a:1' } },
    { id: 5, method: 'resources/subscribe', params: { uri: 'a:2' } },
    { id: 6, method: 'resources/unsubscribe', params: { uri: 'a:1' } }
  ]) await (await send(node, id, message)).text()
  return id
}

t.test('on one Redis', needsRedis(), async (t) => {
  const { url: redisUrl, stop } = await startRedis()
  t.teardown(stop)

  for (const responseMode of ['sse', 'json'] as const) {
    t.test(`the new owner hears all that the client had said, once: ${responseMode === 'json' ? 'JSON' : 'SSE'}`, async (t) => {
      const addNode = createNodes(t, redisUrl)
      const [one, two] = [await addNode({ responseMode }), await addNode({ responseMode })]
      const id = await shakeHands(one)
      const capabilities = JSON.stringify(INITIALIZE.capabilities)
      t.equal(await count(one, id), `1 ${capabilities} tester`)
      t.equal(await count(two, id), `2 ${capabilities} tester`, 'passed on')
      t.equal(two.built.length, 0)
      await one.app.close()

      const counts = await Promise.all(Array.from({ length: 8 }, (_, i) => count(two, id, `c${i}`)))
      t.strictSame(counts.sort(), Array.from({ length: 8 }, (_, i) => `${i + 3} ${capabilities} tester`).sort())
      t.equal(two.built.length, 1)
      t.match(two.built[0], { restored: true, heard: ['initialized', 'warning', '+a:2'] })
      t.match(two.app.sessionManager.get(id), { principal: 'ann', clientInfo: INITIALIZE.clientInfo, protocolVersion: '2025-06-18', metadata: { count: 10 } })
    })
  }

  for (const responseMode of ['sse', 'json'] as const) {
    t.test(`a new server that does not answer all does not hold the session up: ${responseMode === 'json' ? 'JSON' : 'SSE'}`, async (t) => {
      const addNode = createNodes(t, redisUrl)
      const one = await addNode({ responseMode })
      const two: Node = await addNode({
        responseMode,
        createServer (context) {
          const built = buildServer(two.app, context)
          built.server.setRequestHandler(SetLevelRequestSchema, ({ params }) => {
            built.heard.push(params.level)
            return new Promise(() => {})
          })
          two.built.push(built)
          return built.server
        }
      })
      const id = await shakeHands(one)
      await one.app.close()
      const sent = performance.now()
      t.match(await count(two, id), /^1 /)
      t.ok(performance.now() - sent < 3000, `after ${performance.now() - sent} ms`)
      t.match(two.built, [{ heard: ['initialized', 'warning', '+a:2'] }], 'and it has heard all')
      t.equal(two.log.filter((line) => line.includes('"unanswered":["logging/setLevel"')).length, 1)
    })
  }

  t.test('a client with too many subscriptions keeps the last ones, and the log says so once', async (t) => {
    const addNode = createNodes(t, redisUrl)
    const [one, two] = [await addNode(), await addNode()]
    const id = await shakeHands(one)
    const uris = ['b', 'c', 'd', 'e'].map((name) => `${name}:`.padEnd(30_000, 'x'))
    for (const uri of uris) await (await send(one, id, { id: uri[0], method: 'resources/subscribe', params: { uri } })).text()
    t.equal(one.log.filter((line) => line.includes('too many subscriptions')).length, 1)
    await one.app.close()
    await count(two, id)
    t.strictSame(two.built[0]?.heard, ['initialized', 'warning', ...uris.slice(-2).map((uri) => `+${uri}`)])
  })

  t.test('a server that cannot be made leaves the session for the next try', async (t) => {
    const addNode = createNodes(t, redisUrl)
    const one = await addNode()
    let failures = 2
    const servers: Built[] = []
    const two: Node = await addNode({
      async createServer (context) {
        if (failures-- > 0) throw new Error('no server today')
        const built = buildServer(two.app, context)
        servers.push(built)
        return built.server
      }
    })
    const id = await shakeHands(one)
    await one.app.close()
    t.match(await count(two, id), /^500/)
    t.match(await count(two, id), /^500/)
    t.equal(two.app.sessionManager.getActiveSessionCount(), 1)
    t.match(await count(two, id), /^1 /)
    t.match(servers[0], { restored: true, heard: ['initialized', 'warning', '+a:2'] })
  })

  t.test('a session that moves on while it is brought back is no 404', async (t) => {
    const addNode = createNodes(t, redisUrl)
    const [one, three] = [await addNode(), await addNode()]
    const two: Node = await addNode({
      async createServer (context) {
        two.app.sessionManager.cleanup(context.session.id, 'moved')
        return buildServer(two.app, context).server
      }
    })
    const id = await shakeHands(one)
    await one.app.close()
    t.match(await count(two, id), /^502/)
    await two.app.close()
    await sleep(1500)
    t.match(await count(three, id), /^1 /)
  })

  t.test('a session of another endpoint, or of none, is not found at this one', async (t) => {
    const addNode = createNodes(t, redisUrl)
    const [one, other] = [await addNode(), await addNode({ path: '/other' })]
    const id = await shakeHands(one)
    const bare = one.app.sessionManager.create({}, { principal: 'ann' })
    await count(one, bare)
    await one.app.close()
    const ask = (asked: string): Promise<Response> => send({ ...other, url: `${other.url}/other#` }, asked, { id: 1, method: 'ping' })
    t.equal((await ask(id)).status, 404)
    t.equal((await ask(bare)).status, 404)
  })

  t.test('DELETE ends the session for the whole cluster, by the time that it is answered', async (t) => {
    const addNode = createNodes(t, redisUrl)
    const [one, two] = [await addNode(), await addNode()]
    for (const through of [one, two]) {
      const id = await shakeHands(one)
      t.equal((await send(through, id, {}, { method: 'DELETE', body: null })).status, 200)
      t.equal(await one.app.sessionDirectory.count(), 0)
      t.match(await count(two, id), /^404/)
    }
  })

  t.test('an owner that was replaced in the middle of a call does not answer it', async (t) => {
    const addNode = createNodes(t, redisUrl)
    const one = await addNode({ responseMode: 'json' })
    const id = await shakeHands(one)
    const running = send(one, id, { id: 9, method: 'tools/call', params: { name: 'slow', arguments: {} } })
    while (one.app.sessionManager.get(id)?.activeRequests !== 1) await sleep(5)
    one.app.sessionManager.cleanup(id, 'moved')
    t.equal((await running).status, 502)
    const streaming = await addNode({ responseMode: 'sse' })
    const id2 = await shakeHands(streaming)
    const stream = await send(streaming, id2, { id: 9, method: 'tools/call', params: { name: 'slow', arguments: {} } })
    streaming.app.sessionManager.cleanup(id2, 'moved')
    await t.rejects(stream.text(), 'cut off')
  })

  t.test('what reaches a node after its sessions are handed over does not keep it from closing', async (t) => {
    const addNode = createNodes(t, redisUrl)
    const [one, two] = [await addNode({}, { plugin: { maxSessions: 1 } }), await addNode()]
    const theirs = await shakeHands(one)
    const left = await shakeHands(two)
    // It has no room for what is left of the other one, and nobody who could go.
    const busy = one.app.sessionManager.acquire(theirs)
    await two.app.close()
    await sleep(700)
    const ends: Array<Promise<number>> = []
    const three: Node = await addNode({}, {
      plugin: { drainTimeout: 1000 },
      server: { forceCloseConnections: false, return503OnClosing: false },
      // After the hook of the plugin, and while the server listens.
      async routes (app) { app.addHook('preClose', arriveLate) }
    })
    const openStream = async (id: string): Promise<number> => {
      const stream = await send(three, id, {}, { method: 'GET', body: null, headers: { accept: 'text/event-stream', connection: 'close' } })
      await stream.text().catch(() => 'cut off')
      return performance.now()
    }
    const callSlowly = async (id: string): Promise<number> => {
      const response = send(three, id, { id: 9, method: 'tools/call', params: { name: 'slow', arguments: {} } }, { headers: { connection: 'close' } })
      await response.then((answer) => answer.text()).catch(() => 'cut off')
      return performance.now()
    }
    async function arriveLate (): Promise<void> {
      ends.push(openStream(theirs), openStream(left), callSlowly(theirs))
      while (one.app.sessionManager.get(theirs)?.activeRequests !== 3) await sleep(5)
      await taken
    }
    const taken = once(three.app.sessionManager, 'created')
    const begun = performance.now()
    await three.app.close()
    const [passedOn, local, call] = (await Promise.all(ends)).map((end) => end - begun)
    t.ok(Number(passedOn) < 1000 && Number(local) < 1000, `streams end at once: after ${passedOn} and ${local} ms`)
    t.ok(Number(call) < 3000, `a call within the drain timeout and two seconds: after ${call} ms`)
    if (busy !== undefined) one.app.sessionManager.release(busy)
    t.match(await count(one, theirs), /^1 /)
  })

  t.test('a node that closes leaves what nobody serves to those that stay', async (t) => {
    const addNode = createNodes(t, redisUrl)
    const [stays, two] = [await addNode(), await addNode()]
    const left = await shakeHands(two)
    await two.app.close()
    let answered = ''
    const closing: Node = await addNode({}, {
      server: { forceCloseConnections: false, return503OnClosing: false },
      async routes (app) {
        app.addHook('preClose', async () => { answered = await count(closing, left) })
      }
    })
    await closing.app.close()
    t.match(answered, /^1 /)
    t.equal(closing.built.length, 0)
    t.ok(stays.app.sessionManager.get(left))
  })

  t.test('a parked session is woken where it lives, and brought back elsewhere, with all that its client had said', async (t) => {
    const addNode = createNodes(t, redisUrl)
    const [one, two] = [await addNode({ parkAfter: 100 }), await addNode({ parkAfter: 100 })]
    const id = await shakeHands(one)
    const isParked = ({ built }: Node): boolean => built.at(-1)?.server.transport === undefined
    const capabilities = JSON.stringify(INITIALIZE.capabilities)
    await until(() => isParked(one), 'the session is parked')
    t.equal(await count(two, id), `1 ${capabilities} tester`, 'passed on')
    t.match(one.built.at(-1), { restored: true, heard: ['initialized', 'warning', '+a:2'] })
    t.equal(two.built.length, 0)
    await until(() => isParked(one), 'the session is parked again')
    await one.app.close()
    t.equal(await count(two, id), `2 ${capabilities} tester`)
    t.match(two.built, [{ restored: true, heard: ['initialized', 'warning', '+a:2'] }])
  })

  t.test('a session that was made in a test is brought back elsewhere as one that a client has opened', async (t) => {
    const addNode = createNodes(t, redisUrl)
    const first = await addNode()
    const id = first.app.sessionManager.create({ count: 1 }, { principal: 'ann' })
    serveSession(first.app, id, { capabilities: INITIALIZE.capabilities })
    t.match(await count(first, id), /^2 /)
    const second = await addNode()
    await first.app.close()
    t.match(await count(second, id), /^3 {"elicitation"/)
    t.strictSame(second.built.map(({ restored }) => restored), [true])
  })

  t.test('Last-Event-ID works on another node, also when the one that sent the events is gone', async (t) => {
    const addNode = createNodes(t, redisUrl)
    const resumable = { maxEvents: 100 }
    const [one, two] = [await addNode({ resumable }), await addNode({ resumable })]
    const id = await shakeHands(one)
    const response = await send(one, id, { id: 9, method: 'tools/call', params: { name: 'count', arguments: {} } })
    const body = await response.text()
    const [first] = [...body.matchAll(/^id: (.+)$/gm)].map(([, eventId]) => eventId)
    t.ok(first, body)
    const resume = (node: Node, eventId: string): Promise<Response> => send(node, id, {}, {
      method: 'GET', body: null, headers: { accept: 'text/event-stream', 'last-event-id': eventId }
    })
    t.match(await (await resume(two, String(first))).text(), /"text":"1 [^]*"id":9/)
    await one.app.close()
    t.match(await (await resume(two, String(first))).text(), /"text":"1 [^]*"id":9/)
    t.equal((await resume(two, '99999999999999-1/x')).status, 400)
  })

  t.test('a name that the first node allows needs no leave of the owner', async (t) => {
    const addNode = createNodes(t, redisUrl)
    const [owner, named] = [await addNode(), await addNode({ allowedHosts: ['mcp.example'] })]
    const id = await initialize(owner)
    t.equal(await knock(named, id, { host: 'mcp.example' }), 200)
    t.equal(await knock(owner, id, { host: 'mcp.example' }), 403)
    t.equal(await knock(owner, id, { host: 'mcp.example', 'mcp-session-forwarded': 'e30.AAAA' }), 403, 'nor if the client says that it was passed on')
    t.equal(await knock(named, id, { host: 'evil.example' }), 403)
  })

  t.test('a GET stream that comes from another node ends with that node, and the session stays', async (t) => {
    const addNode = createNodes(t, redisUrl)
    const [owner, other] = [await addNode(), await addNode()]
    const id = await initialize(owner)
    const stream = await send(other, id, {}, { method: 'GET', body: null, headers: { accept: 'text/event-stream' } })
    t.equal(stream.status, 200)
    t.equal(owner.app.sessionManager.get(id)?.activeRequests, 1)
    await other.app.close()
    await t.rejects(stream.text(), 'its client is told at once, and comes back through a node that lives')
    while (owner.app.sessionManager.get(id)?.activeRequests !== 0) await sleep(5)
    t.match(await count(owner, id), /^1 /)
  })

  t.test('a session stays with the node that closes until its calls are over, or have had their time', async (t) => {
    const addNode = createNodes(t, redisUrl)
    const [one, two] = [await addNode({ responseMode: 'sse' }, { server: { return503OnClosing: false } }), await addNode()]
    const id = await shakeHands(one)
    const stream = await send(one, id, {}, { method: 'GET', body: null, headers: { accept: 'text/event-stream' } })
    const call = await send(one, id, { id: 9, method: 'tools/call', params: { name: 'slow', arguments: {} } })
    const closing = one.app.close()
    t.match(await count(one, id), /^1 /, 'it is still served')
    t.not(one.app.sessionManager.get(id), undefined)
    await closing
    await stream.text()
    t.match(await call.text(), 'Session closed', 'a call that has had its time is told so')
    t.match(await count(two, id), /^2 /)
  })

  t.test('a session that is gone from the directory is dropped as soon as an event shows it', async (t) => {
    const addNode = createNodes(t, redisUrl)
    const one = await addNode({ resumable: { maxEvents: 10 } })
    const closed: string[] = []
    one.app.sessionManager.on('closed', (_session, reason) => { closed.push(reason) })
    const id = await shakeHands(one)
    await one.app.sessionDirectory.count()
    const [record] = await one.redis.keys(`${one.prefix}session:*`)
    await one.redis.del(String(record))
    t.equal(await count(one, id).catch(() => 'cut off'), 'cut off', 'nobody may answer for it any more')
    t.strictSame(closed, ['moved'])
    t.match(await count(one, id), /^404/)
  })
})

t.test('DELETE is not answered as if it had, when Redis does not answer', needsRedisServer(), async (t) => {
  const server = await RedisServer.start()
  t.teardown(() => server.kill())
  const one = await createNodes(t, server.url)()
  const id = await shakeHands(one)
  server.freeze()
  const ended = await send(one, id, {}, { method: 'DELETE', body: null })
  t.equal(ended.status, 503)
  t.equal(ended.headers.get('retry-after'), '1')
  t.match(await count(one, id), /^404/, 'here it is over')
  server.thaw()
  await until(async () => await one.app.sessionDirectory.count() === 0, 'the directory is told all the same')
})

t.test('while Redis is away, an answer that follows from what could not be stored is not given', needsRedisServer(), async (t) => {
  const redis = await RedisServer.start()
  t.teardown(() => redis.kill())
  const addNode = createNodes(t, redis.url)
  const one = await addNode({ responseMode: 'json', resumable: { maxEvents: 10 } }, { cluster: { lease: 10_000 } })
  const [id, other] = [await shakeHands(one), await shakeHands(one)]
  t.match(await count(one, id), /^1 /)
  redis.freeze()
  t.match(await count(one, id), /^503/)
  const headers = { accept: 'text/event-stream', 'mcp-protocol-version': '2025-11-25' }
  const streams = await Promise.all([id, other].map((id) => send(one, id, {}, { method: 'GET', body: null, headers })))
  const told = (): number => one.log.filter((line) => line.includes('Events of a session cannot be replayed later')).length
  while (told() === 0) await sleep(5)
  await Promise.all(streams.map(({ body }) => body?.cancel()))
  redis.thaw()
  while (!/^3 /.test(await count(one, id))) await sleep(20)
  t.pass('it was carried out, and is remembered')
  t.equal(told(), 1, 'once, and not for each stream')
})
