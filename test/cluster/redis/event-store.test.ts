import { Redis } from 'ioredis'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { ClusterUnavailableError } from '../../../lib/base/errors.js'
import { DirectoryUnavailableError } from '../../../lib/cluster/directory.js'
import { RedisCommands } from '../../../lib/cluster/redis/commands.js'
import { RedisDirectory } from '../../../lib/cluster/redis/directory.js'
import { RedisEventStore, type RedisEventStoreOptions } from '../../../lib/cluster/redis/event-store.js'
import type { EventLogBounds, KeptEvent, RequestId } from '../../../lib/http/event-log.js'
import { createDeferred } from '../../helpers/waiting/deferred.js'
import { createRandom } from '../../helpers/chance/random.js'
import { needsRedis, needsRedisServer, RedisClusterServers, RedisServer, startRedis } from '../../helpers/redis/redis-server.js'

const GET = 'get'
const TTL = 60_000

interface Scene {
  readonly directory: RedisDirectory
  readonly id: string
  readonly epoch: string
  /** The keys of the record, of the events, and of the index. */
  readonly keys: readonly [string, string, string]
  readonly failures: DirectoryUnavailableError[]
  readonly losses: () => number
  /** A copy of the session, on some node. */
  store (bounds?: Partial<EventLogBounds>, options?: Partial<RedisEventStoreOptions>): RedisEventStore
}

async function openScene (redis: ConstructorParameters<typeof RedisDirectory>[0]['redis'], { ttl = TTL, timeout = 1000, prefix = `test-${randomUUID()}:` } = {}): Promise<Scene> {
  const directory = new RedisDirectory({ redis, ttl, timeout, prefix })
  const id = randomUUID()
  const now = Date.now()
  const epoch = String(await directory.create({
    id, principal: undefined, owner: 'node-1', createdAt: now, lastAccessedAt: now, metadata: undefined, state: undefined
  }))
  const failures: DirectoryUnavailableError[] = []
  let losses = 0
  return {
    directory,
    id,
    epoch,
    keys: directory.commands.sessionKeys(id),
    failures,
    losses: () => losses,
    store: ({ maxEvents = 1000, maxBytes = 1_000_000 } = {}, options = {}) => new RedisEventStore({
      commands: directory.commands,
      id,
      bounds: { maxEvents, maxBytes },
      epoch: () => epoch,
      ready: () => undefined,
      onUnavailable: (error) => { failures.push(error) },
      onLost: () => { losses++ },
      ...options
    })
  }
}

interface Missed {
  readonly streamId: string
  readonly events: KeptEvent[]
  readonly pending: readonly RequestId[]
}

async function resume (store: RedisEventStore, lastEventId: string): Promise<Missed | undefined> {
  const resumption = await store.after(lastEventId)
  if (resumption === undefined) return undefined
  const events: KeptEvent[] = []
  for await (const page of resumption.pages()) events.push(...page.map(({ id, data }) => ({ id, data })))
  return { streamId: resumption.streamId, events, pending: resumption.pending }
}

async function readAfter (store: RedisEventStore, lastEventId: string): Promise<string[] | undefined> {
  return (await resume(store, lastEventId))?.events.map(({ data }) => data)
}

/** What `prefix` and the numbers up to `count` name, one after the other. */
async function fill (store: RedisEventStore, streamId: string, prefix: string, count: number): Promise<string[]> {
  const ids: string[] = []
  for (let i = 0; i < count; i++) ids.push(await store.append(streamId, `${prefix}${i}`, []))
  return ids
}

t.test('on one Redis', needsRedis(), async (t) => {
  const { url, stop } = await startRedis()
  const redis = new Redis(url)
  t.teardown(async () => {
    redis.disconnect()
    await stop()
  })
  await testStore(t, redis)
})

