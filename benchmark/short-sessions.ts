import { Redis } from 'ioredis'
import { needsRedisServer, RedisServer } from '../test/helpers/redis/redis-server.js'
import { Contest, shopNames } from './contest.js'
import type { Tool } from './mcp-load.js'
import { ServerProcess } from './server-process.js'

const USERS = 50

/** Short sessions as a public benchmark has them: three tools, each of which asks an HTTP service and Redis. */
export async function measureShortSessions (): Promise<void> {
  const { skip } = needsRedisServer()
  if (skip !== false) {
    console.log(`\nthe public workload is left out: ${skip}`)
    return
  }
  const redis = await RedisServer.start()
  await seed(redis.url)
  const service = await ServerProcess.start('shop-service')
  const contest = await Contest.hold(shopNames, {
    warmUp: 900,
    count: 150,
    connections: USERS,
    args: [redis.url, service.url],
    prepare: async ({ load }) => (count) => load.liveMany(count, visit)
  })
  await service.stop()
  await redis.stop()
  console.log('\na session of the public workload (initialize, initialized, tools/call, DELETE), CPU time of the server')
  for (const name of shopNames) contest.print(name)
  console.log('of each other, in the same round')
  for (const sdk of ['SDK 1', 'SDK 2'] as const) {
    contest.compare(`mcpEndpoint, ${sdk}, made once`, `server per request, ${sdk}`, 0.35)
    contest.compare(`mcpEndpoint, ${sdk}`, `server per request, ${sdk}`)
    contest.compare(`mcpEndpoint, ${sdk}, made once`, `server per request, ${sdk}, made once`)
    contest.compare(`mcpEndpoint, ${sdk}, made once`, `by hand, ${sdk}`, 0.5)
    contest.compare(`mcpEndpoint, ${sdk}, made once`, `by hand, ${sdk}, made once`)
    contest.compare(`mcpEndpoint, ${sdk}`, `by hand, ${sdk}`)
  }
}

// One user after the other, each with the three tools in turn.
function visit (index: number): Tool {
  const user = `user-${String(Math.floor(index / 3) % USERS).padStart(5, '0')}`
  switch (index % 3) {
    case 0: return {
      name: 'search_products',
      args: '{"category":"Electronics","min_price":50,"max_price":500,"limit":10}',
      expected: ['\\"total_found\\":2', '\\"popularity_rank\\"', '\\"top10_popular_ids\\":[']
    }
    case 1: return { name: 'get_user_cart', args: `{"user_id":"${user}"}`, expected: [`\\"user_id\\":\\"${user}\\"`, '\\"item_count\\":3'] }
    default: return {
      name: 'checkout',
      args: `{"user_id":"${user}","items":[{"product_id":42,"quantity":2},{"product_id":1337,"quantity":1}]}`,
      expected: ['\\"status\\":\\"confirmed\\"', '\\"items_count\\":2', `\\"user_id\\":\\"${user}\\"`]
    }
  }
}

async function seed (url: string): Promise<void> {
  const redis = new Redis(url)
  for (let index = 0; index < USERS; index++) {
    const user = `user-${String(index).padStart(5, '0')}`
    await redis.hset(`bench:cart:${user}`, { 42: 2, 1337: 1 })
    await redis.rpush(`bench:history:${user}`, ...Array.from({ length: 5 }, (_, order) => JSON.stringify({ order_id: `order-${order}` })))
  }
  await redis.zadd('bench:popular', ...Array.from({ length: 100 }, (_, index) => [index, `product:${index + 1}`]).flat())
  redis.disconnect()
}
