// What the cluster costs: calls that stay on a node, calls that are passed on, takeovers, Redis. See README.md.
import { setTimeout as wait } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { RedisDirectory, type RedisDirectoryOptions } from '../lib/cluster/redis/directory.js'
import { needsRedisServer, RedisClusterServers, RedisServer } from '../test/helpers/redis/redis-server.js'
import { AddedCost } from './added-cost.js'
import { CommandCounter } from './command-counter.js'
import { isInstalled } from './installed.js'
import { McpLoad } from './mcp-load.js'
import { ServerProcess, useCpu } from './server-process.js'
import { choose, setting } from './settings.js'
import { alternate, describe, median, quantile } from './statistics.js'

const FLEETS = setting('FLEETS', 3, 1)
const ROUNDS = setting('ROUNDS', 20, 5)
const SESSIONS = 64
const CALLS = 1000
const CALLS_IN_TURN = 100
const WARM_UP = 5000
const TAKEN_OVER = 200
const WATCHED = 1000
const COUNTED = 50_000
const COUNTS = 50
const BATCH = 1000
const MINUTE = 60_000
const PREFIX = 'mcp:'

/** Somewhere to call, and sessions that can be called there. */
interface Target {
  load: McpLoad
  ids: string[]
}

const { skip } = needsRedisServer()
if (skip !== false) {
  console.error(skip)
  process.exit(1)
}
const redis = await RedisServer.start()
const counter = await CommandCounter.start(redis.url)
for (const measure of choose({ local: measureLocal, forwarding: measureForwarding, takeover: measureTakeover, background: countBackground, count: measureCount })) await measure()
counter.stop()
await redis.stop()

async function measureLocal (): Promise<void> {
  const ratios: number[] = []
  let commands = 0
  for (let fleet = 0; fleet < FLEETS; fleet++) {
    const servers = [await startNode(), await ServerProcess.start('cluster-server', 'alone')]
    const targets = await Promise.all(servers.map(async ({ url }) => {
      const load = await McpLoad.open(url)
      return { load, ids: await load.openMany(SESSIONS) }
    }))
    for (const { load, ids } of targets) await load.callMany(ids, WARM_UP)
    counter.reset()
    const rows = await alternate(ROUNDS, targets.map((target) => () => measureCpu(servers, target)))
    for (const [clustered = NaN, alone = NaN] of rows) ratios.push(clustered / alone)
    commands += counter.others(PREFIX)
    await stop(servers, targets)
  }
  console.log('a tools/call for a session that lives on the node')
  console.log(`  Redis commands:                ${commands} for ${FLEETS * ROUNDS * CALLS} calls, wanted 0 per call`)
  console.log(`  CPU time, of that without a cluster: ${describe(ratios)}, wanted <= 1.05`)
}

async function measureForwarding (): Promise<void> {
  if (!isInstalled('@fastify/reply-from')) {
    console.log('\n@fastify/reply-from is not installed: see README.md')
    return
  }
  const cpu = new AddedCost()
  const latency = new AddedCost()
  let commands = 0
  for (let fleet = 0; fleet < FLEETS; fleet++) {
    const owner = await startNode()
    const front = await startNode()
    const proxy = await ServerProcess.start('cluster-server', 'proxy', new URL(owner.url).origin)
    const servers = [owner, front, proxy]
    const loads = await Promise.all(servers.map(({ url }) => McpLoad.open(url)))
    const ids = await loads[0]?.openMany(SESSIONS) ?? []
    const targets = loads.map((load) => ({ load, ids }))
    for (const { load } of targets) await load.callMany(ids, WARM_UP)
    counter.reset()
    cpu.add(await alternate(ROUNDS, targets.map((target) => () => measureCpu(servers, target))))
    commands += counter.others(PREFIX)
    latency.add(await alternate(ROUNDS, targets.map(({ load }) => async () => 1000 * median(await load.timeCalls(ids, CALLS_IN_TURN)))))
    await stop(servers, targets)
  }
  console.log('\na tools/call that is passed on to the node where its session lives')
  console.log(`  Redis commands:                ${(commands / (FLEETS * ROUNDS * CALLS)).toFixed(3)} per call`)
  console.log(`  CPU time that it adds, of what a bare proxy adds: ${cpu.describeRatio()}, wanted <= 1.3`)
  console.log(`    ${cpu.describe()}`)
  console.log(`  time that it adds to a call, of what a bare proxy adds: ${latency.describeRatio()}`)
  console.log(`    ${latency.describe()}`)
}

