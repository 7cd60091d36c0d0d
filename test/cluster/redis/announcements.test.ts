import { Redis } from 'ioredis'
import { randomUUID } from 'node:crypto'
import { createConnection, createServer } from 'node:net'
import { pipeline } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { RedisAnnouncements } from '../../../lib/cluster/redis/announcements.js'
import { RedisCommands } from '../../../lib/cluster/redis/commands.js'
import type { Announcement } from '../../../lib/http/announcements.js'
import { freePort, needsRedis, needsRedisServer, RedisClusterServers, RedisServer, startRedis } from '../../helpers/redis/redis-server.js'
import { until } from '../../helpers/waiting/until.js'

type RedisClient = ConstructorParameters<typeof RedisCommands>[0]['redis']

interface Node {
  readonly announcements: RedisAnnouncements
  readonly heard: string[]
  readonly failures: string[]
}

function updated (uri: string): Announcement {
  return { change: { kind: 'resource_updated', uri }, audience: { principal: 'ann' } }
}

function uriOf ({ change }: Announcement): string {
  return 'uri' in change ? change.uri : change.kind
}

function createNode (t: Test, redis: RedisClient, prefix: string): Node {
  const failures: string[] = []
  const announcements = new RedisAnnouncements({
    commands: new RedisCommands({ redis, prefix, timeout: 300 }),
    onError: (message) => { failures.push(message) }
  })
  const heard: string[] = []
  announcements.subscribe((announcement) => heard.push(uriOf(announcement)))
  t.teardown(() => announcements.close())
  return { announcements, heard, failures }
}

function connect (t: Test, url: string, options = {}): Redis {
  const redis = new Redis(url, { retryStrategy: () => 20, ...options })
  redis.on('error', () => {})
  t.teardown(() => redis.disconnect())
  return redis
}

t.test('on one Redis', needsRedis(), async (t) => {
  const { url, stop } = await startRedis()
  t.teardown(stop)

  t.test('all nodes hear what one announces, each once and in order', async (t) => {
    const prefix = `test-${randomUUID()}:`
    const nodes = [1, 2, 3].map(() => createNode(t, connect(t, url), prefix))
    for (const { announcements } of nodes) announcements.start()
    const [one, two] = nodes
    // Until all have read the log for the first time, they may take it for what was before them.
    await Promise.all(nodes.map(({ announcements }, index) => untilHeard(nodes, announcements, `warm-up ${index}`)))
    for (const { heard } of nodes) heard.length = 0
    for (let count = 0; count < 50; count++) one?.announcements.publish(updated(`one ${count}`))
    two?.announcements.publish(updated('two'))
    await until(() => nodes.every(({ heard }) => heard.includes('two') && heard.includes('one 49')), 'all have heard all')
    for (const { heard } of nodes) t.strictSame(heard.filter((uri) => uri.startsWith('one ')), Array.from({ length: 50 }, (_, count) => `one ${count}`))
    t.strictSame(nodes.flatMap(({ failures }) => failures), [])
  })

  t.test('a client with a key prefix hears the others that have it, and has it for its channel too', async (t) => {
    const prefix = `test-${randomUUID()}:`
    const nodes = [1, 2].map(() => createNode(t, connect(t, url, { keyPrefix: 'app:' }), prefix))
    for (const { announcements } of nodes) announcements.start()
    const [one] = nodes
    if (one !== undefined) await untilHeard(nodes, one.announcements, 'hello')
    t.ok(await connect(t, url).exists(`app:${prefix}announcements`))
  })

  t.test('a node that comes later remembers what was announced of late, and tells nobody', async (t) => {
    const prefix = `test-${randomUUID()}:`
    const redis = connect(t, url)
    const one = createNode(t, redis, prefix)
    one.announcements.publish(updated('before'))
    await until(() => one.announcements.recent().length === 1, 'it is there')
    await one.announcements.close()
    const key = `${prefix}announcements`
    t.ok(await redis.pttl(key) > 0, 'nothing stays in Redis')
    // As if it had been a while ago: of what is as old as its first answer is late, a node cannot tell that it came before.
    const [[, [, message = ''] = []] = []] = await redis.xrange(key, '-', '+')
    await redis.del(key)
    await redis.xadd(key, `${Date.now() - 10_000}-0`, 'message', message)
    // Somebody else's, of a later version.
    for (const message of ['', '{', 'null', '{"sender":"x","audience":{},"change":{"kind":"planets_list_changed"}}', '{"sender":"x","audience":{},"change":{"kind":"resource_updated"}}', '{"sender":"x","audience":{},"change":7}', '{"sender":"x"}']) {
      await redis.xadd(key, '*', 'message', message)
    }
    const two = createNode(t, redis, prefix)
    two.announcements.start()
    await until(() => two.announcements.recent().length === 1, 'it has read the log')
    t.strictSame(two.announcements.recent(), [updated('before')])
    t.strictSame(two.heard, [])
  })

  t.test('a log that is no log is told once, and does not keep this node from hearing itself', async (t) => {
    const prefix = `test-${randomUUID()}:`
    const redis = connect(t, url)
    await redis.set(`${prefix}announcements`, 'no log')
    const node = createNode(t, redis, prefix)
    for (const uri of ['one', 'two']) {
      node.announcements.publish(updated(uri))
      await until(() => node.failures.length > 0, 'it has failed')
    }
    t.strictSame(node.heard, ['one', 'two'])
    t.strictSame(node.failures, ['What has changed cannot be told to the other nodes, nor heard from them; this is tried again'])
  })
})

