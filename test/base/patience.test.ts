import { mock } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { NodeLease } from '../../lib/cluster/lease.js'
import { startPatience } from '../../lib/base/patience.js'
import { RedisDirectory } from '../../lib/cluster/redis/directory.js'
import { MemoryDirectory } from '../helpers/cluster/memory-directory.js'
import { needsRedisServer, RedisServer } from '../helpers/redis/redis-server.js'

/** Much work in one turn of the event loop. */
function standStill (ms: number): void {
  const end = performance.now() + ms
  while (performance.now() < end);
}

function fakeTime (t: Test): void {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => { mock.timers.reset() })
}

t.test('it is over when the time has passed, once', async (t) => {
  fakeTime(t)
  let calls = 0
  startPatience(1000, () => { calls++ })
  for (let i = 0; i < 99; i++) mock.timers.tick(10)
  t.equal(calls, 0)
  for (let i = 0; i < 99; i++) mock.timers.tick(10)
  t.equal(calls, 1)
})

t.test('it can be ended', async (t) => {
  fakeTime(t)
  for (const passed of [0, 50, 550]) {
    const end = startPatience(1000, () => t.fail('it was ended'))
    for (let i = 0; i < passed; i += 10) mock.timers.tick(10)
    end()
    for (let i = 0; i < 200; i++) mock.timers.tick(10)
  }
})

t.test('time in which nothing could be read costs little of it', async (t) => {
  fakeTime(t)
  let isOver = false
  startPatience(1000, () => { isOver = true })
  mock.timers.tick(5000)
  mock.timers.tick(5000)
  t.equal(isOver, false)
})

t.test('a process that stood still does not take its own delay for that of Redis', needsRedisServer(), async (t) => {
  const server = await RedisServer.start()
  t.teardown(() => server.stop())
  const redis = new Redis(server.url)
  t.teardown(() => redis.disconnect())
  const directory = new RedisDirectory({ redis, timeout: 200, ttl: 1000 })
  const { id } = await directory.history()
  const answer = directory.history()
  // Until it has been sent.
  for (let i = 0; i < 5; i++) await Promise.resolve()
  standStill(300)
  t.equal((await answer).id, id)
})

t.test('a node that stood still while it joined does not turn requests away', async (t) => {
  const directory = new MemoryDirectory()
  const { announce } = directory
  directory.announce = async (...args) => {
    const isNew = await announce.apply(directory, args)
    // The first one can come before the timers.
    await turn()
    await turn()
    return isNew
  }
  const node = new NodeLease({ directory, url: () => 'http://127.0.0.1:3000' })
  t.teardown(() => node.leave())
  const joined = node.whenValid(200)
  standStill(300)
  t.equal(await joined, true)
})
