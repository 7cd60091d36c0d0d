// Endpoints of several apps over one Redis: what their clients see when a node, or Redis, goes.
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { mcpEndpoint, type SessionEndpointOptions } from '../../index.js'
import { createCluster, type ClusterApp, type ClusterAppOptions } from '../helpers/cluster/cluster-apps.js'
import { call, HttpClient, initialize, type Answer } from '../helpers/clients/http-client.js'
import { needsRedis, needsRedisServer, RedisServer, startRedis } from '../helpers/redis/redis-server.js'
import { ToolServer } from '../helpers/mcp-servers/tool-server.js'
import { until } from '../helpers/waiting/until.js'

t.setTimeout(120_000)

interface Node extends ClusterApp {
  readonly servers: ToolServer[]
  /** The parameters that the servers were built with. */
  readonly params: object[]
}

type AddNode = (endpoint?: Partial<SessionEndpointOptions>, options?: ClusterAppOptions) => Promise<Node>

function createNodes (t: Test, redisUrl: string): AddNode {
  const addNode = createCluster(t, redisUrl)
  return async (endpoint = {}, options = {}) => {
    const servers: ToolServer[] = []
    const params: object[] = []
    const node = await addNode({
      ...options,
      async routes (app) {
        await app.register(mcpEndpoint, {
          createServer ({ request }) {
            const server = new ToolServer()
            servers.push(server)
            params.push(Object(request.params))
            return server.mcp
          },
          ...endpoint
        })
      }
    })
    return { ...node, servers, params }
  }
}

/** A client that is Ann, of a session that is open, or that it has to open. */
function createClient (t: Test, { url }: ClusterApp, sessionId = '', path = '/mcp'): HttpClient {
  const client = new HttpClient(t, new URL(path, url))
  client.headers = { authorization: 'ann' }
  client.sessionId = sessionId
  return client
}

async function echo (client: HttpClient): Promise<Answer> {
  return (await client.post(call(2, 'echo', { text: 'hello' }))).end()
}

