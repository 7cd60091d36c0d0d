import { createHash, randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis, type Cluster, type RedisOptions } from 'ioredis'
import t, { type Test } from 'tap'
import { RedisDirectory } from '../../../lib/cluster/redis/directory.js'
import { ALL_SHARDS, shardOf } from '../../../lib/cluster/redis/shards.js'
import { createRandom } from '../../helpers/chance/random.js'
import { RedisClusterServers, RedisServer, needsRedis, needsRedisServer, startRedis } from '../../helpers/redis/redis-server.js'
import { realTime, testDirectory } from '../directory-contract.js'

const now = Date.now()
const session = (id: string): Parameters<RedisDirectory['create']>[0] => ({
  id, principal: undefined, owner: 'node-1', createdAt: now, lastAccessedAt: Date.now(), metadata: undefined, state: undefined
})

function client (t: Test, server: RedisServer, options: Pick<RedisOptions, 'retryStrategy' | 'maxRetriesPerRequest'> = {}): Redis {
  const redis = new Redis({ port: server.port, host: '127.0.0.1', ...options })
  redis.on('error', () => {})
  t.teardown(() => { redis.disconnect() })
  return redis
}

async function serve (t: Test, options: Parameters<typeof RedisServer.start>[0] = {}): Promise<RedisServer> {
  const server = await RedisServer.start(options)
  t.teardown(() => server.kill())
  return server
}

async function eventually (check: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 3000
  while (!await check() && Date.now() < deadline) await sleep(10)
}

t.test('on one Redis', needsRedis(), async t => {
  const { url, stop } = await startRedis()
  const clients = [new Redis(url), new Redis(url)] as const
  t.teardown(async () => {
    for (const redis of clients) redis.disconnect()
    await stop()
  })
  testDirectory(t, async (_, ttl) => {
    const options = { ttl, prefix: `test-${randomUUID()}:` }
    return {
      one: new RedisDirectory({ ...options, redis: clients[0] }),
      two: new RedisDirectory({ ...options, redis: clients[1] }),
      ...realTime
    }
  })
})

t.test('on one Redis, through clients with a keyPrefix of their own', needsRedis(), async t => {
  const { url, stop } = await startRedis()
  const keyPrefix = `[app*]-${randomUUID()}:`
  const redis = new Redis(url, { keyPrefix })
  t.teardown(async () => {
    redis.disconnect()
    await stop()
  })
  testDirectory(t, async (_, ttl) => {
    const options = { redis, ttl, prefix: `${randomUUID()}:` }
    return { one: new RedisDirectory(options), two: new RedisDirectory(options), ...realTime }
  })
})