async function testStore (t: Test, redis: Redis): Promise<void> {
  t.test('any node gives what a stream has had since, in order and under the same ids', async (t) => {
    const { store } = await openScene(redis)
    const [here, there] = [store(), store()]
    const first = await here.append(GET, '1', [])
    await here.append('other', 'not this', [1])
    const second = await here.append(GET, '2', [])
    const third = await here.append(GET, '3', [])
    t.strictSame(await resume(there, first), { streamId: GET, events: [{ id: second, data: '2' }, { id: third, data: '3' }], pending: [] })
    t.strictSame(await readAfter(there, third), [])
    t.match(first, /^[\x21-\x7e]+$/, 'an id fits into a header')
  })

  t.test('what waits for an answer is not known when it cannot be read', async (t) => {
    const { store, keys: [, events] } = await openScene(redis)
    const log = store()
    const first = await log.append(GET, '1', [7])
    for (const pending of ['{', '3', '[null, 1, "a", {}]']) {
      await redis.xadd(events, '*', 'stream', GET, 'pending', pending, 'data', '2')
      t.strictSame((await resume(log, first))?.pending, pending.startsWith('[') ? [1, 'a'] : [])
    }
  })

  t.test('what Redis is told is what comes back', async (t) => {
    const { store } = await openScene(redis)
    const events = store()
    const first = await events.append('a-_Z9', '', ['ä', 1])
    const data = JSON.stringify({ text: '\u0000 € \ud83d\ude00 "\\', list: [1, null] })
    await events.append('a-_Z9', data, ['ä', 1])
    t.strictSame(await readAfter(store(), first), [data])
  })

  t.test('an event that only gives an id is not given again', async (t) => {
    const { store } = await openScene(redis)
    const events = store()
    const primed = await events.append('a', '', [1])
    await events.append('a', '', [1])
    await events.append('a', 'answer', [])
    t.strictSame(await readAfter(events, primed), ['answer'])
  })

  t.test('says which requests are still to be answered', async (t) => {
    const { store } = await openScene(redis)
    const [here, there] = [store(), store()]
    const primed = await here.append('a', '', [1, 'two'])
    await fill(here, GET, 'in between ', 40)
    t.strictSame((await resume(there, primed))?.pending, [1, 'two'])
    const answered = await here.append('a', 'answer to 1', ['two'])
    await fill(here, GET, 'in between ', 40)
    t.strictSame([(await resume(there, primed))?.pending, (await resume(there, answered))?.pending], [['two'], ['two']])
    await here.append('a', '', [])
    t.strictSame((await resume(there, primed))?.pending, [])
  })

  t.test('is read page by page, and what is kept meanwhile goes along', async (t) => {
    const { store } = await openScene(redis)
    const events = store()
    const first = await events.append(GET, 'first', [])
    await fill(events, GET, '', 50)
    const resumption = await store().after(first)
    const pages: string[][] = []
    for await (const page of resumption?.pages() ?? []) {
      pages.push(page.map(({ data }) => data))
      if (pages.length === 2) await fill(events, GET, 'meanwhile ', 20)
    }
    t.ok(pages.length > 3 && pages.every((page) => page.length <= 16), JSON.stringify(pages.map((page) => page.length)))
    t.strictSame(pages.flat(), [...Array.from({ length: 50 }, (_, i) => String(i)), ...Array.from({ length: 20 }, (_, i) => `meanwhile ${i}`)])
  })

  t.test('a session that ends meanwhile has nothing more', async (t) => {
    const { store, directory, id } = await openScene(redis)
    const events = store()
    const first = await events.append(GET, 'first', [])
    await fill(events, GET, '', 50)
    const pages: number[] = []
    for await (const page of (await events.after(first))?.pages() ?? []) {
      pages.push(page.length)
      await directory.remove(id)
    }
    t.equal(pages.length, 1)
    t.equal(await events.after(first), undefined)
  })

  t.test('tells ids that it has never given from those that had to make room', async (t) => {
    const { store } = await openScene(redis)
    const events = store({ maxEvents: 3 })
    t.equal(await events.after(`1-1/${GET}`), undefined, 'nothing is kept yet')
    const ids = await fill(events, GET, '', 5)
    const [gone = '', , kept = '', , last = ''] = ids
    t.strictSame(await readAfter(events, gone), ['2', '3', '4'], 'what is left is given')
    t.strictSame(await readAfter(events, kept), ['3', '4'])
    t.strictSame([(await events.after(gone))?.hasGap, (await events.after(kept))?.hasGap, (await events.after(last))?.hasGap], [true, false, false])
    const [time, number] = String(last.split('/')[0]).split('-')
    const unknown = [
      `${Number(time) + 1}-0/${GET}`, `${time}-${Number(number) + 1}/${GET}`, `${String(kept.split('/')[0])}/other`, '', 'x', '1-1', '1-1/', '/x',
      `1-1/${GET}\n`, ` ${kept}`, `${kept}/`, '1-1/%', `-1-1/${GET}`, `${'9'.repeat(16)}-1/x`, `1-1/${'x'.repeat(41)}`, `1-1/${GET}/${GET}`, '(1-1/x', '+/x'
    ]
    for (const id of unknown) t.equal(await events.after(id), undefined, JSON.stringify(id))
  })

  t.test('keeps no more events than it may, and no more bytes', async (t) => {
    const { store, keys: [record, key] } = await openScene(redis)
    await fill(store({ maxEvents: 10 }), GET, '', 30)
    t.equal(await redis.xlen(key), 10)
    const events = store({ maxBytes: 100 })
    t.equal(events.maxBytes, 100)
    const before = await events.append(GET, '', [])
    for (let i = 0; i < 20; i++) await events.append(i % 2 === 0 ? GET : 'other', `${i}`.repeat(10).slice(0, 9) + 'ä', [])
    t.equal(Number(await redis.hget(record, 'eventBytes')), 99, 'an ä is two bytes')
    t.equal(await redis.xlen(key), 9)
    t.equal((await readAfter(events, before))?.length, 4)
  })

  t.test('a large event takes the place of many, a few at a time', async (t) => {
    const { store, directory, keys: [record, key] } = await openScene(redis)
    const events = store({ maxEvents: 2000, maxBytes: 100_000 })
    await Promise.all(Array.from({ length: 1000 }, () => events.append(GET, 'x'.repeat(100), [])))
    const run = directory.commands.run.bind(directory.commands)
    const scripts: string[] = []
    directory.commands.run = (script, ...args) => {
      scripts.push(script)
      return run(script, ...args)
    }
    await events.append(GET, 'y'.repeat(60_000), [])
    t.equal(await redis.xlen(key), 401)
    t.equal(Number(await redis.hget(record, 'eventBytes')), 100_000)
    t.strictSame(scripts, ['store', ...Array<string>(9).fill('trim')])
    await events.append(GET, 'z'.repeat(100_001), [])
    t.strictSame([await redis.xlen(key), Number(await redis.hget(record, 'eventBytes'))], [0, 0], 'one that is too large itself')
  })

  t.test('what was counted and is not there any more is forgotten', async (t) => {
    const { store, keys: [record, key] } = await openScene(redis)
    const events = store({ maxBytes: 100 })
    await events.append(GET, 'x', [])
    await redis.hset(record, 'eventBytes', 1000)
    await events.append(GET, 'y', [])
    t.strictSame([await redis.xlen(key), Number(await redis.hget(record, 'eventBytes'))], [0, 0])
  })

  t.test('events of an earlier version, which did not note the last id, can be read', async (t) => {
    const { store, keys: [record] } = await openScene(redis)
    const events = store()
    const id = await events.append(GET, '', [])
    await events.append(GET, 'x', [])
    await redis.hdel(record, 'eventLast')
    t.strictSame(await readAfter(events, id), ['x'])
    t.equal(await events.after(`${Date.now() + 60_000}-0/${GET}`), undefined, 'one that was never given')
  })

  t.test('a page holds no more bytes than Redis copies in a moment', async (t) => {
    const { store } = await openScene(redis)
    const events = store({ maxBytes: 10_000_000 })
    const id = await events.append(GET, '', [])
    await fill(events, GET, 'x'.repeat(100_000), 10)
    const resumption = await events.after(id)
    const pages: number[] = []
    for await (const page of resumption?.pages() ?? []) pages.push(page.length)
    t.strictSame(pages, [2, 2, 2, 2, 2])
  })

  t.test('events that Redis has evicted are not counted', async (t) => {
    const { store, keys: [record, key] } = await openScene(redis)
    const events = store({ maxBytes: 100 })
    await events.append(GET, 'x'.repeat(90), [])
    await redis.del(key)
    const first = await events.append(GET, 'x'.repeat(40), [])
    await events.append(GET, 'y'.repeat(40), [])
    t.strictSame(await readAfter(events, first), ['y'.repeat(40)])
    t.equal(Number(await redis.hget(record, 'eventBytes')), 80)
  })

  t.test('what has reached its client goes first, then what is oldest', async (t) => {
    const { store } = await openScene(redis)
    const events = store({ maxEvents: 6 })
    const old = await events.append('old', '', [])
    await events.append('old', 'old', [])
    const delivered = await events.append('a', '', [1])
    await events.append('a', 'answer', [])
    events.release('a')
    events.release('never heard of')
    await fill(events, GET, '', 2)
    t.strictSame(await readAfter(events, delivered), ['answer'], 'not before there is need')
    await fill(events, GET, '', 2)
    t.strictSame([await readAfter(events, old), await readAfter(events, delivered)], [['old'], undefined])
    await fill(events, GET, '', 1)
    t.strictSame(await readAfter(events, old), ['old'], 'then the oldest')
    await fill(events, GET, '', 1)
    t.strictSame(await readAfter(events, old), [])
  })

  t.test('of what has reached its client, any number is let go of', async (t) => {
    const { store, keys: [, key] } = await openScene(redis)
    const events = store({ maxEvents: 700 })
    await fill(events, 'a', '', 40)
    const kept = await events.append(GET, 'kept', [])
    await fill(events, 'b', '', 600)
    events.release('a')
    events.release('b')
    const tight = store({ maxEvents: 10 })
    await tight.append(GET, 'last', [])
    t.equal(await redis.xlen(key), 10, 'another node only knows what is oldest')
    t.equal(await readAfter(tight, kept).then((data) => data?.at(-1)), 'last')
  })

  t.test('of more streams than it can remember, the first are like any other', async (t) => {
    const { store } = await openScene(redis)
    const events = store({ maxEvents: 300 })
    const ids: string[] = []
    for (let i = 0; i < 300; i++) ids.push(await events.append(`s${i}`, '', []))
    events.release('s0')
    events.release('s299')
    await events.append(GET, '1', [])
    t.equal(await events.after(String(ids[299])), undefined, 'one that is remembered is let go of')
    t.ok(await events.after(String(ids[0])))
  })

  t.test('lives as long as its session', async (t) => {
    const { store, directory, id, epoch, keys: [record, key] } = await openScene(redis)
    const events = store()
    await redis.pexpire(record, 5000)
    await events.append(GET, '', [])
    t.ok(await redis.pttl(key) <= 5000 && await redis.pttl(key) > 4000)
    await directory.touch([{ id, epoch, lastAccessedAt: Date.now() }])
    t.ok(await redis.pttl(key) > TTL - 5000)
    await directory.remove(id)
    t.equal(await redis.exists(key), 0)
    const endless = await openScene(redis, { ttl: 0 })
    await endless.store().append(GET, '', [])
    t.equal(await redis.pttl(endless.keys[1]), -1)
  })

  t.test('an owner that was replaced cannot write, and is told', async (t) => {
    const { store, directory, id, epoch, losses } = await openScene(redis)
    const old = store()
    const seen = await old.append(GET, '1', [])
    const claimed = await directory.claim({ id, epoch, owner: 'node-1' }, 'node-2', Date.now())
    await t.rejects(old.append(GET, '2', []), { code: 'FST_ERR_MCP_SESSION_OWNER_FAILED' })
    t.equal(losses(), 1)
    const now = store({}, { epoch: async () => String(claimed?.epoch) })
    await now.append(GET, '3', [])
    t.strictSame(await readAfter(now, seen), ['3'])
    await directory.remove(id)
    await t.rejects(now.append(GET, '4', []), { code: 'FST_ERR_MCP_SESSION_OWNER_FAILED' })
    t.equal(losses(), 2)
  })

  t.test('waits until it is known that the session is here', async (t) => {
    const { store, losses, failures } = await openScene(redis)
    const known = createDeferred<Error | undefined>()
    const ready = async (): Promise<void> => {
      const error = await known.promise
      if (error !== undefined) throw error
    }
    const events = store({}, { ready })
    let id = ''
    const appended = events.append(GET, '1', []).then((given) => { id = given })
    await turn()
    t.equal(id, '')
    known.resolve(undefined)
    await appended
    t.not(id, '')

    const lost = store({}, { ready: async () => { throw new Error('not here any more') } })
    await t.rejects(lost.append(GET, '1', []), { code: 'FST_ERR_MCP_SESSION_OWNER_FAILED' })
    const away = store({}, { ready: async () => { throw new DirectoryUnavailableError('away') } })
    t.equal(await away.append(GET, '1', []), '')
    t.strictSame([losses(), failures.length], [1, 1])
  })

  t.test('many at once are kept in the order in which they were told', async (t) => {
    const { store } = await openScene(redis)
    const events = store()
    const first = await events.append(GET, 'first', [])
    const data = Array.from({ length: 100 }, (_, i) => String(i))
    await Promise.all(data.map((text) => events.append(GET, text, [])))
    t.strictSame(await readAfter(events, first), data)
  })

  t.test('whatever happens, it keeps its bounds and gives what Redis holds', async (t) => {
    const seed = Number(process.env['SEED'] ?? 1)
    for (let round = 0; round < 6; round++) await playRound(t, redis, seed * 100 + round)
  })
}

