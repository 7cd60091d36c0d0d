import { randomUUID } from 'node:crypto'
import { Redis } from 'ioredis'
import { Redis as Redis5 } from 'ioredis-5'
import t, { type Test } from 'tap'
import { NotAcknowledgedError, type NewSession } from '../../../lib/cluster/directory.js'
import type { RedisClient } from '../../../lib/cluster/redis/connection.js'
import { RedisDirectory } from '../../../lib/cluster/redis/directory.js'
import { connectRedis } from '../../helpers/redis/redis-client.js'
import { RedisSentinelServers } from '../../helpers/redis/redis-sentinel.js'
import { needsRedisServer, RedisClusterServers, RedisServer } from '../../helpers/redis/redis-server.js'
import { startReplica, whenCopied } from '../../helpers/redis/redis-replica.js'
import { until } from '../../helpers/waiting/until.js'

t.setTimeout(120_000)

const TIMEOUT = 500
const now = Date.now()

interface Store {
  readonly directory: RedisDirectory
  /** What was told of replicas: that they are missing, or that they are back. */
  readonly told: string[]
}

function create (t: Test, redis: RedisClient, { count = 1, timeout = 1000 } = {}): Store {
  const told: string[] = []
  const directory = new RedisDirectory({
    redis,
    ttl: 60_000,
    prefix: `test-${randomUUID()}:`,
    timeout,
    waitForReplicas: { count, timeout: TIMEOUT },
    onShortage: (shortage) => told.push(shortage === undefined ? 'back' : shortage.message)
  })
  t.teardown(() => { directory.commands.close() })
  return { directory, told }
}

function session (id: string, owner = 'node-1'): NewSession {
  return { id, principal: 'ann', owner, createdAt: now, lastAccessedAt: Date.now(), metadata: { n: 0 }, state: undefined }
}

async function serveWithReplica (t: Test): Promise<{ master: RedisServer, replica: RedisServer, redis: Redis }> {
  const master = await RedisServer.start({ args: ['--repl-diskless-sync-delay', '0'] })
  t.teardown(() => master.kill())
  const replica = await startReplica(master)
  t.teardown(() => replica.stop())
  return { master, replica: replica.server, redis: connect(t, master) }
}

function connect (t: Test, { url }: RedisServer): Redis {
  const redis = new Redis(url, { retryStrategy: () => 20 })
  redis.on('error', () => {})
  t.teardown(() => { redis.disconnect() })
  return redis
}

async function waits (redis: Redis): Promise<number> {
  return Number(/cmdstat_wait:calls=(\d+)/.exec(await redis.info('commandstats'))?.[1] ?? 0)
}

/** How many milliseconds it took until it was told that too few have it. */
async function refused (t: Test, write: Promise<unknown>, what: string): Promise<number> {
  const began = performance.now()
  await t.rejects(write, { name: 'NotAcknowledgedError', message: `0 of 1 replicas have what Redis was told ${TIMEOUT} ms ago` }, what)
  return performance.now() - began
}