t.test('on Redis Cluster', needsRedisServer(), async t => {
  const servers = await RedisClusterServers.start()
  const clients: Cluster[] = [
    servers.connect({ scaleReads: 'all' }),
    servers.connect({ lazyConnect: true, redisOptions: { keyPrefix: 'app:' }, keyPrefix: 'app:' })
  ]
  const plain = servers.connect({ lazyConnect: true })
  t.teardown(async () => {
    for (const redis of [...clients, plain]) redis.disconnect()
    await servers.stop()
  })

  t.test('spreads over all masters, and counts before anything else was asked', async t => {
    const directory = new RedisDirectory({ redis: plain, ttl: 60_000, prefix: 'spread:' })
    t.equal(await directory.count(), 0)
    await Promise.all(Array.from({ length: 60 }, (_, i) => directory.create(session(`${i}`))))
    t.equal(await directory.count(), 60)
    for (const node of plain.nodes('master')) t.ok(await node.dbsize() > 5)
  })

  t.test('has its shards evenly on the machines', async t => {
    const slots = await Promise.all(ALL_SHARDS.map(async (shard) => Number(await plain.cluster('KEYSLOT', `{${shard}}`))))
    t.equal(new Set(slots.map((slot) => Math.floor(slot / 256))).size, 64, 'each in another 64th of the slots')
    const used = Array.from({ length: 2000 }, (_, i) => shardOf(createHash('sha256').update(`${i}`).digest()))
    t.equal(new Set(used).size, 64)
    t.strictSame(used.filter((shard) => !ALL_SHARDS.includes(shard)), [])
  })

  t.test('has another history when any of its machines has lost its data', async t => {
    const directory = new RedisDirectory({ redis: plain, ttl: 60_000, prefix: 'parts:' })
    const first = await directory.history()
    t.equal((await directory.history()).id, first.id)
    const ids = new Set([first.id])
    for (const node of plain.nodes('master')) {
      const isSecretThere = (await node.keys('*')).includes(directory.commands.historyKey())
      await sleep(20)
      const { secret } = await directory.history()
      await node.flushall()
      const history = await directory.history()
      ids.add(history.id)
      t.equal(history.secret === secret, !isSecretThere)
      t.ok(history.age < 20, 'it is as old as its youngest part')
      t.notOk(history.isFresh, 'other parts have kept what they had')
    }
    t.equal(ids.size, 4)
  })

  for (const redis of clients) {
    t.test(`with keyPrefix ${redis.options.keyPrefix}`, async t => {
      testDirectory(t, async (_, ttl) => {
        const options = { redis, ttl, prefix: `test-${randomUUID()}:` }
        return { one: new RedisDirectory(options), two: new RedisDirectory(options), ...realTime }
      })
    })
  }
})

t.test('a prefix that would break hash tags is refused', async t => {
  const redis = new Redis({ lazyConnect: true })
  t.throws(() => new RedisDirectory({ redis, ttl: 1, prefix: '{mcp' }), /prefix must not contain braces/)
})

t.test('the client stays as it was, and two directories share it', needsRedisServer(), async t => {
  const server = await serve(t)
  const redis = client(t, server)
  const before = { ...redis.options }
  const events = redis.eventNames().map(name => [name, redis.listenerCount(name)])
  const one = new RedisDirectory({ redis, ttl: 1000, prefix: 'a:' })
  const two = new RedisDirectory({ redis, ttl: 1000, prefix: 'b:' })
  await one.create(session('x'))
  t.equal(await two.get('x'), undefined)
  t.strictSame({ ...redis.options }, before)
  t.strictSame(redis.eventNames().map(name => [name, redis.listenerCount(name)]), events)
  t.equal(redis.status, 'ready')
})

t.test('sessions of a cluster whose prefix begins like the keys of another are not taken for its own', needsRedisServer(), async t => {
  const server = await serve(t)
  const redis = client(t, server)
  const unreadable: string[] = []
  const one = new RedisDirectory({ redis, ttl: 60_000, prefix: 'a:', onUnreadable: (_, key) => { unreadable.push(key) } })
  const two = new RedisDirectory({ redis, ttl: 60_000, prefix: 'a:session:' })
  await one.create(session('x'))
  await two.create(session('y'))
  const ids: string[] = []
  for await (const { id } of one.list()) ids.push(id)
  t.strictSame(ids, ['x'])
  t.strictSame(unreadable, [])
})

t.test('a lookup is one command while the owner is known', needsRedisServer(), async t => {
  const server = await serve(t)
  const redis = client(t, server)
  const directory = new RedisDirectory({ redis, ttl: 60_000 })
  await directory.announce({ node: 'node-1', url: 'http://127.0.0.1:1' }, 60_000)
  for (const id of ['a', 'b', 'c']) await directory.create(session(id))
  await directory.get('a')
  const calls = async (): Promise<number> => Number(/total_commands_processed:(\d+)/.exec(await redis.info('stats'))?.[1])
  await directory.get('a')
  await directory.get('b')
  const before = await calls()
  for (const id of ['a', 'b', 'c']) t.ok((await directory.get(id))?.owner)
  // Each evalsha counts as one, and so does the HGETALL inside it; INFO is the last.
  t.equal(await calls() - before, 3 * 2 + 1)
})

