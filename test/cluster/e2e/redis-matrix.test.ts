// Every Redis and every ioredis that the package is for: sessions are served by all nodes, and live on when one
// dies. Three processes are in six clusters each at once, so that one kill -9 is enough for all of them.
import t, { type Test } from 'tap'
import { ClusterNode, openSession, readAnswer, send, toolCall, type NodeSettings } from '../../helpers/cluster/cluster.js'
import type { IoredisMajor, RedisAddress } from '../../helpers/redis/redis-client.js'
import { RedisSentinelServers } from '../../helpers/redis/redis-sentinel.js'
import { freePorts, needsRedisServer, RedisClusterServers, RedisServer, type RedisBinary } from '../../helpers/redis/redis-server.js'

// A node waits for Redis for a third of it, and all of them are on this machine.
const LEASE = 3000
const NODES = 3
// In each of the clusters.
const SESSIONS = 6

t.setTimeout(180_000)

interface Cell {
  redis: RedisAddress
  ioredis: IoredisMajor
  /** Of the nodes. */
  ports: number[]
  ids: string[]
}

interface Servers {
  address: RedisAddress
  stop: () => Promise<void>
}

const binaries: readonly RedisBinary[] = ['redis-server', 'valkey-server']
const setups: Record<RedisAddress['kind'], (binary: RedisBinary) => Promise<Servers>> = {
  alone: (binary) => RedisServer.start({ binary }),
  sentinel: RedisSentinelServers.start,
  cluster: RedisClusterServers.start
}

for (const binary of binaries) {
  t.test(binary, needsRedisServer(binary), async (t) => {
    const cells: Cell[] = []
    for (const start of Object.values(setups)) {
      const servers = await start(binary)
      t.teardown(() => servers.stop())
      for (const ioredis of [5, 6] as const) cells.push({ redis: servers.address, ioredis, ports: await freePorts(NODES), ids: [] })
    }
    const nodes = await startNodes(t, cells)
    await testRoundRobin(t, nodes, cells)
    await testKill(t, nodes, cells)
  })
}

/** Each node has a place in every cluster. */
async function startNodes (t: Test, cells: readonly Cell[]): Promise<ClusterNode[]> {
  const nodes = Array.from({ length: NODES }, (_, n) => {
    const [first, ...others] = cells.map(({ redis, ioredis, ports }): NodeSettings => ({ port: Number(ports[n]), redis, ioredis, lease: LEASE, prefix: `ioredis-${ioredis}:` }))
    if (first === undefined) throw new Error('There is no Redis')
    return new ClusterNode(first, ...others)
  })
  t.teardown(() => Promise.all(nodes.map((node) => node.end('SIGKILL'))))
  await Promise.all(nodes.map((node) => node.start()))
  return nodes
}

async function testRoundRobin (t: Test, nodes: readonly ClusterNode[], cells: readonly Cell[]): Promise<void> {
  await Promise.all(cells.map(async (cell) => {
    for (let n = 0; n < SESSIONS; n++) cell.ids.push(await openSession(urlOf(cell, n % NODES)))
    const counts = await countInTurn(cell, [0, 1, 2])
    t.strictSame(counts, cell.ids.map(() => [1, 2, 3]), `${nameOf(cell)}: every session counts on, whichever node is asked`)
    const extra = await openSession(urlOf(cell, 0))
    const ended = await fetch(urlOf(cell, 1), { method: 'DELETE', headers: { 'mcp-session-id': extra } })
    t.equal(ended.status, 200)
    const gone = await Promise.all([0, 1, 2].map(async (n) => (await send(urlOf(cell, n), toolCall('count'), { 'mcp-session-id': extra })).status))
    t.strictSame(gone, [404, 404, 404], `${nameOf(cell)}: one that was ended is gone from all nodes`)
  }))
  t.strictSame(await liveIds(nodes), allIds(cells), 'each session lives on exactly one node')
}

async function testKill (t: Test, nodes: readonly ClusterNode[], cells: readonly Cell[]): Promise<void> {
  const [victim, ...others] = nodes
  await victim?.end('SIGKILL')
  const killed = performance.now()
  await Promise.all(cells.map(async (cell) => {
    const counts = await countInTurn(cell, [1, 2])
    const took = performance.now() - killed
    t.strictSame(counts, cell.ids.map(() => [4, 5]), `${nameOf(cell)}: the sessions of the dead node live on`)
    t.ok(took < LEASE + 2000, `${nameOf(cell)}: all served again after ${Math.round(took)} ms`)
  }))
  t.strictSame(await liveIds(others), allIds(cells), 'each session lives on exactly one node')
  await victim?.start()
  await Promise.all(cells.map(async (cell) => {
    t.strictSame(await countInTurn(cell, [0]), cell.ids.map(() => [6]), `${nameOf(cell)}: also through the node that is back`)
  }))
}

/** Has every session count at these nodes, one after the other. */
function countInTurn (cell: Cell, nodes: readonly number[]): Promise<unknown[][]> {
  return Promise.all(cell.ids.map(async (id) => {
    const counts: unknown[] = []
    for (const node of nodes) {
      const response = await send(urlOf(cell, node), toolCall('count'), { 'mcp-session-id': id })
      const body = await response.text()
      counts.push(response.ok ? readAnswer(body) : body)
    }
    return counts
  }))
}

function nameOf ({ redis: { kind }, ioredis }: Cell): string {
  return `${kind}, ioredis ${ioredis}`
}

function urlOf ({ ports }: Cell, node: number): URL {
  return new URL(`http://127.0.0.1:${ports[node]}/mcp`)
}

function allIds (cells: readonly Cell[]): string[] {
  return cells.flatMap(({ ids }) => ids).sort()
}

async function liveIds (nodes: readonly ClusterNode[]): Promise<string[]> {
  const lists = await Promise.all(nodes.map((node) => node.sessions()))
  return lists.flat().map(({ id }) => id).sort()
}
