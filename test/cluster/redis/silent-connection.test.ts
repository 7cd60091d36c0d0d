// Connections to Redis on which nothing comes any more, though nobody has closed them.
import { Redis } from 'ioredis'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { RedisCommands } from '../../../lib/cluster/redis/commands.js'
import { OwnConnection } from '../../../lib/cluster/redis/connection.js'
import { RedisDirectory } from '../../../lib/cluster/redis/directory.js'
import { TcpLink } from '../../chaos/tcp-link.js'
import { createCluster, type ClusterApp } from '../../helpers/cluster/cluster-apps.js'
import { needsRedisServer, RedisServer } from '../../helpers/redis/redis-server.js'
import { until } from '../../helpers/waiting/until.js'

const LEASE = 1500

interface Way {
  server: RedisServer
  link: TcpLink
  /** Of Redis, through the link. */
  url: string
}

async function openWay (t: Test): Promise<Way> {
  const server = await RedisServer.start()
  const link = await TcpLink.to(server.port)
  t.teardown(async () => {
    await link.close()
    await server.kill()
  })
  return { server, link, url: `redis://127.0.0.1:${link.port}` }
}

function connect (t: Test, url: string, options = {}): Redis {
  const redis = new Redis(url, { retryStrategy: () => 20, ...options })
  redis.on('error', () => {})
  t.teardown(() => redis.disconnect())
  return redis
}

/** Counts in the metadata of a session: the answer waits for Redis. */
async function count ({ url }: ClusterApp, id: string): Promise<number> {
  const response = await fetch(`${url}/count`, { headers: { 'mcp-session-id': id, authorization: 'ann' } })
  await response.text()
  return response.status
}

const routes = async (app: ClusterApp['app']): Promise<void> => {
  app.get('/count', { config: { mcpSession: 'required' } }, async ({ mcpSession }) => {
    app.sessionManager.update(mcpSession?.id ?? '', { n: Number(mcpSession?.metadata?.['n'] ?? 0) + 1 })
    return {}
  })
}

t.test('a node that Redis does not hear any more is back within a lease, on another connection', needsRedisServer(), async (t) => {
  const { link, server, url } = await openWay(t)
  const node = await createCluster(t, url)({ routes, cluster: { lease: LEASE } })
  const id = node.app.sessionManager.create({}, { principal: 'ann' })
  t.equal(await count(node, id), 200)
  await node.redis.ping()

  const direct = connect(t, server.url)
  const connections = async (): Promise<number> => String(await direct.client('LIST')).trim().split('\n').length
  const before = await connections()
  const started = performance.now()
  link.strand()
  t.equal(await count(node, id), 503, 'what is on its way then is not acknowledged')
  await until(async () => await count(node, id) === 200 && node.app.mcp.readiness().isReady, 'it answers')
  const after = performance.now() - started
  t.ok(after < LEASE, `${Math.round(after)} ms of a lease of ${LEASE} ms`)
  t.equal(node.redis.status, 'ready', 'the injected client is left alone')

  t.comment('nothing is left of those that were made since')
  await node.app.close()
  node.redis.disconnect()
  // Of the others Redis does not hear that they are over.
  await until(async () => await connections() === before, 'they are closed')
})

t.test('a client that the app keeps waiting does not make the lease wait', needsRedisServer(), async (t) => {
  const server = await RedisServer.start()
  t.teardown(() => server.kill())
  const node = await createCluster(t, server.url)({ routes, cluster: { lease: 500 } })
  const id = node.app.sessionManager.create({}, { principal: 'ann' })
  node.redis.blpop('nothing comes', 0).catch(() => {})
  await sleep(700)
  t.equal(await count(node, id), 200)
  t.strictSame(node.app.mcp.readiness(), { isReady: true })
})

t.test('a command that comes late is undone, on a connection that was replaced', needsRedisServer(), async (t) => {
  const server = await RedisServer.start()
  t.teardown(() => server.kill())
  const directory = new RedisDirectory({ redis: connect(t, server.url), isOwn: true, ttl: 60_000, timeout: 200 })
  t.teardown(() => directory.commands.close())
  const now = Date.now()
  const session = { id: 'x', principal: undefined, owner: 'node-1', createdAt: now, lastAccessedAt: now, metadata: undefined, state: undefined }
  await directory.count()
  server.freeze()
  await t.rejects(directory.create(session), { name: 'DirectoryUnavailableError' })
  server.thaw()
  await until(async () => await directory.count() === 0, 'it is undone')
  t.equal(await directory.get('x'), undefined)
  await sleep(3 * 200)
  t.ok(await directory.create(session), 'and what was replaced is gone')
})

t.test('a client that gives up is made anew', needsRedisServer(), async (t) => {
  const server = await RedisServer.start()
  const commands = new RedisCommands({ redis: connect(t, server.url, { retryStrategy: () => null }), isOwn: true, timeout: 300 })
  // While there is no connection, nothing else does.
  const keepAlive = setInterval(() => {}, 1000)
  t.teardown(() => {
    clearInterval(keepAlive)
    commands.close()
  })
  await commands.run('history', [commands.historyKey()], ['secret', 'random'])
  await server.kill()
  await until(() => commands.run('history', [commands.historyKey()], ['secret', 'random']).then(() => false, () => true), 'it is away')
  await server.start()
  t.teardown(() => server.kill())
  await until(() => commands.run('history', [commands.historyKey()], ['secret', 'random']).then(() => true, () => false), 'it is back')
})

t.test('why there is no connection is the cause of what fails', async (t) => {
  for (const host of ['127.0.0.1', 'localhost']) {
    const commands = new RedisCommands({ redis: connect(t, `redis://${host}:1`, { lazyConnect: true }), isOwn: true, timeout: 300 })
    const failing = commands.run('history', [commands.historyKey()], ['secret', 'random'])
    const keepAlive = setInterval(() => {}, 1000)
    t.teardown(() => {
      clearInterval(keepAlive)
      commands.close()
    })
    await t.rejects(failing, { message: 'Redis did not answer within 300 ms', cause: { message: /ECONNREFUSED/ } }, host)
  }
})

t.test('a connection that was closed is not made again', async (t) => {
  const connection = new OwnConnection({ redis: connect(t, 'redis://127.0.0.1:1', { lazyConnect: true }), linger: 60_000 })
  const { current } = connection
  connection.replace(current)
  connection.replace(current)
  t.not(connection.current, current)
  connection.close()
  t.throws(() => connection.current, { message: 'The connection is closed' })
})

t.test('a subscription that is silent is made anew', needsRedisServer(), async (t) => {
  const { link, url, server } = await openWay(t)
  const commands = new RedisCommands({ redis: connect(t, url, { lazyConnect: true }), timeout: 100 })
  let woken = 0
  const subscription = commands.createSubscriber(() => { woken++ })
  t.teardown(() => subscription.close())
  await until(() => woken > 0, 'it listens')
  await sleep(350)
  link.strand()
  const direct = connect(t, server.url)
  await until(async () => {
    const before = woken
    await direct.publish(commands.announcementsChannel(), '')
    await sleep(20)
    return woken > before
  }, 'it hears again')
  await until(async () => await direct.publish(commands.announcementsChannel(), '') >= 2, 'Redis believes the old one to be there')
})