t.test('nodes that are gone are not remembered for ever', needsRedisServer(), async t => {
  const directory = new RedisDirectory({ redis: client(t, await serve(t)), ttl: 60_000 })
  await directory.announce({ node: 'short', url: 'http://127.0.0.1:1' }, 30)
  await directory.announce({ node: 'long', url: 'http://127.0.0.1:2' }, 60_000)
  t.ok(await directory.peer('short'))
  await sleep(40)
  t.ok(await directory.peer('long'))
  t.equal(await directory.peer('short'), undefined)
})

t.test('while Redis is away, every call fails in time as unavailable', needsRedisServer(), async t => {
  const server = await serve(t)
  const redis = client(t, server, { maxRetriesPerRequest: null, retryStrategy: () => 20 })
  const directory = new RedisDirectory({ redis, ttl: 1000, timeout: 200 })
  await directory.create(session('x'))

  const everything = async (): Promise<void> => {
    const started = Date.now()
    const list = async (): Promise<void> => { for await (const record of directory.list()) t.fail(record.id) }
    const calls = [
      directory.create(session('y')), directory.get('x'), directory.claim({ id: 'x', epoch: '1', owner: undefined }, 'node-1', now),
      directory.touch([{ id: 'x', epoch: '1', lastAccessedAt: now }]), directory.update('x', '1', {}),
      directory.release([{ id: 'x', epoch: '1', lastAccessedAt: now }]), directory.remove('none'), directory.count(), list(),
      directory.announce({ node: 'n', url: 'u' }, 100), directory.renew('n', 100), directory.withdraw('n'),
      directory.peer('n'), directory.send('n', {}), directory.history()
    ]
    for (const { status, reason } of (await Promise.allSettled(calls)).map(r => ({ reason: undefined, ...r }))) {
      t.equal(status, 'rejected')
      t.match(reason, { name: 'DirectoryUnavailableError' })
    }
    t.ok(Date.now() - started < 600)
  }

  t.comment('frozen: connected but silent')
  server.freeze()
  await everything()
  server.thaw()
  t.comment('killed: the client is reconnecting')
  await server.kill()
  while (redis.status === 'ready') await sleep(5)
  await everything()
  t.equal(redis.listenerCount('ready') < 3, true, 'waiting calls share a listener')
  await server.start()
  await eventually(async () => await directory.count() === 0)
  t.equal(await directory.count(), 0, 'what ioredis has sent again is undone, and the rest was never sent')
})

t.test('data outlive a restart where they are kept', needsRedisServer(), async t => {
  const server = await serve(t, { dir: t.testdir() })
  const directory = new RedisDirectory({ redis: client(t, server, { retryStrategy: () => 20 }), ttl: 60_000 })
  const epoch = String(await directory.create(session('x')))
  await server.stop()
  await server.start()
  t.match(await directory.get('x'), { record: { epoch } })
  t.ok(await directory.claim({ id: 'x', epoch, owner: 'node-1' }, 'node-2', now), 'and its scripts are loaded again')
})

t.test('what was done too late is undone', needsRedisServer(), async t => {
  const server = await serve(t)
  const directory = new RedisDirectory({ redis: client(t, server), ttl: 60_000, timeout: 200 })
  const epoch = String(await directory.create(session('x')))
  server.freeze()
  await t.rejects(Promise.all([
    directory.create(session('y')), directory.create({ ...session('x'), owner: 'node-2' }), directory.claim({ id: 'x', epoch, owner: 'node-1' }, 'node-3', now),
    directory.claim({ id: 'x', epoch: '1', owner: undefined }, 'node-1', now)
  ]), { name: 'DirectoryUnavailableError' })
  await sleep(220)
  server.thaw()
  await eventually(async () => await directory.get('y') === undefined && (await directory.get('x'))?.record.owner === undefined)
  t.equal(await directory.get('y'), undefined, 'a session whose creation had failed is not there')
  const left = await directory.get('x')
  t.match(left, { record: { owner: undefined } }, 'a session whose claim had failed is free')
  t.ok(String(left?.record.epoch) > epoch)
})

