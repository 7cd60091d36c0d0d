// app.mcp of several nodes over one Redis.
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import t from 'tap'
import { mcpEndpoint } from '../../index.js'
import { createCluster } from '../helpers/cluster/cluster-apps.js'
import { openSession } from '../helpers/clients/http-client.js'
import { needsRedis, needsRedisServer, RedisServer, startRedis } from '../helpers/redis/redis-server.js'
import { until } from '../helpers/waiting/until.js'

t.test('on one Redis', needsRedis(), async (t) => {
  const { url, stop } = await startRedis()
  t.teardown(stop)

  t.test('a client hears of what has changed on another node', async (t) => {
    const addNode = createCluster(t, url)
    const routes = async (app: Parameters<typeof mcpEndpoint>[0]): Promise<void> => {
      await app.register(mcpEndpoint, {
        createServer: () => new McpServer({ name: 'one', version: '1' }, { capabilities: { tools: { listChanged: true }, prompts: { listChanged: true } } })
      })
    }
    const [one, two] = [await addNode({ routes }), await addNode({ routes })]
    const client = await openSession(t, new URL('/mcp', one.url))
    const stream = await client.get()
    let turns = 0
    // Until both nodes listen.
    await until(() => {
      if (turns++ % 1000 === 0) two.app.mcp.notify.toolsChanged()
      return stream.text.includes('tools/list_changed')
    }, 'the client has heard')
    two.app.mcp.notify.promptsChanged({ session: 'another' })
    two.app.mcp.notify.promptsChanged({ session: client.sessionId })
    await stream.see('prompts/list_changed')
    t.equal(stream.text.split('prompts/list_changed').length, 2, 'once')
  })

  t.test('all nodes have the same key for requestState, before they listen too', async (t) => {
    const addNode = createCluster(t, url)
    const keys: Uint8Array[] = []
    const routes = async (app: Parameters<typeof mcpEndpoint>[0]): Promise<void> => { keys.push(await app.mcp.requestStateKey()) }
    const nodes = [await addNode({ routes }), await addNode({ routes })]
    for (const { app } of nodes) keys.push(await app.mcp.requestStateKey())
    t.equal(new Set(keys.map(String)).size, 1)
    t.equal(keys[0]?.length, 32)
  })
})

t.test('without Redis there is no key', needsRedisServer(), async (t) => {
  const server = await RedisServer.start()
  const addNode = createCluster(t, server.url)
  await server.stop()
  await addNode({
    async routes (app) {
      await t.rejects(app.mcp.requestStateKey(), { code: 'FST_ERR_MCP_SESSION_CLUSTER_UNAVAILABLE' })
    }
  })
})