t.test('on a master with a replica', needsRedisServer(), async (t) => {
  const { replica, redis } = await serveWithReplica(t)

  t.test('what is written is on the replica when it counts as written', async (t) => {
    const { directory, told } = create(t, redis)
    const copy = connect(t, replica)
    const [key] = directory.commands.sessionKeys('one')
    const epoch = await directory.create(session('one'))
    t.equal(await copy.hget(key, 'epoch'), epoch, 'a new session')
    t.equal(await directory.update('one', String(epoch), { metadata: { n: 1 } }), true)
    t.equal(await copy.hget(key, 'metadata'), '{"n":1}', 'a change')
    const claimed = await directory.claim({ id: 'one', epoch: String(epoch), owner: 'node-1' }, 'node-2', now)
    t.equal(await copy.hget(key, 'owner'), 'node-2', 'a claim')
    const recovered = await directory.recover(session('one', 'node-2'), { epoch: String(claimed?.epoch), isCertain: true, mustExist: false })
    t.equal(await copy.hget(key, 'epoch'), recovered, 'a recovery')
    t.match(await directory.remove('one'), { id: 'one' })
    t.equal(await copy.exists(key), 0, 'the end of a session')
    t.strictSame(told, [])
  })

  t.test('what comes together is followed by one WAIT, and what comes meanwhile by another one', async (t) => {
    const { directory } = create(t, redis)
    const before = await waits(redis)
    const epochs = await Promise.all(Array.from({ length: 100 }, (_, i) => directory.create(session(`${i}`))))
    t.equal(new Set(epochs).size, 100)
    t.equal(await waits(redis), before + 1)
    const first = directory.create(session('first'))
    await Promise.resolve()
    await Promise.all([first, ...Array.from({ length: 200 }, (_, i) => directory.create(session(`later-${i}`)))])
    t.equal(await waits(redis), before + 4, 'no more than 128 at once')
  })

  t.test('what is not asked to wait does not: no WAIT, and no connection for it', async (t) => {
    const directory = new RedisDirectory({ redis, ttl: 60_000, prefix: `test-${randomUUID()}:` })
    const before = [await waits(redis), String(await redis.client('LIST')).split('\n').length]
    await directory.create(session('one'))
    t.strictSame([await waits(redis), String(await redis.client('LIST')).split('\n').length], before)
  })

  t.test('a script that fails fails alone', async (t) => {
    const { directory, told } = create(t, redis)
    const [, , index] = directory.commands.sessionKeys('one')
    await redis.set(index, 'no index')
    const [failed, written] = await Promise.allSettled([directory.create(session('one')), directory.create(session('two'))])
    t.match(failed, { status: 'rejected', reason: { name: 'DirectoryUnavailableError', cause: { message: /WRONGTYPE/ } } })
    t.equal(written.status, 'fulfilled')
    t.strictSame(told, [])
  })

  t.test('while the replica stands still, each write fails in time, and nothing is half done', async (t) => {
    const { directory, told } = create(t, redis)
    const held = session('held')
    const epoch = String(await directory.create(held))
    await directory.create(session('free'))
    replica.freeze()
    t.teardown(() => replica.thaw())

    const took = await refused(t, directory.create(session('new')), 'a new session')
    t.ok(took >= TIMEOUT - 20 && took < TIMEOUT + 1000, `${took} ms`)
    await until(async () => await directory.get('new') === undefined, 'it is gone again')
    await refused(t, directory.update('held', epoch, { metadata: { n: 1 } }), 'a change')
    t.match(await directory.get('held'), { record: { epoch, metadata: { n: 1 } } }, 'which its owner writes again')

    const free = { id: 'free', epoch: String((await directory.get('free'))?.record.epoch), owner: 'node-1' }
    await refused(t, directory.claim(free, 'node-2', now), 'a claim')
    await until(async () => (await directory.get('free'))?.record.owner === undefined, 'nobody has claimed it')
    await refused(t, directory.remove('held', epoch), 'an end')
    await refused(t, directory.remove('held', epoch), 'nor does it count when it is told again')
    t.equal(await directory.get('held'), undefined)
    t.strictSame(told, [`0 of 1 replicas have what Redis was told ${TIMEOUT} ms ago`], 'told once')

    replica.thaw()
    t.equal(await directory.remove('held', epoch), undefined)
    const claimed = await directory.claim(free, 'node-1', now)
    t.match(claimed, { id: 'free', owner: 'node-1' }, 'who knew it before the claim that was undone may claim it')
    t.equal(typeof await directory.create(session('new')), 'string')
    t.strictSame(told.slice(1), ['back'])
  })

  t.test('of a session that was removed, its owner can be told all the same', async (t) => {
    const { directory } = create(t, redis)
    await directory.create(session('one'))
    replica.freeze()
    t.teardown(() => replica.thaw())
    const error: unknown = await directory.remove('one').catch((reason: unknown) => reason)
    t.ok(error instanceof NotAcknowledgedError)
    t.match(error, { removed: { id: 'one', owner: 'node-1' } })
  })

  t.test('more replicas than there are, are too few', async (t) => {
    const { directory } = create(t, redis, { count: 2 })
    await t.rejects(directory.create(session('one')), { message: `1 of 2 replicas have what Redis was told ${TIMEOUT} ms ago` })
  })

  t.test('where WAIT is not allowed, nothing is taken for copied', async (t) => {
    await redis.call('ACL', 'SETUSER', 'app', 'on', '>secret', '~*', '&*', '+@all', '-wait')
    const app = redis.duplicate({ username: 'app', password: 'secret' })
    t.teardown(() => { app.disconnect() })
    const { directory, told } = create(t, app)
    await t.rejects(directory.create(session('one')), { name: 'NotAcknowledgedError', cause: { message: /^NOPERM/ } })
    t.match(told, [/^It is not known/])
  })
})

