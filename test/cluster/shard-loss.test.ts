// The plugin on a Redis Cluster of which one machine loses its data: the others still have sessions, leases and the secret.
import Fastify, { type FastifyInstance } from 'fastify'
import { Redis, type Cluster } from 'ioredis'
import { randomUUID } from 'node:crypto'
import t, { type Test } from 'tap'
import mcpSessions, { mcpEndpoint } from '../../index.js'
import { RedisCommands } from '../../lib/cluster/redis/commands.js'
import { recordServers } from '../helpers/apps/endpoint-app.js'
import { initialize } from '../helpers/clients/http-client.js'
import { needsRedisServer, RedisClusterServers, type RedisServer } from '../helpers/redis/redis-server.js'
import { until } from '../helpers/waiting/until.js'

t.setTimeout(90_000)

const LEASE = 1500
const SESSIONS = 32

interface Node {
  app: FastifyInstance
  url: string
}

interface Scene {
  one: Node
  two: Node
  /** Sessions of the first node, each of which has counted once. */
  ids: string[]
  machine: RedisServer
}

/** Where these keys are. */
interface Places {
  ownLease: string
  otherLease: string
  secret: string
}

async function addNode (t: Test, redis: Cluster, prefix: string): Promise<Node> {
  const app = Fastify({ forceCloseConnections: true })
  t.teardown(() => app.close())
  await app.register(mcpSessions, { drainTimeout: 500, cluster: { redis, prefix, lease: LEASE } })
  await app.register(mcpEndpoint, { createServer: recordServers().createServer })
  app.get('/count', { config: { mcpSession: 'required' } }, async (request) => ({ n: request.mcpSession?.metadata?.['n'] }))
  app.post('/count', { config: { mcpSession: 'required' } }, async (request) => {
    const { id, metadata } = request.mcpSession ?? { id: '' }
    const n = Number(metadata?.['n'] ?? 0) + 1
    app.sessionManager.update(id, { n })
    return { n }
  })
  return { app, url: await app.listen({ port: 0, host: '127.0.0.1' }) }
}

async function open ({ url }: Node): Promise<string> {
  const response = await fetch(`${url}/mcp`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
    body: JSON.stringify(initialize())
  })
  await response.text()
  return String(response.headers.get('mcp-session-id'))
}

async function ask ({ url }: Node, method: 'GET' | 'POST', id: string): Promise<string> {
  const response = await fetch(`${url}/count`, { method, headers: { 'mcp-session-id': id } })
  const text = await response.text()
  return response.ok ? text : String(response.status)
}

function askAll (node: Node, method: 'GET' | 'POST', ids: readonly string[]): Promise<string[]> {
  return Promise.all(ids.map((id) => ask(node, method, id)))
}

/** `choose` says whether the machine with such keys is the one to lose its data. */
async function build (t: Test, choose: (has: (key: keyof Places) => boolean) => boolean): Promise<Scene> {
  const servers = await RedisClusterServers.start()
  const redis = servers.connect({ clusterRetryStrategy: () => 50 })
  redis.on('error', () => {})
  t.teardown(async () => {
    redis.disconnect()
    await servers.stop()
  })
  const prefix = `test-${randomUUID()}:`
  const [one, two] = [await addNode(t, redis, prefix), await addNode(t, redis, prefix)]
  const ids = await Promise.all(Array.from({ length: SESSIONS }, () => open(one)))
  t.strictSame(await askAll(one, 'POST', ids), ids.map(() => '{"n":1}'))
  const commands = new RedisCommands({ redis, prefix })
  const leaseOf = ({ app }: Node): string => commands.nodeKeys(String(app.sessionDirectory.node))[0]
  const places: Places = { ownLease: leaseOf(one), otherLease: leaseOf(two), secret: commands.historyKey() }
  const machines = await Promise.all(redis.nodes('master').map(async (node) => ({ port: node.options.port, keys: await node.keys('*') })))
  const chosen = machines.find(({ keys }) => choose((key) => keys.includes(places[key])))
  const machine = servers.servers.find(({ port }) => port === chosen?.port)
  if (machine === undefined) throw new Error('There is no such machine')
  const there = ids.filter((id) => chosen?.keys.includes(commands.sessionKeys(id)[0]))
  t.ok(there.length > 0 && there.length < SESSIONS, `${there.length} of ${SESSIONS} sessions are on that machine`)
  return { one, two, ids, machine }
}

function live ({ app }: Node): string[] {
  return app.sessionManager.list().map(({ id }) => id)
}

/** Each counts on, through either node, and lives on one of them. */
async function surviveIn (t: Test, { one, two, ids }: Scene): Promise<void> {
  t.strictSame(await askAll(two, 'POST', ids), ids.map(() => '{"n":2}'), 'each counts on through the other node')
  t.strictSame(await askAll(one, 'POST', ids), ids.map(() => '{"n":3}'), 'and through its own')
  t.strictSame([...live(one), ...live(two)].sort(), [...ids].sort(), 'each lives on one node')
}

async function empty ({ url }: RedisServer): Promise<void> {
  const redis = new Redis(url)
  await redis.flushall()
  redis.disconnect()
}

async function isUp ({ url }: RedisServer): Promise<boolean> {
  const redis = new Redis(url)
  const info = await redis.cluster('INFO')
  redis.disconnect()
  return info.includes('cluster_state:ok')
}

/** Until then the nodes may know of an outage, and nothing else. */
async function whenServed (t: Test, { one, two, ids }: Scene): Promise<void> {
  const began = performance.now()
  const seen = new Set<string>()
  for (const id of ids) {
    for (const node of [two, one]) {
      await until(async () => {
        const answer = await ask(node, 'GET', id)
        seen.add(answer)
        return answer === '{"n":1}'
      }, 'it is served again')
    }
  }
  t.comment(`all were served again after ${Math.round(performance.now() - began)} ms`)
  seen.delete('503')
  t.strictSame([...seen], ['{"n":1}'], 'there is no answer but the right one')
}

t.test('the sessions of a machine that is emptied live on with their owner, and so do the others', needsRedisServer(), async (t) => {
  const scene = await build(t, (has) => !has('secret') && !has('otherLease'))
  await empty(scene.machine)
  await surviveIn(t, scene)
  t.strictSame(live(scene.two), [], 'which is the one it has lived on')
})

t.test('nobody takes sessions whose owner has lost its lease on another machine than theirs', needsRedisServer(), async (t) => {
  const scene = await build(t, (has) => has('ownLease'))
  await empty(scene.machine)
  await surviveIn(t, scene)
  t.strictSame(live(scene.two), [], 'which is the one it has lived on')
})

t.test('the same for a machine that dies and comes back with nothing', needsRedisServer(), async (t) => {
  const scene = await build(t, (has) => !has('secret') && !has('otherLease'))
  await scene.machine.kill()
  await scene.machine.start()
  await until(() => isUp(scene.machine), 'the Redis Cluster is whole again')
  await until(async () => (await Promise.all([scene.one, scene.two].map(({ app }) => app.mcp.readiness()))).every(({ isReady }) => isReady), 'both nodes are ready')
  await whenServed(t, scene)
  await surviveIn(t, scene)
})

t.test('while one machine is silent nobody takes anything, and no session is lost', needsRedisServer(), async (t) => {
  const scene = await build(t, (has) => !has('secret') && !has('ownLease'))
  scene.machine.freeze()
  await until(async () => !(await scene.one.app.mcp.readiness()).isReady, 'the lease is over')
  scene.machine.thaw()
  await whenServed(t, scene)
  await surviveIn(t, scene)
})
