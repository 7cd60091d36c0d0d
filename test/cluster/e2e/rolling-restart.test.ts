// A deploy: every node is told to stop, ends, and is started anew, while clients go on calling.
import t from 'tap'
import { connectClients, eventually, idsOf, startCluster } from '../../helpers/cluster.js'
import { needsRedisServer, RedisServer } from '../../helpers/redis-server.js'

t.setTimeout(180_000)

t.test('a rolling restart loses no session and fails no request', needsRedisServer(), async (t) => {
  const redis = await RedisServer.start()
  t.teardown(() => redis.stop())
  const cluster = await startCluster(t, { redis: redis.address, lease: 3000 })
  const clients = await connectClients(t, cluster.url, 20, cluster.nodes)
  const ids = idsOf(clients)
  const counts = clients.map(() => 0)
  const pids = cluster.nodes.map(({ pid }) => pid)
  const failures: unknown[] = []

  const deployed = new AbortController()
  t.teardown(() => deployed.abort())
  const load = Promise.all(clients.map(async (client, c) => {
    while (!deployed.signal.aborted) {
      try {
        const count = Number(await client.call('count'))
        // A stateless load balancer never sends a call twice, so not one may be missing.
        if (count !== Number(counts[c]) + 1) failures.push(`client ${c}: ${count} after ${counts[c]}`)
        counts[c] = count
      } catch (error) {
        failures.push(error)
      }
    }
  }))
  for (const node of cluster.nodes) {
    t.equal(await node.end('SIGTERM'), 0, 'a node ends in order')
    await node.start()
    const before = counts.slice()
    await eventually('every client has been served since', async () => counts.every((count, c) => count > Number(before[c]) + 2))
  }
  deployed.abort()
  await load

  t.strictSame(failures, [])
  t.strictSame(idsOf(clients), ids, 'the sessions are the same')
  t.strictSame(await cluster.liveIds(), ids, 'and each lives on exactly one node')
  t.notOk(cluster.nodes.some(({ pid }) => pids.includes(pid)), 'of new processes')
  const statuses = new Set(clients.flatMap(({ statuses }) => statuses))
  t.strictSame([...statuses].sort(), [200, 202])
  await Promise.all(clients.map(async (client, c) => t.equal(await client.call('count'), Number(counts[c]) + 1)))
})