t.test('a Redis that is silent fails what waits with it, at once, and undoes what it did too late', needsRedisServer(), async (t) => {
  const { master, redis } = await serveWithReplica(t)
  const { directory } = create(t, redis, { timeout: 100 })
  await directory.create(session('before'))
  const [, , index] = directory.commands.sessionKeys('no-index')
  await redis.set(index, 'no index')
  master.freeze()
  const began = performance.now()
  const sent = [directory.create(session('first')), directory.create(session('no-index'))]
  await Promise.resolve()
  const results = await Promise.allSettled([...sent, directory.create(session('second'))])
  t.ok(performance.now() - began < 2 * (100 + TIMEOUT), 'who waits for another does not wait twice')
  t.match(results, Array(3).fill({ status: 'rejected', reason: { name: 'DirectoryUnavailableError', message: `Redis did not answer within ${100 + TIMEOUT} ms` } }))
  master.thaw()
  await until(async () => {
    try {
      return await directory.get('first') === undefined && await directory.get('second') === undefined && await directory.get('before') !== undefined
    } catch {
      return false
    }
  }, 'neither is there')
})

t.test('a connection that breaks before the replicas have it takes the WAIT with it', needsRedisServer(), async (t) => {
  const { replica, redis } = await serveWithReplica(t)
  const { directory } = create(t, redis)
  await directory.create(session('one'))
  replica.freeze()
  const written = t.rejects(directory.create(session('two')), { name: 'NotAcknowledgedError' }, 'it is not asked on another connection, which has written nothing')
  let waiting: string | undefined
  await until(async () => {
    waiting = /id=(\d+) [^\n]*cmd=wait/.exec(String(await redis.client('LIST')))?.[1]
    return waiting !== undefined
  }, 'it waits')
  await redis.client('KILL', 'ID', Number(waiting))
  await written
  replica.thaw()
  await until(async () => await directory.get('two') === undefined, 'and it is undone')
})

for (const isAcknowledged of [true, false]) {
  const name = isAcknowledged ? 'a failover loses nothing that was acknowledged' : 'without waiting, the same failover does lose what was written last'
  t.test(name, needsRedisServer(), async (t) => {
    const servers = await RedisSentinelServers.start()
    t.teardown(() => servers.stop())
    const redis = connectRedis(servers.address)
    t.teardown(() => { redis.disconnect() })
    const directory = new RedisDirectory({
      redis, ttl: 60_000, timeout: 300, ...(isAcknowledged && { waitForReplicas: { count: 1, timeout: TIMEOUT } })
    })
    t.teardown(() => { directory.commands.close() })
    const master = await servers.master()
    const [replica] = servers.servers.filter((server) => server !== master)
    await whenCopied(master)

    const acknowledged = new Map<string, number>()
    const epoch = String(await directory.create(session('counter')))
    acknowledged.set('counter', 0)
    async function count (n: number): Promise<void> {
      const written = await Promise.allSettled([directory.update('counter', epoch, { metadata: { n } }), directory.create(session(`session-${n}`))])
      if (written[0].status === 'fulfilled') acknowledged.set('counter', n)
      if (written[1].status === 'fulfilled') acknowledged.set(`session-${n}`, 0)
    }
    for (let n = 1; n <= 20; n++) await count(n)
    replica?.freeze()
    // What is in a socket would reach it all the same.
    await connect(t, master).call('CLIENT', 'KILL', 'TYPE', 'replica')
    for (let n = 21; n <= 23; n++) await count(n)
    t.equal(acknowledged.get('counter'), isAcknowledged ? 20 : 23)
    await master.kill()
    replica?.thaw()
    await servers.whenReplaced(master)

    const found = new Map<string, unknown>()
    for (const id of acknowledged.keys()) {
      await until(async () => await directory.get(id).then((located) => found.set(id, located?.record.metadata?.['n']), () => undefined) !== undefined, 'the new master answers')
    }
    const lost = Array.from(acknowledged).filter(([id, n]) => found.get(id) !== n).map(([id]) => id)
    t.strictSame(lost, isAcknowledged ? [] : ['counter', 'session-21', 'session-22', 'session-23'])
  })
}

