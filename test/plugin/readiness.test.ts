import Fastify from 'fastify'
import t from 'tap'
import mcpSessions from '../../index.js'
import { createCluster } from '../helpers/cluster/cluster-apps.js'
import { needsRedisServer, RedisServer } from '../helpers/redis/redis-server.js'
import { until } from '../helpers/waiting/until.js'

t.test('a process on its own is ready until it closes', async (t) => {
  const app = Fastify()
  await app.register(mcpSessions)
  t.strictSame(app.mcp.readiness(), { isReady: true })
  const closed = app.close()
  await until(() => !app.mcp.readiness().isReady, 'it is closing')
  t.strictSame(app.mcp.readiness(), { isReady: false, reason: 'closing' })
  await closed
})

t.test('a node is ready when it has a lease and Redis answers, and says in its log where it is', needsRedisServer(), async (t) => {
  const server = await RedisServer.start()
  t.teardown(() => server.stop())
  const early: object[] = []
  const addNode = createCluster(t, server.url)
  const lines: string[] = []
  // So long that on a slow machine, too, Redis is missed before it is over.
  const lease = 5000
  const { app } = await addNode({
    cluster: { lease },
    server: { logger: { level: 'info', stream: { write: (line: string) => { lines.push(line) } } } },
    routes: async (app) => { early.push(app.mcp.readiness()) }
  })
  t.strictSame(early, [{ isReady: false, reason: 'no-lease' }])
  await until(() => app.mcp.readiness().isReady, 'there is a lease')
  const joined = lines.map((line): unknown => JSON.parse(line)).find((line) => Object(line).msg === 'This node has joined the cluster')
  t.match(joined, { url: /^http:\/\//, incarnation: String, lease })
  server.freeze()
  await until(() => !app.mcp.readiness().isReady, 'Redis is missed')
  t.strictSame(app.mcp.readiness(), { isReady: false, reason: 'redis-away' })
  server.thaw()
  await until(() => app.mcp.readiness().isReady, 'Redis is back')
})