async function measureTakeover (): Promise<void> {
  const times: number[] = []
  const successor = await startNode()
  const load = await McpLoad.open(successor.url)
  for (let round = 0; round < FLEETS; round++) {
    const owner = await startNode()
    const ids = await openMany(owner, TAKEN_OVER)
    await owner.stop()
    times.push(...await load.timeCalls(ids, TAKEN_OVER))
  }
  await stop([successor], [{ load }])
  console.log(`\nthe first call on a new node for a session that its owner has let go, ${times.length} sessions`)
  console.log(`  median:                        ${median(times).toFixed(1)} ms`)
  console.log(`  p99:                           ${quantile(times, 0.99).toFixed(1)} ms, wanted < 50 ms`)
}

async function countBackground (): Promise<void> {
  const idle = await startNode('idle:')
  const active = await startNode('active:')
  await openMany(idle, WATCHED)
  const ids = await openMany(active, WATCHED)
  // Opening a session is a use of it, which is written back within a minute.
  await wait(MINUTE)
  counter.reset()
  const load = await McpLoad.open(active.url)
  const end = performance.now() + MINUTE
  while (performance.now() < end - MINUTE / 10) {
    await load.callMany(ids, WATCHED)
    await wait(MINUTE / 10)
  }
  await wait(end - performance.now())
  console.log(`\nRedis commands in a minute, ${WATCHED} sessions on a node`)
  for (const prefix of ['active:', 'idle:']) {
    console.log(`  per ${prefix.padEnd(8)} session:          ${(counter.others(prefix) / WATCHED).toFixed(4)}, and for the node ${counter.heartbeats(prefix)}`)
  }
  await stop([idle, active], [{ load }])
}

async function measureCount (): Promise<void> {
  console.log(`\ncount() of ${COUNTED} sessions, wanted <= 5 ms`)
  const alone = new Redis(redis.url)
  await printCount('one Redis:', alone)
  alone.disconnect()
  const servers = await RedisClusterServers.start()
  const cluster = servers.connect()
  await printCount('Redis Cluster, 3 masters:', cluster)
  cluster.disconnect()
  await servers.stop()
}

async function printCount (where: string, client: RedisDirectoryOptions['redis']): Promise<void> {
  const directory = new RedisDirectory({ redis: client, ttl: 3_600_000, prefix: 'count:', timeout: MINUTE })
  const now = Date.now()
  for (let opened = 0; opened < COUNTED; opened += BATCH) {
    await Promise.all(Array.from({ length: BATCH }, (_, i) => directory.create({
      id: `${opened + i}`, principal: undefined, owner: 'node', createdAt: now, lastAccessedAt: now, metadata: undefined, state: undefined
    })))
  }
  const times: number[] = []
  for (let i = 0; i < COUNTS; i++) {
    const start = performance.now()
    const count = await directory.count()
    times.push(performance.now() - start)
    if (count !== COUNTED) throw new Error(`count() says ${count}`)
  }
  console.log(`  ${where.padEnd(31)}${median(times).toFixed(2)} ms, p99 ${quantile(times, 0.99).toFixed(2)} ms`)
}

function startNode (prefix = PREFIX): Promise<ServerProcess> {
  return ServerProcess.start('cluster-server', 'node', redis.url, prefix)
}

async function openMany ({ url }: ServerProcess, count: number): Promise<string[]> {
  const load = await McpLoad.open(url)
  const ids = await load.openMany(count)
  load.close()
  return ids
}

async function stop (servers: readonly ServerProcess[], targets: ReadonlyArray<Pick<Target, 'load'>>): Promise<void> {
  for (const { load } of targets) load.close()
  await Promise.all(servers.map((server) => server.stop()))
}

/** Microseconds of CPU time of a call, in all servers that have part in it. */
async function measureCpu (servers: readonly ServerProcess[], { load, ids }: Target): Promise<number> {
  return (await useCpu(servers, () => load.callMany(ids, CALLS))).cpu / CALLS
}
