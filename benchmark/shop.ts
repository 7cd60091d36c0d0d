import { Redis } from 'ioredis'
import { needsRedisServer, RedisServer } from '../test/helpers/redis/redis-server.js'
import type { Tool } from './mcp-load.js'
import { ServerProcess } from './server-process.js'

/** Of the shop; each of their clients has a connection of its own. */
export const USERS = 50

/**
 * Runs what the tools of the public workload ask, an HTTP service and Redis, and does the work with what
 * measure/shop-server.ts has to be told of them. Says so and does nothing where there is no redis-server.
 */
export async function withShop (work: (args: readonly string[]) => Promise<void>): Promise<void> {
  const { skip } = needsRedisServer()
  if (skip !== false) {
    console.log(`\nthe public workload is left out: ${skip}`)
    return
  }
  const redis = await RedisServer.start()
  await seed(redis.url)
  const service = await ServerProcess.start('shop-service')
  await work([redis.url, service.url])
  await service.stop()
  await redis.stop()
}

/** One user after the other, each with the three tools in turn. */
export function visit (index: number): Tool {
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