t.test('a late undo that fails too stays silent', needsRedisServer(), async t => {
  const server = await serve(t)
  const redis = client(t, server)
  const directory = new RedisDirectory({ redis, ttl: 60_000, timeout: 100 })
  await directory.count()
  server.freeze()
  await t.rejects(directory.create(session('y')))
  const answered = new Promise<void>(resolve => {
    const { commands } = directory
    const late = commands.run.bind(commands)
    commands.run = async (...undo) => {
      redis.disconnect()
      try {
        return await late(...undo)
      } finally {
        resolve()
      }
    }
  })
  server.thaw()
  await answered
})

t.test('what is no load of a node is left out', needsRedis(), async t => {
  const { url, stop } = await startRedis()
  const redis = new Redis(url)
  t.teardown(async () => {
    redis.disconnect()
    await stop()
  })
  const directory = new RedisDirectory({ redis, ttl: 60_000, prefix: `test-${randomUUID()}:` })
  const load = { node: 'one', url: 'http://one:1', held: 1, room: Infinity, spare: false }
  const till = Date.now() + 60_000
  const key = directory.commands.loadsKey()
  await redis.hset(key, 'a', `${till} {`, 'b', `${till} {"node":"b"}`, 'c', `${till} null`, 'd', 'never {}')
  t.strictSame(await directory.report(load, 5000), [load])
  t.match(await directory.loads(), [load])
})

t.test('a client that its maker has closed fails at once', async t => {
  const redis = new Redis({ lazyConnect: true })
  redis.disconnect()
  await new Promise(resolve => { setImmediate(resolve) })
  const directory = new RedisDirectory({ redis, ttl: 60_000, timeout: 60_000 })
  await t.rejects(directory.get('x'), { name: 'DirectoryUnavailableError', cause: { message: 'The client is closed' } })
})

t.test('a refusal by Redis is a failure of the directory, not an answer', needsRedisServer(), async t => {
  const redis = client(t, await serve(t))
  const directory = new RedisDirectory({ redis, ttl: 60_000 })
  await redis.set(directory.commands.historyKey(), 'not a hash')
  await t.rejects(directory.history(), { name: 'DirectoryUnavailableError', cause: /WRONGTYPE/ })
})

t.test('says when its commands were taken from the client', async t => {
  const redis = new Redis({ lazyConnect: true })
  const directory = new RedisDirectory({ redis, ttl: 60_000 })
  for (const name of Object.keys(redis).filter(name => name.startsWith('mcpSessions_'))) Reflect.deleteProperty(redis, name)
  await t.rejects(directory.get('x'), { name: 'DirectoryUnavailableError', cause: /lost its commands/ })
})

t.test('mail that is no message is left out', needsRedisServer(), async t => {
  const redis = client(t, await serve(t))
  const directory = new RedisDirectory({ redis, ttl: 60_000 })
  await directory.announce({ node: 'n', url: 'u' }, 60_000)
  await directory.send('n', { n: 1 })
  await redis.rpush(directory.commands.nodeKeys('n')[1], '{', 'null', '3', '[]')
  await directory.send('n', { n: 2 })
  t.strictSame(await directory.renew('n', 60_000), [{ n: 1 }, { n: 2 }])
})