async function playRound (t: Test, redis: Redis, seed: number): Promise<void> {
  const random = createRandom(seed)
  const { store, keys: [record, key] } = await openScene(redis)
  const bounds = { maxEvents: 1 + random.below(15), maxBytes: 20 + random.below(100) }
  const events = store(bounds)
  const given: string[] = []
  for (let step = 0; step < 60; step++) {
    const streamId = String(random.pick([GET, 'a', 'b', 'c']))
    if (random.below(5) === 0) {
      events.release(streamId)
      continue
    }
    given.push(await events.append(streamId, 'x'.repeat(random.below(20)), streamId === GET ? [] : [step]))
    const kept = (await redis.xrange(key, '-', '+')).map(([redisId, [, stream = '', , , , data = '']]) => ({ id: `${redisId}/${stream}`, stream, data }))
    const bytes = kept.reduce((sum, { data }) => sum + data.length, 0)
    const seen = String(random.pick(given))
    const missed = kept.slice(kept.findIndex(({ id }) => id === seen) + 1).filter(({ stream, data }) => stream === seen.split('/')[1] && data !== '')
    const actual = {
      isWithinBounds: kept.length <= bounds.maxEvents && bytes <= bounds.maxBytes,
      bytes: Number(await redis.hget(record, 'eventBytes')),
      missed: (await resume(events, seen))?.events
    }
    const isUnknown = !kept.some(({ id }) => id === seen) && actual.missed === undefined
    const expected = { isWithinBounds: true, bytes, missed: isUnknown ? undefined : missed.map(({ id, data }) => ({ id, data })) }
    if (JSON.stringify(actual) === JSON.stringify(expected)) continue
    t.strictSame(actual, expected, `seed ${seed}, step ${step}`)
    return
  }
}

