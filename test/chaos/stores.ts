import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import type { RedisAddress } from '../helpers/redis/redis-client.js'
import { RedisSentinelServers } from '../helpers/redis/redis-sentinel.js'
import { RedisClusterServers, RedisServer } from '../helpers/redis/redis-server.js'

export const STORE_KINDS = ['alone', 'persistent', 'sentinel', 'cluster'] as const
export type StoreKind = typeof STORE_KINDS[number]

// A master that another has replaced while it stood still goes on as one until the Sentinel has it follow the other, ten
// seconds later; who is connected to it does not know. See docs/many-machines.md.
const LONE_MASTER_REFUSES = ['--min-replicas-to-write', '1', '--min-replicas-max-lag', '1']

/** What the nodes keep their sessions in, and what can be done to it. */
export interface Store {
  readonly kind: StoreKind
  readonly address: RedisAddress
  readonly servers: readonly RedisServer[]
  /** Of Sentinels only: kills the master; resolves when another has its place and the old one follows it. */
  failOver?: () => Promise<void>
  /** Of Sentinels only: resolves when one server is the master, and the other follows it. */
  whenWhole?: () => Promise<void>
  stop: () => Promise<void>
}

export async function startStore (kind: StoreKind): Promise<Store> {
  if (kind === 'cluster') {
    const cluster = await RedisClusterServers.start()
    return { kind, address: cluster.address, servers: cluster.servers, stop: () => cluster.stop() }
  }
  if (kind === 'sentinel') return startSentinelStore()
  const dir = kind === 'persistent' ? mkdtempSync(join(tmpdir(), 'chaos-redis-')) : undefined
  const server = await RedisServer.start({ ...(dir !== undefined && { dir }) })
  return {
    kind,
    address: server.address,
    servers: [server],
    stop: async () => {
      await server.kill()
      if (dir !== undefined) rmSync(dir, { recursive: true, force: true })
    }
  }
}

async function startSentinelStore (): Promise<Store> {
  const sentinel = await RedisSentinelServers.start('redis-server', LONE_MASTER_REFUSES)
  return {
    kind: 'sentinel',
    address: sentinel.address,
    servers: sentinel.servers,
    failOver: async () => {
      const master = await sentinel.master()
      await master.kill()
      await sentinel.whenReplaced(master)
      await sentinel.bringBack(master)
    },
    whenWhole: () => sentinel.whenReplicated(),
    stop: () => sentinel.stop()
  }
}

export async function forgetEverything ({ servers }: Store): Promise<void> {
  await Promise.all(servers.map((server) => withClient(server, async (redis) => {
    const [role] = await redis.role()
    if (role === 'master') await redis.flushall()
  })))
}

/** The keys that nobody will ever remove, on any of the servers. */
export async function endlessKeys ({ servers }: Store): Promise<string[]> {
  const found = await Promise.all(servers.map((server) => withClient(server, async (redis) => {
    const keys = await redis.keys('*')
    const lives = await Promise.all(keys.map((key) => redis.pttl(key)))
    return keys.filter((_, i) => lives[i] === -1)
  })))
  return [...new Set(found.flat())]
}

async function withClient<T> ({ url }: RedisServer, action: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis(url)
  try {
    return await action(redis)
  } finally {
    redis.disconnect()
  }
}
