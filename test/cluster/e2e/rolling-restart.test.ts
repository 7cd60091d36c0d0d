// A deploy: every node is told to stop, ends, and is started anew, while clients go on calling. The nodes are as
// full as they should ever be, and when one stops, the others have to hold more than they have room for.
import t from 'tap'
import { eventually, openSession, readAnswer, send, startCluster, toolCall, type TestCluster } from '../../helpers/cluster/cluster.js'
import { needsRedisServer, RedisServer } from '../../helpers/redis/redis-server.js'

const NODES = 4
const LEASE = 3000
const MAX_SESSIONS = 25
// 80 % of what all of them can hold.
const SESSIONS = NODES * MAX_SESSIONS * 0.8
// Calls at any moment.
const CALLERS = 10
t.setTimeout(180_000)

t.test('a rolling restart loses no session and fails no request', needsRedisServer(), async (t) => {
  const redis = await RedisServer.start()
  t.teardown(() => redis.stop())
  const cluster = await startCluster(t, { redis: redis.address, lease: LEASE, nodes: NODES, plugin: { maxSessions: MAX_SESSIONS } })
  const ids: string[] = []
  for (const { url } of cluster.nodes) ids.push(...await Promise.all(Array.from({ length: SESSIONS / NODES }, () => openSession(url))))
  const opened = performance.now()
  const counts = new Map(ids.map((id) => [id, 0]))
  const pids = cluster.nodes.map(({ pid }) => pid)
  const failures: unknown[] = []
  const longest = { wait: 0 }

  // A stateless load balancer never sends a call twice, so not one may be missing.
  async function count (id: string): Promise<void> {
    const expected = Number(counts.get(id)) + 1
    const sent = performance.now()
    const response = await send(cluster.url, toolCall('count'), { 'mcp-session-id': id })
    const body = await response.text()
    longest.wait = Math.max(longest.wait, performance.now() - sent)
    const counted = response.ok ? readAnswer(body) : body
    if (counted !== expected) failures.push(`${response.status}: ${String(counted)} instead of ${expected}`)
    counts.set(id, expected)
  }

  const deployed = new AbortController()
  t.teardown(() => deployed.abort())
  const load = Promise.all(Array.from({ length: CALLERS }, async (_, caller) => {
    while (!deployed.signal.aborted) {
      for (const [i, id] of ids.entries()) {
        if (i % CALLERS === caller && !deployed.signal.aborted) await count(id)
      }
    }
  }))
  const everybodyWasServed = async (): Promise<void> => {
    const before = new Map(counts)
    await eventually('every session has been served since', async () => ids.every((id) => Number(counts.get(id)) > Number(before.get(id))))
  }
  // One that is younger than a lease makes room for nobody.
  do await everybodyWasServed(); while (performance.now() - opened < LEASE)
  for (const node of cluster.nodes) {
    t.equal(await node.end('SIGTERM'), 0, 'a node ends in order')
    await node.start()
    await everybodyWasServed()
  }
  deployed.abort()
  await load

  t.strictSame(failures.slice(0, 5), [], `of ${Array.from(counts.values()).reduce((sum, n) => sum + n, 0)} calls none has failed, the longest took ${Math.round(longest.wait)} ms`)
  t.strictSame(await cluster.liveIds(), ids.toSorted(), 'each session lives on exactly one node')
  t.notOk(cluster.nodes.some(({ pid }) => pids.includes(pid)), 'of new processes')
  const held = await sizes(cluster)
  t.ok(held.every((sessions) => sessions <= 1.3 * SESSIONS / NODES), `no node holds more than 1.3 of its share: ${held}`)
  t.ok(held.every((sessions) => sessions <= MAX_SESSIONS), `nor more than it has room for: ${held}`)
})

function sizes ({ nodes }: TestCluster): Promise<number[]> {
  return Promise.all(nodes.map(async (node) => (await node.sessions()).length))
}