t.test('records that cannot be read are left out of the list, counted, and told of once', needsRedisServer(), async t => {
  const redis = client(t, await serve(t))
  const told: string[] = []
  const directory = new RedisDirectory({ redis, ttl: 60_000, onUnreadable: ({ message }) => { told.push(message) } })
  const mute = new RedisDirectory({ redis, ttl: 60_000 })
  const [good, ...bad] = ['good', ...Array.from({ length: 1002 }, (_, i) => `bad${i}`)]
  await directory.create(session(String(good)))
  for (const id of bad) await redis.set(directory.commands.sessionKeys(id)[0], 'text')
  const walk = async (): Promise<[string[], number]> => {
    const ids: string[] = []
    let unreadable = 0
    for await (const { id } of directory.list(() => { unreadable++ })) ids.push(id)
    return [ids, unreadable]
  }
  t.strictSame(await walk(), [['good'], 1002])
  t.equal(told.length, 1002)
  t.equal(told[0], 'it is no hash')
  await directory.get('bad0')
  t.ok(told.length <= 1003, 'what is remembered of them is bounded')
  for await (const { id } of mute.list()) t.equal(id, 'good')
})

t.test('counts what there is, whatever becomes of it, and never walks through the keys', needsRedisServer(), async t => {
  const redis = client(t, await serve(t))
  const directory = new RedisDirectory({ redis, ttl: 60_000 })
  const random = createRandom(1)
  const known = new Map<string, string>()
  const acts: Array<(id: string, epoch: string) => Promise<unknown>> = [
    async (id) => { await directory.create(session(id)) },
    async (id) => { await directory.create(session(id)) },
    async (id) => { await directory.remove(id) },
    async (id, epoch) => { await directory.remove(id, epoch) },
    async (id, epoch) => { await directory.touch([{ id, epoch, lastAccessedAt: Date.now() }, { id: 'none', epoch, lastAccessedAt: now }]) },
    async (id, epoch) => { await directory.release([{ id, epoch, lastAccessedAt: Date.now() }]) },
    async (id, epoch) => { await directory.claim({ id, epoch, owner: 'node-1' }, 'node-2', Date.now()) },
    async (id, epoch) => { await directory.recover(session(id), { epoch: epoch || '0', isCertain: false, mustExist: random.below(2) === 0 }) }
  ]
  for (let step = 0; step < 1500; step++) {
    const id = `${random.below(60)}`
    await random.pick(acts)?.(id, known.get(id) ?? '')
    known.set(id, (await directory.get(id))?.record.epoch ?? '')
  }
  await redis.config('RESETSTAT')
  const count = await directory.count()
  t.notMatch(await redis.info('commandstats'), /scan|keys/)
  let walked = 0
  for await (const { id } of directory.list()) if (id !== '') walked++
  t.equal(count, walked)
  t.ok(count > 5 && count < 60, `${count} sessions`)
})

t.test('does not count what has expired, and keeps nothing of it', needsRedisServer(), async t => {
  const redis = client(t, await serve(t))
  const short = new RedisDirectory({ redis, ttl: 100 })
  const endless = new RedisDirectory({ redis, ttl: 0 })
  const [id = '', ...others] = idsOfOneShard(short, 30)
  for (const other of others) await short.create(session(other))
  t.equal(await short.count(), 29)
  await sleep(120)
  t.equal(await short.count(), 0)
  t.equal((await redis.keys('mcp:index:*')).length, 0, 'with its last session an index goes')

  const epoch = String(await endless.create(session(id)))
  for (const other of others) await short.create(session(other))
  await sleep(120)
  t.equal(await endless.count(), 1)
  for (let i = 0; i < 4; i++) await endless.touch([{ id, epoch, lastAccessedAt: Date.now() }])
  t.equal(await redis.zcard(endless.commands.sessionKeys(id)[2]), 1, 'those that live clear up after those that do not')
})

function idsOfOneShard ({ commands }: RedisDirectory, count: number): string[] {
  const [, , index] = commands.sessionKeys('0')
  const ids: string[] = []
  for (let i = 0; ids.length < count; i++) if (commands.sessionKeys(`${i}`)[2] === index) ids.push(`${i}`)
  return ids
}