t.test('what was announced while Redis was away is told when it is back', needsRedisServer(), async (t) => {
  const server = await RedisServer.start()
  t.teardown(() => server.stop())
  const prefix = `test-${randomUUID()}:`
  const nodes = [1, 2].map(() => createNode(t, connect(t, server.url), prefix))
  for (const { announcements } of nodes) announcements.start()
  const [one, two] = nodes
  if (one === undefined || two === undefined) throw new Error('unreachable')
  await untilHeard(nodes, one.announcements, 'hello')
  await server.stop()
  for (let count = 0; count < 1002; count++) one.announcements.publish(updated(`away ${count}`))
  await until(() => one.failures.length > 0, 'it is told')
  t.equal(one.heard.filter((uri) => uri.startsWith('away')).length, 1002, 'here it was heard at once')
  await server.start()
  // The connection of the subscriber, which is back, wakes both.
  await until(() => two.heard.includes('away 1001'), 'it has come through')
  t.equal(one.failures.length, 1, 'once')
  t.notOk(two.heard.includes('away 1'), 'no more than a thousand wait, and one that was under way')
})

t.test('what the others announce after a node has started, and before Redis answers it, is news to it', needsRedis(), async (t) => {
  const { url, stop } = await startRedis()
  t.teardown(stop)
  const prefix = `test-${randomUUID()}:`
  const redis = connect(t, url)
  const one = createNode(t, redis, prefix)
  const sent = (count: number): Promise<void> => until(async () => await redis.xlen(`${prefix}announcements`) === count, 'it is in the log')
  one.announcements.publish(updated('before'))
  await sent(1)

  const way = createServer((socket) => {
    const { hostname, port } = new URL(url)
    pipeline(socket, createConnection(Number(port), hostname), socket, () => {})
  })
  const port = await freePort()
  const late = createNode(t, connect(t, `redis://127.0.0.1:${port}`), prefix)
  late.announcements.start()
  await until(() => late.failures.length === 1, 'Redis does not answer it')
  late.announcements.publish(updated('its own'))
  one.announcements.publish(updated('meanwhile'))
  await sent(2)
  way.listen(port, '127.0.0.1')
  t.teardown(() => way.close())

  await until(() => late.heard.includes('meanwhile'), 'it has read the log')
  t.strictSame(late.heard, ['its own', 'meanwhile'], 'each once, and nothing of before')
  t.strictSame(late.announcements.recent().map(uriOf).sort(), ['before', 'its own', 'meanwhile'])
})

t.test('on Redis Cluster', needsRedisServer(), async (t) => {
  const servers = await RedisClusterServers.start()
  t.teardown(() => servers.stop())
  const prefix = `test-${randomUUID()}:`
  const nodes = [1, 2].map(() => {
    const redis = servers.connect()
    t.teardown(() => redis.disconnect())
    return createNode(t, redis, prefix)
  })
  for (const { announcements } of nodes) announcements.start()
  const [one] = nodes
  if (one !== undefined) await untilHeard(nodes, one.announcements, 'hello')
  t.strictSame(nodes.flatMap(({ failures }) => failures), [])
})

// Announces it until all have heard it: a node that has just come takes the first ones for what was before it.
async function untilHeard (nodes: readonly Node[], announcements: RedisAnnouncements, uri: string): Promise<void> {
  const end = performance.now() + 20_000
  for (let turns = 0; !nodes.every(({ heard }) => heard.includes(uri)); turns++) {
    if (turns % 1000 === 0) announcements.publish(updated(uri))
    if (performance.now() > end) throw new Error(`Not all have heard ${uri}`)
    await turn()
  }
}
