// A timeout of the app does not cut a stream that another node passes on, neither there nor on its owner.
import t from 'tap'
import { mcpEndpoint } from '../../index.js'
import { createCluster, type ClusterApp } from '../helpers/cluster/cluster-apps.js'
import { recordServers } from '../helpers/apps/endpoint-app.js'
import { call, HttpClient, openSession } from '../helpers/clients/http-client.js'
import { needsRedis, startRedis } from '../helpers/redis/redis-server.js'
import { until } from '../helpers/waiting/until.js'

// Milliseconds, and more than passing a request on takes.
const TIMEOUT = 300

t.test('streams and calls that are passed on outlive the timeout of the app', needsRedis(), async (t) => {
  const { url: redisUrl, stop } = await startRedis()
  t.teardown(stop)
  const addNode = createCluster(t, redisUrl)
  const { servers, createServer } = recordServers()
  const join = async (): Promise<ClusterApp> => addNode({
    server: { handlerTimeout: TIMEOUT },
    plugin: { drainTimeout: 0 },
    routes: async (app) => { await app.register(mcpEndpoint, { createServer }) }
  })
  const [owner, other] = [await join(), await join()]
  const { sessionId } = await openSession(t, new URL('/mcp', owner.url))
  const client = new HttpClient(t, new URL('/mcp', other.url))
  client.sessionId = sessionId

  const stream = await client.get()
  t.equal(stream.status, 200)
  const pending = client.post(call(2, 'wait'))
  await until(() => servers[0]?.waiting.length === 1, 'the call is with its owner')
  await new Promise((resolve) => setTimeout(resolve, 2 * TIMEOUT))
  servers[0]?.answer('late')
  await (await pending).see('late')
  t.notOk(stream.ended || stream.broken)
  t.notOk(other.app.sessionManager.get(sessionId), 'it has been passed on')
})
