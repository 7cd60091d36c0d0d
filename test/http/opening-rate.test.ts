import { mock } from 'node:test'
import t from 'tap'
import { LocalMinuteCounts } from '../../lib/http/opening-rate.js'
import { buildEndpoint } from '../helpers/apps/endpoint-app.js'
import { initialize } from '../helpers/clients/http-client.js'
import { RedisMinuteCounts } from '../../lib/cluster/redis/minute-counts.js'
import { RedisCommands } from '../../lib/cluster/redis/commands.js'
import { needsRedisServer, RedisServer } from '../helpers/redis/redis-server.js'
import { Redis } from 'ioredis'
import { createCluster } from '../helpers/cluster/cluster-apps.js'
import { mcpEndpoint } from '../../index.js'
import { ToolServer } from '../helpers/mcp-servers/tool-server.js'

function stopClock (): (milliseconds: number) => void {
  let now = performance.now()
  mock.method(performance, 'now', () => now)
  return (milliseconds) => { now += milliseconds }
}

t.afterEach(() => mock.restoreAll())

t.test('a minute begins with the first, and ends for each key by itself', async (t) => {
  const advance = stopClock()
  const counts = new LocalMinuteCounts()
  t.strictSame([counts.count('ann'), counts.count('ann')], [1, 2])
  advance(30_001)
  t.strictSame([counts.count('bob'), counts.count('ann')], [1, 3])
  advance(30_001)
  t.strictSame([counts.count('ann'), counts.count('bob')], [1, 2])
})

t.test('of too many keys the oldest are forgotten', async (t) => {
  const counts = new LocalMinuteCounts()
  for (let index = 0; index <= 100_000; index++) counts.count(`${index}`)
  t.equal(counts.count('100000'), 2)
  t.equal(counts.count('0'), 1)
})

t.test('a principal opens so many sessions in a minute, an anonymous address as well', async (t) => {
  const advance = stopClock()
  const { app } = await buildEndpoint(t, { sessions: { maxOpensPerMinute: 2, identify: ({ headers }) => headers.authorization } })
  const open = async (authorization?: string, remoteAddress = '10.0.0.1'): Promise<number> => {
    const { statusCode, headers, json } = await app.inject({
      method: 'POST', url: '/mcp', remoteAddress, headers: { accept: 'application/json', ...(authorization !== undefined && { authorization }) }, payload: initialize()
    })
    if (statusCode === 429) {
      t.equal(headers['retry-after'], '60')
      t.match(json(), { error: { data: { code: 'FST_ERR_MCP_SESSION_OPENING_RATE' } } })
    }
    return statusCode
  }
  t.strictSame([await open('ann'), await open('ann'), await open('ann'), await open('ann', '10.0.0.2')], [200, 200, 429, 429])
  t.strictSame([await open('bob'), await open(), await open(), await open(), await open(undefined, '10.0.0.2')], [200, 200, 200, 429, 200])
  t.equal(app.sessionManager.getActiveSessionCount(), 6, 'none is left of those that were refused')
  t.strictSame([await open(undefined, '2001:db8::1'), await open(undefined, '2001:db8::2'), await open(undefined, '2001:db8::ffff:3')], [200, 200, 429])
  advance(60_001)
  t.strictSame([await open('ann'), await open()], [200, 200])
})

t.test('the option is a count', async (t) => {
  for (const maxOpensPerMinute of [0, -1, 1.5]) {
    await t.rejects(buildEndpoint(t, { sessions: { maxOpensPerMinute } }), { message: /Option "maxOpensPerMinute" must be a whole number > 0/ })
  }
})

t.test('over Redis', needsRedisServer(), async (t) => {
  const server = await RedisServer.start()
  t.teardown(() => server.stop())

  t.test('all nodes count together', async (t) => {
    const addNode = createCluster(t, server.url)
    const options = {
      plugin: { maxOpensPerMinute: 2 },
      routes: async (app: Parameters<typeof mcpEndpoint>[0]) => { await app.register(mcpEndpoint, { createServer: () => new ToolServer().mcp }) }
    }
    const [one, two] = [await addNode(options), await addNode(options)]
    const open = async ({ app }: typeof one): Promise<number> => {
      const headers = { accept: 'application/json', authorization: 'ann' }
      return (await app.inject({ method: 'POST', url: '/mcp', headers, payload: initialize() })).statusCode
    }
    t.strictSame([await open(one), await open(two), await open(one), await open(two)], [200, 200, 429, 429])
    const keys = await one.redis.keys(`${one.prefix}count:*`)
    t.equal(keys.length, 1)
    t.ok(await one.redis.pttl(String(keys[0])) > 0, 'and it ends')
  })

  t.test('while Redis is away each node counts for itself', async (t) => {
    const redis = new Redis(server.url, { retryStrategy: () => 20 })
    redis.on('error', () => {})
    t.teardown(() => redis.disconnect())
    const counts = new RedisMinuteCounts(new RedisCommands({ redis, timeout: 100 }))
    t.equal(await counts.count('ann'), 1)
    await server.stop()
    t.strictSame([await counts.count('ann'), await counts.count('bob')], [2, 1])
  })
})
