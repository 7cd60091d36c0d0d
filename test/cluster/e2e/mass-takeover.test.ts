// A node dies with hundreds of sessions, and all of their clients call at once.
import t from 'tap'
import { setTimeout as wait } from 'node:timers/promises'
import { openSession, readAnswer, send, startCluster, toolCall } from '../../helpers/cluster/cluster.js'
import { needsRedisServer, RedisServer } from '../../helpers/redis/redis-server.js'

const LEASE = 3000
const SESSIONS = 500
const AT_ONCE = 25
// Between two attempts of a client that was told to come again, in milliseconds.
const RETRY_INTERVAL = 100

// The aim is two seconds after the lease, on a machine that does nothing else; tests run side by side.
const LONGEST = LEASE + 5000

t.setTimeout(120_000)

t.test(`${SESSIONS} sessions are taken over at once`, needsRedisServer(), async (t) => {
  const redis = await RedisServer.start()
  t.teardown(() => redis.stop())
  const cluster = await startCluster(t, { redis: redis.address, lease: LEASE })
  const [victim, ...others] = cluster.nodes
  if (victim === undefined) throw new Error('There is no node')
  const ids: string[] = []
  while (ids.length < SESSIONS) ids.push(...await Promise.all(Array.from({ length: AT_ONCE }, () => openSession(victim.url))))

  await victim.end('SIGKILL')
  const killed = performance.now()
  const statuses = new Set<number>()
  const waits = await Promise.all(ids.map(async (id, i) => {
    const node = others[i % others.length] ?? victim
    // What a busy node could not say in time: such a call is counted, or not.
    let doubtful = 0
    for (;;) {
      const response = await send(node.url, toolCall('count'), { 'mcp-session-id': id })
      const body = await response.text()
      statuses.add(response.status)
      if (response.ok) return { count: Number(readAnswer(body)), doubtful, took: performance.now() - killed }
      if (/may or may not have been carried out/.test(body)) doubtful++
      await wait(RETRY_INTERVAL)
    }
  }))
  const took = waits.map((answer) => answer.took).sort((a, b) => a - b)
  const at = (part: number): number => Math.round(took[Math.min(took.length - 1, Math.floor(took.length * part))] ?? Infinity)
  t.comment(`served again after ${at(0)} ms at the earliest, ${at(0.5)} ms half of them, ${at(0.99)} ms 99 %, ${at(1)} ms all; the lease is ${LEASE} ms`)
  t.ok(at(1) < LONGEST, `all are served again soon after the lease: ${at(1)} ms`)
  t.ok(waits.every(({ count, doubtful }) => count >= 1 && count <= 1 + doubtful), 'as they were')
  t.notOk(statuses.has(404), 'none is called unknown')
  t.strictSame(await cluster.liveIds(), ids.toSorted(), 'and each lives on exactly one node')
})
