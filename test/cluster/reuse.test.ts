// With `reuseServers`, the server of a session that has ended, has moved to another node or is parked serves another one.
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { mcpEndpoint } from '../../index.js'
import { call, HttpClient, openSession } from '../helpers/clients/http-client.js'
import { createCluster, type ClusterApp, type ClusterAppOptions } from '../helpers/cluster/cluster-apps.js'
import { ToolServer } from '../helpers/mcp-servers/tool-server.js'
import { needsRedis, startRedis } from '../helpers/redis/redis-server.js'
import { until } from '../helpers/waiting/until.js'

t.setTimeout(60_000)

interface Node extends ClusterApp {
  servers: ToolServer[]
}

function createNodes (t: Test, redisUrl: string): (endpoint?: { parkAfter?: number }, options?: ClusterAppOptions) => Promise<Node> {
  const addNode = createCluster(t, redisUrl)
  return async (endpoint = {}, options = {}) => {
    const servers: ToolServer[] = []
    const node = await addNode({
      ...options,
      async routes (app) {
        await app.register(mcpEndpoint, {
          createServer () {
            const server = new ToolServer()
            servers.push(server)
            return server.mcp
          },
          reuseServers: true,
          ...endpoint
        })
      }
    })
    return { ...node, servers }
  }
}

const endpointOf = ({ url }: Node): URL => new URL('/mcp', url)

async function openOn (t: Test, node: Node, capabilities: object = {}): Promise<HttpClient> {
  return openSession(t, endpointOf(node), undefined, capabilities)
}

/** The same client at another node. */
function moveTo (t: Test, node: Node, { sessionId }: HttpClient): HttpClient {
  return Object.assign(new HttpClient(t, endpointOf(node)), { sessionId })
}

async function echo (client: HttpClient, text: string): Promise<string> {
  return JSON.stringify((await (await client.post(call(text, 'echo', { text }))).end()).messages.at(-1))
}

async function isFree ({ servers }: Node): Promise<void> {
  await until(() => servers.every(({ mcp }) => !mcp.isConnected()), 'all servers are closed')
  // Kept, then.
  await sleep(0)
}

t.test('on one Redis', needsRedis(), async (t) => {
  const { url: redisUrl, stop } = await startRedis()
  t.teardown(stop)

  t.test('a session that its client ends through another node leaves its server to the next one', async (t) => {
    const addNode = createNodes(t, redisUrl)
    const [one, two] = [await addNode(), await addNode()]
    const client = await openOn(t, one, { sampling: {} })
    t.match(await echo(moveTo(t, two, client), 'passed on'), 'passed on')
    t.equal((await moveTo(t, two, client).delete()).status, 200)
    await isFree(one)
    const next = await openOn(t, one)
    t.match(await echo(next, 'next'), 'next')
    t.equal(one.servers.length, 1)
    t.equal(one.servers[0]?.mcp.server.getClientCapabilities()?.sampling, undefined)
    t.equal(two.servers.length, 0)
  })

  t.test('sessions of a node that closes go on with servers that others have left, and as who they are', async (t) => {
    const addNode = createNodes(t, redisUrl)
    const [one, two] = [await addNode(), await addNode()]
    const moving = await openOn(t, one, { sampling: {} })
    const ended = await openOn(t, two)
    t.match(await echo(ended, 'before'), 'before')
    t.equal((await ended.delete()).status, 200)
    await isFree(two)
    await one.app.close()
    t.match(await echo(moveTo(t, two, moving), 'after'), 'after')
    t.equal(two.servers.length, 1)
    t.strictSame(two.servers[0]?.mcp.server.getClientCapabilities()?.sampling, {})
    t.equal(two.servers[0]?.closed, 1)
  })

  t.test('a session that was set up serves nobody else with its server, wherever that was said', async (t) => {
    const addNode = createNodes(t, redisUrl)
    const [one, two] = [await addNode(), await addNode()]
    const moving = await openOn(t, one)
    await (await moving.post({ jsonrpc: '2.0', id: 'level', method: 'logging/setLevel', params: { level: 'error' } })).end()
    await one.app.close()
    t.match(await echo(moveTo(t, two, moving), 'after'), 'after')
    t.equal((await moveTo(t, two, moving).delete()).status, 200)
    await isFree(two)
    const next = await openOn(t, two)
    t.match(await echo(next, 'next'), 'next')
    t.equal(two.servers.length, 2)
  })

  t.test('parked sessions are woken on any node by a server that is there', async (t) => {
    const addNode = createNodes(t, redisUrl)
    const [one, two] = [await addNode({ parkAfter: 100 }), await addNode({ parkAfter: 100 })]
    const clients = [await openOn(t, one, { sampling: {} }), await openOn(t, one)]
    t.equal(one.servers.length, 2)
    await isFree(one)
    for (const [index, client] of clients.entries()) {
      t.match(await echo(moveTo(t, two, client), `woken ${index}`), `woken ${index}`, 'passed on to where it is parked')
      await isFree(one)
    }
    t.equal(one.servers.length, 2)
    await one.app.close()
    for (const [index, client] of clients.entries()) {
      t.match(await echo(moveTo(t, two, client), `moved ${index}`), `moved ${index}`)
      t.equal('sampling' in (two.servers[0]?.mcp.server.getClientCapabilities() ?? {}), index === 0)
      await isFree(two)
    }
    t.equal(two.servers.length, 1)
  })
})
