// Three nodes behind a round-robin proxy: to a client they are one server, also when one of them dies. On every
// other kind of Redis: redis-matrix.test.ts.
import { ElicitRequestSchema, LoggingMessageNotificationSchema, ToolListChangedNotificationSchema } from '@modelcontextprotocol/sdk/types.js'
import t, { type Test } from 'tap'
import { connectClients, eventually, idsOf, readAnswer, send, startCluster, TestClient, toolCall, type TestCluster } from '../../helpers/cluster/cluster.js'
import { needsRedisServer, RedisServer } from '../../helpers/redis/redis-server.js'

// A node waits for Redis for a third of it: long enough for many clients at once on a small machine.
const LEASE = 3000

// Shorter than any timeout, in milliseconds.
const AT_ONCE = 800

t.setTimeout(200_000)

t.test('three nodes', needsRedisServer(), async (t) => {
  const redis = await RedisServer.start()
  t.teardown(() => redis.stop())
  const cluster = await startCluster(t, { redis: redis.address, lease: LEASE })
  await t.test('each client sees one server', (t) => testOneServer(t, cluster))
  await t.test('messages of the server arrive wherever they were asked for', (t) => testMessages(t, cluster))
  await t.test('the sessions of a node that is killed live on', (t) => testKill(t, cluster))
})

async function testOneServer (t: Test, cluster: TestCluster): Promise<void> {
  const clients = await connectClients(t, cluster.url, 60, cluster.nodes)
  const answers = await Promise.all(clients.map(async (client, c) => {
    const wrong: unknown[] = []
    for (let i = 0; i < 20; i++) {
      const value = `client ${c}, call ${i}`
      const answer = i % 2 === 0 ? await client.call('echo', { value }) : await client.call('count')
      if (answer !== (i % 2 === 0 ? value : (i + 1) / 2)) wrong.push(answer)
    }
    return wrong
  }))
  t.strictSame(answers.flat(), [], 'every answer is right')
  const statuses = new Set(clients.flatMap(({ statuses }) => statuses))
  t.strictSame([...statuses].sort(), [200, 202], 'and none is an error')
  t.strictSame(await cluster.liveIds(), idsOf(clients), 'each session lives on exactly one node')
  for (const node of cluster.nodes) t.ok((await node.sessions()).length >= 20, 'and every node has its share')
  await Promise.all(clients.map(({ client }) => client.close()))
}

async function testMessages (t: Test, cluster: TestCluster): Promise<void> {
  const { nodes } = cluster
  const clients = await Promise.all(nodes.flatMap((owner) => nodes.flatMap((listener) => nodes.map((caller) => (
    new TestClient(caller.url, owner.url, listener.url).connect(t)
  )))))
  await cluster.whenListening(idsOf(clients))
  await Promise.all(clients.map(async ({ client }, c) => {
    const logged: unknown[] = []
    let listChanges = 0
    const progress: number[] = []
    client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => { logged.push(params.data) })
    client.setNotificationHandler(ToolListChangedNotificationSchema, () => { listChanges++ })
    client.setRequestHandler(ElicitRequestSchema, async () => ({ action: 'accept', content: { name: `client ${c}` } }))

    await client.setLoggingLevel('warning')
    await client.callTool({ name: 'progress', arguments: { steps: 5 } }, undefined, { onprogress: (at) => progress.push(at.progress) })
    t.strictSame(progress, [1, 2, 3, 4, 5], 'progress')
    t.match(await client.callTool({ name: 'ask' }), { content: [{ text: JSON.stringify({ action: 'accept', content: { name: `client ${c}` } }) }] }, 'elicitation')
    await client.callTool({ name: 'log', arguments: { values: ['one', 'two'] } })
    await client.callTool({ name: 'hide' })
    await eventually('everything has arrived', async () => logged.length >= 2 && listChanges > 0)
    t.strictSame(logged, ['one', 'two'], 'logging, of the level that was asked for')
    t.equal(listChanges, 1, 'list_changed')
  }))
}

async function testKill (t: Test, cluster: TestCluster): Promise<void> {
  const victim = cluster.node(0)
  const doomed = await connectClients(t, cluster.url, 10, [victim])
  const others = await connectClients(t, cluster.url, 10, [cluster.node(1), cluster.node(2)])
  const clients = [...doomed, ...others]
  await Promise.all(clients.map(async ({ client }) => {
    await client.setLoggingLevel('error')
    await client.subscribeResource({ uri: 'notes://all' })
    await client.callTool({ name: 'count' })
  }))
  const ids = idsOf(clients)
  const running = await Promise.all(cluster.nodes.map((node) => startLongCall(node.url, doomed, 60)))
  const failures = running.map(async ({ body }) => {
    await t.rejects(body, 'a request that ran there fails')
    return performance.now()
  })
  const elsewhere = await Promise.all([1, 2].map((node) => startLongCall(cluster.node(node).url, others, LEASE / 1000 + 1)))

  const killed = performance.now()
  await victim.end('SIGKILL')
  await Promise.all(clients.map((client) => testSurvival(t, client)))
  for (const failed of await Promise.all(failures)) t.ok(failed - killed < AT_ONCE, `at once, after ${Math.round(failed - killed)} ms`)
  for (const { body } of elsewhere) t.equal(readAnswer(await body), 'slept', 'a request that ran elsewhere goes on')
  t.strictSame(idsOf(clients), ids, 'the ids are the same')
  const live = await cluster.liveIds()
  t.strictSame(ids.filter((id) => live.filter((other) => other === id).length !== 1), [], 'each session lives on exactly one node')

  t.comment('what was said to the dead node holds for the new owners')
  await cluster.whenListening(ids)
  await Promise.all(doomed.map(async ({ client }) => {
    const logged: unknown[] = []
    client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => { logged.push(params.data) })
    await client.callTool({ name: 'log', arguments: { values: ['still there'] } })
    await eventually('the message has come', async () => logged.length > 0)
    t.strictSame(logged, ['still there'], 'the log level, and the new GET stream')
  }))
  await victim.start()
}

/** Resolves when the call runs. */
async function startLongCall (url: URL, [client]: TestClient[], seconds: number): Promise<{ body: Promise<string> }> {
  const response = await send(url, toolCall('sleep', { seconds }), { 'mcp-session-id': client?.id ?? '' })
  return { body: response.text() }
}

async function testSurvival (t: Test, client: TestClient): Promise<void> {
  const sent = performance.now()
  const description = await client.call('describe')
  const took = performance.now() - sent
  t.ok(took < LEASE + 1000, `answered within the lease and a second: ${Math.round(took)} ms`)
  t.match(description, {
    capabilities: { elicitation: {}, roots: { listChanged: true } },
    client: { name: 'tester', version: '7' },
    subscriptions: ['notes://all'],
    metadata: { count: 1 }
  }, 'capabilities, subscriptions and metadata are intact')
  t.equal(await client.call('count'), 2)
}
