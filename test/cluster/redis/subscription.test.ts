import { once } from 'node:events'
import { Redis, type RedisOptions } from 'ioredis'
import t from 'tap'
import { Subscription } from '../../../lib/cluster/redis/subscription.js'
import { TcpLink } from '../../chaos/tcp-link.js'
import { needsRedisServer, RedisServer } from '../../helpers/redis/redis-server.js'
import { until } from '../../helpers/waiting/until.js'

/** Shows the connections that are made like it. */
class OpenRedis extends Redis {
  readonly copies: Redis[] = []

  override duplicate (override?: Partial<RedisOptions>): Redis {
    const copy = super.duplicate(override)
    this.copies.push(copy)
    return copy
  }
}

t.test('one that ends while it subscribes again leaves no rejection that nobody handles', needsRedisServer(), async (t) => {
  const server = await RedisServer.start()
  t.teardown(() => server.kill())
  const link = await TcpLink.to(server.port)
  t.teardown(() => link.close())
  const redis = new OpenRedis(link.port, '127.0.0.1', { retryStrategy: () => 20 })
  redis.on('error', () => {})
  t.teardown(() => redis.disconnect())
  let woken = 0
  const subscription = new Subscription({ redis, channel: 'news', patience: 60_000, wake: () => { woken++ } })
  await until(() => woken > 0, 'it has subscribed')
  const [copy] = redis.copies
  if (copy === undefined) throw new Error('It has made no connection')
  copy.prependListener('ready', () => link.silence())
  await redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub')
  await once(copy, 'ready')
  subscription.close()
  const ended = once(copy, 'end')
  link.cut()
  // Whatever nobody handles fails the test.
  await ended
  await new Promise((resolve) => setImmediate(resolve))
  t.equal(copy.status, 'end')
})