t.test('a Redis that is away', needsRedisServer(), async (t) => {
  const server = await RedisServer.start()
  const redis = new Redis(server.url, { retryStrategy: () => 20 })
  redis.on('error', () => {})
  t.teardown(async () => {
    redis.disconnect()
    await server.kill()
  })
  const { store, failures, losses } = await openScene(redis, { timeout: 150 })
  const events = store({ maxEvents: 2 })
  const before = await events.append('a', 'delivered', [])
  events.release('a')
  await server.kill()
  const started = performance.now()
  for (let i = 0; i < 10; i++) t.equal(await events.append(GET, String(i), []), '', 'costs an id, not the message')
  t.ok(performance.now() - started < 1000, 'and one wait')
  t.match(failures, [{ name: 'DirectoryUnavailableError' }])
  t.equal(failures.length, 1)
  await t.rejects(events.after(before), { statusCode: 503, code: new ClusterUnavailableError().code })

  await server.start()
  // It has lost its data, and with them whose the session is.
  const error = await failureOf(async () => events.append(GET, 'again', []))
  t.match(error, { code: 'FST_ERR_MCP_SESSION_OWNER_FAILED' })
  t.equal(losses(), 1)
})

/** Commands that do not reach Redis while a test says so. */
class FlakyCommands extends RedisCommands {
  isAway = false

