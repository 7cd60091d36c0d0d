import { Redis } from 'ioredis'
import { randomUUID } from 'node:crypto'
import t, { type Test } from 'tap'
import type { DirectoryUnavailableError } from '../../../lib/cluster/directory.js'
import { RedisDirectory } from '../../../lib/cluster/redis/directory.js'
import { RedisEventStore } from '../../../lib/cluster/redis/event-store.js'
import type { RequestId } from '../../../lib/http/event-log.js'
import { needsRedisServer, RedisServer } from '../../helpers/redis-server.js'

interface Scene {
  readonly server: RedisServer
  readonly redis: Redis
  readonly directory: RedisDirectory
  readonly id: string
  readonly failures: DirectoryUnavailableError[]
  /** How often a copy of the session has found that it is not the one that counts. */
  lost: number
  /** A copy of the session. */
  store (changes?: { maxEvents?: number, maxBytes?: number, epoch?: number }): RedisEventStore
}

async function scene (t: Test): Promise<Scene> {
  const server = await RedisServer.start()
  const redis = new Redis(server.url, { retryStrategy: () => 20 })
  redis.on('error', () => {})
  t.teardown(async () => {
    redis.disconnect()
    await server.kill()
  })
  const directory = new RedisDirectory({ redis, ttl: 60_000, timeout: 300 })
  const id = randomUUID()
  const now = Date.now()
  const known = Number(await directory.create({
    id, principal: undefined, owner: 'node-1', createdAt: now, lastAccessedAt: now, metadata: undefined, state: undefined
  }))
  const failures: DirectoryUnavailableError[] = []
  const made: Scene = {
    server,
    redis,
    directory,
    id,
    failures,
    lost: 0,
    store: ({ maxEvents = 100, maxBytes = 1_000_000, epoch = known } = {}) => new RedisEventStore({
      commands: directory.commands,
      id,
      bounds: { maxEvents, maxBytes },
      epoch: () => epoch,
      ready: () => undefined,
      onUnavailable: (error) => { failures.push(error) },
      onLost: () => { made.lost++ }
    })
  }
  return made
}

async function after (store: RedisEventStore, id: string): Promise<{ data: string[], pending: readonly RequestId[] } | undefined> {
  const resumption = await store.after(id)
  if (resumption === undefined) return undefined
  const data: string[] = []
  for await (const page of resumption.pages()) data.push(...page.map((event) => event.data))
  return { data, pending: resumption.pending }
}

/** The events that Redis has, as their data. */
async function kept ({ redis, directory, id }: Scene): Promise<string[]> {
  const [, events] = directory.commands.sessionKeys(id)
  return (await redis.xrange(events, '-', '+')).map(([, fields]) => String(fields[5]))
}

t.test('on a Redis', needsRedisServer(), async (t) => {
  t.test('another copy of the session gives what a stream has had since, and no other stream', async (t) => {
    const { store } = await scene(t)
    const [here, there] = [store(), store()]
    const first = await here.append('one', '"1"', ['a', 'b'])
    await here.append('two', '"of two"', [])
    await here.append('one', '"2"', ['b'])
    const last = await here.append('one', '', ['b'])
    t.strictSame(await after(there, first), { data: ['"2"'], pending: ['b'] })
    t.strictSame(await after(there, last), { data: [], pending: ['b'] })
  })

  t.test('many events come page by page', async (t) => {
    const log = (await scene(t)).store()
    const first = await log.append('s', '', [1])
    const sent = Array.from({ length: 50 }, (_, index) => `"${index}"`)
    for (const data of sent) await log.append('s', data, [])
    t.strictSame(await after(log, first), { data: sent, pending: [] })
  })

  t.test('what is no event, or of another stream, or of the future is not known', async (t) => {
    const log = (await scene(t)).store()
    t.equal(await after(log, '1-1/s'), undefined, 'before there is any')
    const id = await log.append('s', '"1"', [])
    for (const wrong of ['', 'x', `${id}x`, id.replace('/s', '/t'), '999999999999999-0/s', id.replace('/s', '')]) {
      t.equal(await after(log, wrong), undefined, JSON.stringify(wrong))
    }
  })

  t.test('of what had to make room, the rest is given', async (t) => {
    const log = (await scene(t)).store({ maxEvents: 2 })
    const first = await log.append('s', '"1"', [])
    for (const data of ['"2"', '"3"', '"4"']) await log.append('s', data, [])
    t.strictSame(await after(log, first), { data: ['"3"', '"4"'], pending: [] })
  })

  t.test('bounds are in events and in bytes, and what is oldest goes first', async (t) => {
    const stage = await scene(t)
    const log = stage.store({ maxEvents: 3, maxBytes: 10 })
    for (const data of ['1234', '5678', '90']) await log.append('s', data, [])
    t.strictSame(await kept(stage), ['1234', '5678', '90'])
    await log.append('s', 'a', [])
    t.strictSame(await kept(stage), ['5678', '90', 'a'], 'a fourth event')
    await log.append('s', 'bcdefghi', [])
    t.strictSame(await kept(stage), ['a', 'bcdefghi'], 'too many bytes')
    await log.append('s', 'x'.repeat(11), [])
    t.strictSame(await kept(stage), [], 'more than fits')
  })

  t.test('what has reached its client goes before what is older', async (t) => {
    const stage = await scene(t)
    const log = stage.store({ maxEvents: 3 })
    await log.append('open', '"o"', [1])
    for (const data of ['"d1"', '"d2"']) await log.append('done', data, [])
    log.release('done')
    log.release('unheard of')
    await log.append('open', '"p"', [1])
    t.strictSame(await kept(stage), ['"o"', '"d2"', '"p"'])
    await log.append('open', '"q"', [1])
    t.strictSame(await kept(stage), ['"o"', '"p"', '"q"'])
  })

  t.test('a session has room for few names of streams, and loses the oldest', async (t) => {
    const log = (await scene(t)).store({ maxEvents: 2000 })
    for (let stream = 0; stream < 260; stream++) await log.append(`s${stream}`, '""', [])
    for (let event = 0; event < 520; event++) await log.append('long', '""', [])
    log.release('s0')
    log.release('long')
    t.match(await log.append('s', '"1"', []), /\/s$/)
  })

  t.test('a copy that is not the one that counts any more keeps nothing, and learns it', async (t) => {
    const stage = await scene(t)
    await t.rejects(stage.store({ epoch: 1 }).append('s', '"1"', []), { code: 'FST_ERR_MCP_SESSION_OWNER_FAILED' })
    t.equal(stage.lost, 1)
    t.strictSame(await kept(stage), [])
  })

  t.test('while Redis is away, events go out without an id, and nothing can be resumed', async (t) => {
    const { server, store, failures } = await scene(t)
    const log = store()
    const id = await log.append('s', '"1"', [])
    process.kill(Number(server.pid), 'SIGSTOP')
    t.teardown(() => process.kill(Number(server.pid), 'SIGCONT'))
    t.equal(await log.append('s', '"2"', []), '')
    t.equal(failures.length, 1)
    t.equal(await log.append('s', '"3"', []), '', 'at once')
    t.equal(failures.length, 1)
    await t.rejects(log.after(id), { code: 'FST_ERR_MCP_SESSION_CLUSTER_UNAVAILABLE' })
  })
})