t.test('on one Redis', needsRedis(), async (t) => {
  const { url: redisUrl, stop } = await startRedis()
  t.teardown(stop)

  t.test('a call that runs when its session is terminated on another node is answered', async (t) => {
    const addNode = createNodes(t, redisUrl)
    const [owner, other] = [await addNode(), await addNode()]
    const client = createClient(t, owner)
    await client.open()
    const answer = client.post(call(2, 'wait'))
    await until(() => owner.servers[0]?.waiting.length === 1, 'the tool has begun')
    t.equal(await other.app.sessionDirectory.terminate(client.sessionId), true)
    const { status, text } = await (await answer).end()
    t.equal(status, 200)
    t.match(text, 'Session closed')
  })

  t.test('a session that another node takes over stays at the path at which it was opened', async (t) => {
    const addNode = createNodes(t, redisUrl)
    const path = '/t/:tenant/mcp'
    const [one, two] = [await addNode({ path }), await addNode({ path })]
    const red = createClient(t, one, '', '/t/red/mcp')
    await red.open()
    const astray = createClient(t, two, red.sessionId, '/t/blue/mcp')
    const home = createClient(t, two, red.sessionId, '/t/red/mcp')
    t.equal((await echo(astray)).status, 404, 'while its node lives')
    red.agent.destroy()
    await one.app.close()
    for (const answer of [await echo(astray), await astray.get(), await astray.delete()]) t.equal(answer.status, 404, 'when it has gone')
    t.match((await echo(home)).messages, [{ id: 2, result: {} }])
    t.equal((await echo(astray)).status, 404, 'and when another has it')
    t.strictSame(two.params.map((params) => ({ ...params })), [{ tenant: 'red' }])
  })

  t.test('a GET stream stays open past handlerTimeout, on the owner and on a node that passes it on', async (t) => {
    const addNode = createNodes(t, redisUrl)
    const server = { handlerTimeout: 200 }
    const [one, two] = [await addNode({ heartbeatInterval: 50 }, { server }), await addNode({}, { server })]
    const client = createClient(t, one)
    await client.open()
    const passedOn = await createClient(t, two, client.sessionId).get()
    await sleep(600)
    t.notOk(passedOn.ended || passedOn.broken)
    await one.servers[0]?.noteHasChanged()
    await passedOn.see('updated')
    const direct = await client.get()
    await sleep(600)
    t.notOk(direct.ended || direct.broken)
    await one.servers[0]?.noteHasChanged()
    await direct.see('updated')
  })

  t.test('of more subscriptions than are kept, the newest are there on another node, and the log says so once', async (t) => {
    const addNode = createNodes(t, redisUrl)
    const [one, two] = [await addNode({ maxSetup: 2000 }), await addNode({ maxSetup: 2000 })]
    const client = createClient(t, one)
    await client.open()
    for (let id = 2; id < 102; id++) {
      const uri = `note://${id}/${'x'.repeat(90)}`
      t.match((await (await client.post({ jsonrpc: '2.0', id, method: 'resources/subscribe', params: { uri } })).end()).messages, [{ id, result: {} }])
    }
    t.equal(one.log.filter((line) => line.includes('has too many subscriptions')).length, 1)
    t.notOk(one.log.some((line) => line.includes(client.sessionId)), 'by the hash of the session')
    client.agent.destroy()
    await one.app.close()
    t.match((await echo(createClient(t, two, client.sessionId))).messages, [{ id: 2, result: {} }])
    const kept = two.servers[0]?.subscriptions ?? []
    t.ok(kept.length > 10 && kept.length < 20, `${kept.length} are kept`)
    t.match(kept.at(-1), /^note:\/\/101\//)
  })

  t.test('a node that learns with an event that the session is not its own any more neither answers nor keeps it', async (t) => {
    const one = await createNodes(t, redisUrl)({ resumable: {} })
    const client = createClient(t, one)
    await client.open()
    for (const key of await one.redis.keys(`${one.prefix}session:*`)) await one.redis.hset(key, 'epoch', 'another', 'owner', 'another')
    const answer = await client.post(call(2, 'echo', { text: 'hello' })).then((response) => response.end(), () => undefined)
    t.notMatch(answer?.text ?? '', 'hello')
    await until(() => one.app.sessionManager.get(client.sessionId) === undefined, 'the session is dropped')
  })

  t.test('a call goes on when the node that passed it on has lost its client', async (t) => {
    const addNode = createNodes(t, redisUrl)
    const [one, two] = [await addNode({ resumable: {} }), await addNode({ resumable: {} })]
    const client = createClient(t, one)
    await client.open()
    const stream = await createClient(t, two, client.sessionId).post(call(3, 'wait'))
    await stream.see('id: ')
    stream.vanish()
    await sleep(100)
    t.equal(one.servers[0]?.aborted, 0)
    t.equal(one.app.sessionManager.get(client.sessionId)?.activeRequests, 1)
    one.servers[0]?.answer('kept')
    const rest = await (await createClient(t, two, client.sessionId).get({ 'last-event-id': String(stream.events[0]?.id) })).end()
    t.match(rest.messages, [{ id: 3, result: { content: [{ text: 'kept' }] } }])
  })
})

t.test('an initialize that Redis does not allow names no session', needsRedisServer(), async (t) => {
  for (const responseMode of ['auto', 'sse', 'json'] as const) {
    const redis = await RedisServer.start()
    t.teardown(() => redis.kill())
    const node = await createNodes(t, redis.url)({ responseMode }, { cluster: { lease: 10_000 } })
    const client = createClient(t, node)
    await client.open()
    redis.freeze()
    for (const body of [initialize(2), initialize(3)]) {
      const refused = await (await createClient(t, node).post(body)).end()
      t.equal(refused.status, 503)
      t.match(JSON.parse(refused.text), { error: { code: -32000, message: /Session storage is not available/ }, id: null })
      for (const name of ['mcp-session-id', 'cache-control', 'x-accel-buffering']) t.equal(refused.headers[name], undefined, name)
      t.equal(node.app.sessionManager.getActiveSessionCount(), 1, 'and none is left')
    }
    t.equal((await (await client.post(initialize(4))).end()).status, 400)
    redis.thaw()
    await node.app.close()
  }
})

t.test('a Last-Event-ID from before Redis was emptied gets a fresh stream', needsRedisServer(), async (t) => {
  const redis = await RedisServer.start()
  t.teardown(() => redis.kill())
  const node = await createNodes(t, redis.url)({ resumable: { retryInterval: 20 } })
  const client = createClient(t, node)
  await client.open()
  const stream = await client.get()
  await stream.see('id: ')
  stream.vanish()
  const [events] = await node.redis.keys(`${node.prefix}*events*`)
  await node.redis.del(String(events))
  const fresh = await client.get({ 'last-event-id': String(stream.events[0]?.id) })
  t.equal(fresh.status, 200)
  await node.servers[0]?.noteHasChanged()
  await fresh.see('updated')
})
