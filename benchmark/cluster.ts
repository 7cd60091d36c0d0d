// What the cluster costs: calls that stay on a node, calls that are passed on, takeovers, Redis. See README.md.
import { setTimeout as wait } from 'node:timers/promises'
import { needsRedisServer, RedisServer } from '../test/helpers/redis-server.js'
import { AddedCost } from './added-cost.js'
import { CommandCounter } from './command-counter.js'
import { callMany, disconnect, openMany, timeCalls } from './mcp-client.js'
import { ServerProcess, useCpu } from './server-process.js'
import { alternate, describe, median, quantile } from './statistics.js'

const PAIRS = Number(process.env['PAIRS'] ?? 3)
const ROUNDS = Number(process.env['ROUNDS'] ?? 20)
const SESSIONS = 64
const CALLS = 1000
const CALLS_IN_TURN = 100
const WARM_UP = 5000
const TAKEN_OVER = 200
const WATCHED = 1000
const MINUTE = 60_000
const PREFIX = 'mcp:'

/** Somewhere to call, and sessions that can be called there. */
interface Target {
  url: string
  ids: string[]
}

const { skip } = needsRedisServer()
if (skip !== false) {
  console.error(skip)
  process.exit(1)
}
const redis = await RedisServer.start()
const counter = await CommandCounter.start(redis.url)
const wanted = process.argv.slice(2)
const parts = { local: measureLocal, forwarding: measureForwarding, takeover: measureTakeover, background: countBackground }
for (const [name, measure] of Object.entries(parts)) {
  if (wanted.length === 0 || wanted.includes(name)) await measure()
}
counter.stop()
await redis.stop()
await disconnect()

async function measureLocal (): Promise<void> {
  const ratios: number[] = []
  let commands = 0
  for (let pair = 0; pair < PAIRS; pair++) {
    const servers = [await startNode(), await ServerProcess.start('cluster-server', 'alone')]
    const targets = await Promise.all(servers.map(async ({ url }) => ({ url, ids: await openMany(url, SESSIONS) })))
    for (const target of targets) await callMany(target.url, target.ids, WARM_UP)
    counter.reset()
    const rows = await alternate(ROUNDS, targets.map((target) => () => measureCpu(servers, target)))
    for (const [clustered = NaN, alone = NaN] of rows) ratios.push(clustered / alone)
    commands += counter.others(PREFIX)
    await stop(servers)
  }
  console.log('a tools/call for a session that lives on the node')
  console.log(`  Redis commands:                ${commands} for ${PAIRS * ROUNDS * CALLS} calls, wanted 0 per call`)
  console.log(`  CPU time, of that without a cluster: ${describe(ratios)}, wanted <= 1.05`)
}

async function measureForwarding (): Promise<void> {
  const cpu = new AddedCost()
  const latency = new AddedCost()
  let commands = 0
  for (let pair = 0; pair < PAIRS; pair++) {
    const owner = await startNode()
    const front = await startNode()
    const proxy = await ServerProcess.start('cluster-server', 'proxy', new URL(owner.url).origin)
    const servers = [owner, front, proxy]
    const ids = await openMany(owner.url, SESSIONS)
    const targets = servers.map(({ url }) => ({ url, ids }))
    for (const target of targets) await callMany(target.url, target.ids, WARM_UP)
    counter.reset()
    cpu.add(await alternate(ROUNDS, targets.map((target) => () => measureCpu(servers, target))))
    commands += counter.others(PREFIX)
    latency.add(await alternate(ROUNDS, targets.map((target) => async () => 1000 * median(await timeCalls(target.url, ids, CALLS_IN_TURN)))))
    await stop(servers)
  }
  console.log('\na tools/call that is passed on to the node where its session lives')
  console.log(`  Redis commands:                ${(commands / (PAIRS * ROUNDS * CALLS)).toFixed(3)} per call`)
  console.log(`  CPU time that it adds, of what a bare proxy adds: ${cpu.describeRatio()}, wanted <= 1.5`)
  console.log(`    ${cpu.describe()}`)
  console.log(`  time that it adds to a call, of what a bare proxy adds: ${latency.describeRatio()}`)
  console.log(`    ${latency.describe()}`)
}

async function measureTakeover (): Promise<void> {
  const times: number[] = []
  const successor = await startNode()
  for (let round = 0; round < PAIRS; round++) {
    const owner = await startNode()
    const ids = await openMany(owner.url, TAKEN_OVER)
    await owner.stop()
    times.push(...await timeCalls(successor.url, ids, TAKEN_OVER))
  }
  await successor.stop()
  console.log(`\nthe first call on a new node for a session that its owner has let go, ${times.length} sessions`)
  console.log(`  median:                        ${median(times).toFixed(1)} ms`)
  console.log(`  p99:                           ${quantile(times, 0.99).toFixed(1)} ms, wanted < 50 ms`)
}

async function countBackground (): Promise<void> {
  const idle = await startNode('idle:')
  const active = await startNode('active:')
  await openMany(idle.url, WATCHED)
  const ids = await openMany(active.url, WATCHED)
  // Opening a session is a use of it, which is written back within a minute.
  await wait(MINUTE)
  counter.reset()
  const end = performance.now() + MINUTE
  while (performance.now() < end - MINUTE / 10) {
    await callMany(active.url, ids, WATCHED)
    await wait(MINUTE / 10)
  }
  await wait(end - performance.now())
  console.log(`\nRedis commands in a minute, ${WATCHED} sessions on a node`)
  for (const prefix of ['active:', 'idle:']) {
    console.log(`  per ${prefix.padEnd(8)} session:          ${(counter.others(prefix) / WATCHED).toFixed(4)}, and for the node ${counter.heartbeats(prefix)}`)
  }
  await stop([idle, active])
}

function startNode (prefix = PREFIX): Promise<ServerProcess> {
  return ServerProcess.start('cluster-server', 'node', redis.url, prefix)
}

async function stop (servers: readonly ServerProcess[]): Promise<void> {
  await Promise.all(servers.map((server) => server.stop()))
}

/** Microseconds of CPU time of a call, in all servers that have part in it. */
async function measureCpu (servers: readonly ServerProcess[], { url, ids }: Target): Promise<number> {
  return await useCpu(servers, () => callMany(url, ids, CALLS)) / CALLS
}
