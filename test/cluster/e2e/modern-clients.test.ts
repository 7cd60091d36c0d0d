// Clients of 2026-07-28 of a cluster, which have no session: what they listen to, and calls that go on in another process.
import { Client, StreamableHTTPClientTransport, type McpSubscription } from '@modelcontextprotocol/client'
import t, { type Test } from 'tap'
import { connectSdkClient } from '../../helpers/clients/sdk-clients.js'
import { eventually, startCluster, type ClusterNode, type TestCluster } from '../../helpers/cluster/cluster.js'
import { needsRedisServer, RedisServer } from '../../helpers/redis/redis-server.js'

// Of the resources that tests announce a change of, to tell one announcement from another.
const URIS = Array.from({ length: 11 }, (_, index) => `notes://${index}`)
const FILTER = { toolsListChanged: true, resourceSubscriptions: URIS }
const unused = URIS.values()

t.setTimeout(200_000)

t.test('three nodes', needsRedisServer(), async (t) => {
  const redis = await RedisServer.start()
  t.teardown(() => redis.stop())
  const cluster = await startCluster(t, { redis: redis.address, lease: 3000, modern: true })
  await t.test('a client hears of what has changed on another node', (t) => testListening(t, cluster))
  await t.test('a round trip that began on one node ends on another, also when the first has died', (t) => testRoundTrip(t, cluster))
  await t.test('a client that comes back hears of what has changed meanwhile', (t) => testComingBack(t, cluster))
  await t.test('a rolling restart keeps nothing from those who listen', (t) => testRollingRestart(t, cluster))
})

/** A client of SDK 2, whose requests go where it is told. */
class ModernClient {
  readonly client: Client
  /** How often it has heard that the tools have changed. */
  toolChanges = 0
  /** Which resources have changed, as it has heard. */
  readonly updated: string[] = []
  url: URL

  constructor (url: URL) {
    this.url = url
    this.client = new Client({ name: 'modern', version: '1' }, {
      capabilities: { elicitation: {} },
      versionNegotiation: { mode: { pin: '2026-07-28' } }
    })
    this.client.setNotificationHandler('notifications/tools/list_changed', () => { this.toolChanges++ })
    this.client.setNotificationHandler('notifications/resources/updated', ({ params }) => { this.updated.push(params.uri) })
  }

  async connect (t: Test): Promise<this> {
    t.teardown(() => this.client.close())
    await this.client.connect(new StreamableHTTPClientTransport(this.url, { fetch: (_url, init) => fetch(this.url, init) }))
    return this
  }

  async call (name: string, args: Record<string, unknown> = {}): Promise<unknown> {
    const { content: [block] } = await this.client.callTool({ name, arguments: args })
    return block?.type === 'text' ? JSON.parse(block.text) : block
  }
}

/** Has a node announce that its tools and a resource have changed. Resolves to the URI of that. */
async function announceAt (t: Test, { url }: ClusterNode): Promise<string> {
  const uri: string = unused.next().value ?? ''
  const client = await new ModernClient(url).connect(t)
  await client.call('announce', { uri })
  return uri
}

async function allHear (what: string, clients: readonly ModernClient[], check: (client: ModernClient, index: number) => boolean): Promise<void> {
  await eventually(what, async () => clients.every(check))
}

async function testListening (t: Test, cluster: TestCluster): Promise<void> {
  const clients = await Promise.all(cluster.nodes.map(async ({ url }) => {
    const client = await new ModernClient(url).connect(t)
    await client.client.listen(FILTER)
    return client
  }))
  const session = await connectSdkClient(t, 'SDK 2, legacy', cluster.node(1).url)
  await allHear('what was said at the start', clients, ({ toolChanges }) => toolChanges > 0)
  for (const node of cluster.nodes) {
    const before = clients.map(({ toolChanges }) => toolChanges)
    session.heard.length = 0
    const uri = await announceAt(t, node)
    await allHear('a list on another node', clients, ({ toolChanges }, index) => toolChanges === Number(before[index]) + 1)
    await allHear('and a resource', clients, ({ updated }) => updated.includes(uri))
    await eventually('a client with a session has heard, too', async () => session.heard.includes('tools changed'))
  }
  for (const { updated } of clients) t.equal(updated.length, cluster.nodes.length, 'each change was heard once')
}

async function testRoundTrip (t: Test, cluster: TestCluster): Promise<void> {
  const [first, second] = [cluster.node(0), cluster.node(1)]
  for (const dies of [false, true]) {
    const client = await new ModernClient(first.url).connect(t)
    client.client.setRequestHandler('elicitation/create', async () => {
      client.url = second.url
      if (dies) await first.end('SIGKILL')
      return { action: 'accept', content: { name: 'Ada' } }
    })
    const begunBy = first.pid
    t.strictSame(await client.call('greet'), { name: 'Ada', begunBy, finishedBy: second.pid })
  }
  await first.start()
}

async function testComingBack (t: Test, cluster: TestCluster): Promise<void> {
  const home = cluster.node(0)
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    const client = await new ModernClient(home.url).connect(t)
    const subscription = await client.client.listen(FILTER)
    await home.end(signal)
    t.equal(await subscription.closed, signal === 'SIGTERM' ? 'graceful' : 'remote')
    const uri = await announceAt(t, cluster.node(1))
    await home.start()
    for (const { url } of [home, cluster.node(2)]) {
      client.updated.length = 0
      client.url = url
      const again = await client.client.listen(FILTER)
      await allHear('what it has missed', [client], ({ updated }) => updated.includes(uri))
      await again.close()
    }
  }
}

async function testRollingRestart (t: Test, cluster: TestCluster): Promise<void> {
  const clients = await Promise.all(Array.from({ length: 9 }, () => new ModernClient(cluster.url).connect(t)))
  const stop = new AbortController()
  t.teardown(() => stop.abort())
  let streams = 0
  const endings = new Set<unknown>()
  const listening = clients.map(async ({ client }) => {
    while (!stop.signal.aborted) {
      const subscription: McpSubscription = await client.listen(FILTER, { signal: stop.signal })
      streams++
      endings.add(await subscription.closed)
    }
  })
  await eventually('all listen', async () => streams === clients.length)
  for (const node of cluster.nodes) {
    const ended = node.end('SIGTERM')
    const during = await announceAt(t, cluster.nodes.find((other) => other !== node) ?? node)
    t.equal(await ended, 0, 'a node ends in order, whoever listens')
    const after = await announceAt(t, cluster.nodes.find((other) => other !== node) ?? node)
    await allHear('what was said while it ended, and after', clients, ({ updated }) => updated.includes(during) && updated.includes(after))
    const before = clients.map(({ toolChanges }) => toolChanges)
    await node.start()
    await allHear('that the new one may have other tools', clients, ({ toolChanges }, index) => toolChanges > Number(before[index]))
  }
  t.ok(streams >= 2 * clients.length, `${streams} streams were opened`)
  stop.abort()
  await Promise.all(listening)
  t.strictSame([...endings].sort(), ['graceful', 'local'], 'none was cut')
}