  override async run (...args: Parameters<RedisCommands['run']>): ReturnType<RedisCommands['run']> {
    if (this.isAway) throw new DirectoryUnavailableError('away')
    return super.run(...args)
  }
}

t.test('what has reached its client is not forgotten while Redis is away', needsRedis(), async (t) => {
  const { url, stop } = await startRedis()
  const redis = new Redis(url)
  t.teardown(async () => {
    redis.disconnect()
    await stop()
  })
  const prefix = `test-${randomUUID()}:`
  const commands = new FlakyCommands({ redis, timeout: 200, prefix })
  const { store } = await openScene(redis, { prefix })
  const events = store({ maxEvents: 3 }, { commands })
  const old = await events.append('old', '', [])
  await events.append('old', 'old', [])
  const delivered = await events.append('a', 'delivered', [])
  events.release('a')
  commands.isAway = true
  t.equal(await events.append(GET, '1', []), '')
  commands.isAway = false
  let id = ''
  while (id === '') {
    id = await events.append(GET, '2', [])
    await turn()
  }
  t.strictSame([await readAfter(events, old), await events.after(delivered)], [['old'], undefined])
})

/** Does something until it fails. */
async function failureOf (work: () => Promise<unknown>): Promise<unknown> {
  const end = performance.now() + 5000
  while (performance.now() < end) {
    try {
      await work()
    } catch (error) {
      return error
    }
    await turn()
  }
  return undefined
}

t.test('on Redis Cluster', needsRedisServer(), async (t) => {
  const servers = await RedisClusterServers.start()
  const redis = servers.connect()
  t.teardown(async () => {
    redis.disconnect()
    await servers.stop()
  })
  await once(redis, 'ready')
  for (let i = 0; i < 10; i++) {
    const { store, directory, id, epoch } = await openScene(redis)
    const events = store()
    const seen = await events.append(GET, '0', [])
    await events.append(GET, '1', [])
    t.strictSame(await readAfter(store(), seen), ['1'])
    t.strictSame(await directory.touch([{ id, epoch, lastAccessedAt: Date.now() }]), [])
  }
})