t.test('on Redis Cluster', needsRedisServer(), async (t) => {
  const servers = await RedisClusterServers.start()
  t.teardown(() => servers.stop())
  const replicas = await servers.addReplicas()
  await Promise.all(servers.servers.map(whenCopied))
  const redis = servers.connect({ scaleReads: 'all' })
  t.teardown(() => { redis.disconnect() })

  t.test('each shard asks its own master', async (t) => {
    const { directory, told } = create(t, redis)
    await Promise.all(Array.from({ length: 60 }, (_, i) => directory.create(session(`${i}`))))
    t.equal(await directory.count(), 60)
    t.strictSame(told, [])
    replicas[0]?.freeze()
    const results = await Promise.allSettled(Array.from({ length: 60 }, (_, i) => directory.remove(`${i}`)))
    replicas[0]?.thaw()
    const counts = [results.filter(({ status }) => status === 'rejected').length, results.filter(({ status }) => status === 'fulfilled').length]
    t.ok(counts.every((count) => count > 0), `only those of one master fail: ${counts.join(' and ')}`)
    await until(() => Promise.all(Array.from({ length: 60 }, (_, i) => directory.remove(`${i}`))).then(() => true, () => false), 'they can be told again')
    t.equal(await directory.count(), 0)
  })

  t.test('a shard that has moved to another machine is followed there', async (t) => {
    const { directory } = create(t, redis)
    t.equal(typeof await directory.create(session('one')), 'string')
    await directory.remove('one')
    const plain = [...servers.servers, ...replicas].map((server) => connect(t, server))
    const slot = Number(await plain[0]?.call('CLUSTER', 'KEYSLOT', directory.commands.sessionKeys('one')[0]))
    const from = Math.floor(slot / Math.ceil(16384 / 3))
    const next = (from + 1) % 3
    const to = String(await plain[next]?.call('CLUSTER', 'MYID'))
    await plain[next]?.call('CLUSTER', 'BUMPEPOCH')
    await Promise.all(plain.slice(0, 3).map((master) => master.call('CLUSTER', 'SETSLOT', slot, 'NODE', to)))
    // Whoever asks a replica for the slots hears it of there.
    await until(async () => {
      const nodes = await Promise.all(plain.map((server) => server.call('CLUSTER', 'NODES')))
      return nodes.every((lines) => String(lines).split('\n').some((line) => line.startsWith(to) && line.includes(` ${slot}`)))
    }, 'all know it')
    t.equal(typeof await directory.create(session('one')), 'string')
    t.ok(await plain[next]?.exists(directory.commands.sessionKeys('one')[0]))
  })
})

t.test('with ioredis 5', needsRedisServer(), async (t) => {
  const { replica, redis: { options } } = await serveWithReplica(t)
  const redis = new Redis5({ port: Number(options.port), host: '127.0.0.1', keyPrefix: 'app:' })
  t.teardown(() => { redis.disconnect() })
  const { directory } = create(t, redis)
  t.equal(typeof await directory.create(session('one')), 'string')
  t.match(await directory.get('one'), { record: { id: 'one' } }, 'under the prefix of the client')
  replica.freeze()
  await refused(t, directory.create(session('two')), 'one that is not copied')
  replica.thaw()
})
