// A node stands still for longer than its lease, and comes back with sessions that are no longer its own.
import { setTimeout as wait } from 'node:timers/promises'
import t from 'tap'
import { eventually, openSession, readAnswer, send, startCluster, toolCall } from '../../helpers/cluster.js'
import { needsRedisServer, RedisServer } from '../../helpers/redis-server.js'

const LEASE = 1000

t.setTimeout(120_000)

interface Count {
  sent: number
  answered: number
  count: number
}

t.test('a node that was cut off drops what others have taken over, and two never serve one session', needsRedisServer(), async (t) => {
  const redis = await RedisServer.start()
  t.teardown(() => redis.stop())
  const cluster = await startCluster(t, { redis: redis.address, lease: LEASE })
  const [frozen, ...others] = [cluster.node(0), cluster.node(1), cluster.node(2)]
  const ids = await Promise.all(Array.from({ length: 4 }, () => openSession(frozen.url)))
  const counts = new Map(ids.map((id): [string, Count[]] => [id, []]))
  const statuses = new Set<number>()

  async function count (id: string, url: URL): Promise<boolean> {
    const sent = performance.now()
    const response = await send(url, toolCall('count'), { 'mcp-session-id': id }).catch(() => undefined)
    // Of a node that was killed before it had answered.
    const body = await response?.text().catch(() => undefined)
    if (response === undefined || body === undefined) return false
    statuses.add(response.status)
    if (!response.ok) return false
    counts.get(id)?.push({ sent, answered: performance.now(), count: Number(readAnswer(body)) })
    return true
  }

  const over = new AbortController()
  t.teardown(() => over.abort())
  // At every node at once, the frozen one included: what it was sent it finds when it comes back.
  const load = Promise.all(ids.flatMap((id) => cluster.nodes.map(async ({ url }) => {
    while (!over.signal.aborted) {
      await count(id, url)
      await wait(5)
    }
  })))
  const answers = (): number => Array.from(counts.values()).flat().length
  const moreAnswers = async (): Promise<void> => {
    const before = answers()
    await eventually('there are more answers', async () => answers() > before + 50)
  }

  for (let round = 1; round <= 2; round++) {
    await moreAnswers()
    frozen.freeze()
    const begin = performance.now()
    await Promise.all(ids.map(async (id) => eventually('another node has taken it over', () => count(id, others[0]?.url ?? frozen.url))))
    const took = performance.now() - begin
    t.ok(took < LEASE + 1000, `all are taken over within the lease and a second: ${Math.round(took)} ms`)
    await moreAnswers()
    frozen.thaw()
    await eventually('the old copies are dropped', async () => (await frozen.sessions()).length === 0)
    await moreAnswers()
    t.strictSame(await cluster.liveIds(), ids.toSorted(), 'each session lives on exactly one node')
    if (round === 1) {
      t.comment('once more, with sessions that it has got back')
      await Promise.all(others.map((node) => node.end('SIGKILL')))
      await Promise.all(ids.map((id) => eventually('it has them again', () => count(id, frozen.url))))
      await Promise.all(others.map((node) => node.start()))
    }
  }
  over.abort()
  await load

  for (const [id, list] of counts) t.strictSame(findDisorder(list), [], `strictly increasing: ${list.length} answers of ${id}`)
  t.notOk(statuses.has(404), 'and no client was told to start over')
})

/** Of two calls one of which was sent after the other was answered, the later one has the higher count; no count comes twice. */
function findDisorder (list: readonly Count[]): unknown[] {
  const sorted = list.toSorted((a, b) => a.count - b.count)
  let lastSent = -Infinity
  let last = 0
  return sorted.filter(({ sent, answered, count }) => {
    const isWrong = count === last || answered < lastSent
    lastSent = Math.max(lastSent, sent)
    last = count
    return isWrong
  })
}
