import type { ChildProcess } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { MASTER_NAME, type RedisAddress } from './redis-client.js'
import { endRedis, freePort, launchRedis, RedisServer, whenUp, type RedisBinary } from './redis-server.js'

// After how long a silent master is given up, in milliseconds.
const DOWN_AFTER = 500

/** A master, a replica, and one Sentinel that puts the replica in the master's place. */
export class RedisSentinelServers {
  readonly address: RedisAddress
  readonly servers: readonly RedisServer[]
  readonly #folder: string
  readonly #sentinel: ChildProcess
  readonly #sentinelUrl: string

  private constructor (servers: readonly RedisServer[], folder: string, sentinel: ChildProcess, port: number) {
    this.servers = servers
    this.#folder = folder
    this.#sentinel = sentinel
    this.#sentinelUrl = sentinelUrl(port)
    this.address = { kind: 'sentinel', ports: [port] }
  }

  /** @param args more arguments of both servers */
  static async start (this: void, binary: RedisBinary = 'redis-server', args: readonly string[] = []): Promise<RedisSentinelServers> {
    const folder = mkdtempSync(join(tmpdir(), 'redis-sentinel-'))
    // A replica writes what it copies to a file.
    const [first, second] = ['first', 'second'].map((name) => join(folder, name))
    const master = await startMember(binary, String(first), args)
    const replica = await startMember(binary, String(second), [...args, '--replicaof', '127.0.0.1', `${master.port}`])
    const port = await freePort()
    // A Sentinel writes what it has found out into its configuration file.
    const config = join(folder, 'sentinel.conf')
    writeFileSync(config, [
      `port ${port}`,
      'bind 127.0.0.1',
      `dir ${folder}`,
      `sentinel monitor ${MASTER_NAME} 127.0.0.1 ${master.port} 1`,
      `sentinel down-after-milliseconds ${MASTER_NAME} ${DOWN_AFTER}`,
      `sentinel failover-timeout ${MASTER_NAME} 2000`
    ].join('\n'))
    const sentinel = await launchRedis(binary, [config, '--sentinel'], sentinelUrl(port))
    const servers = new RedisSentinelServers([master, replica], folder, sentinel, port)
    await servers.whenReplicated()
    return servers
  }

  /** Whichever server is the master now. */
  async master (): Promise<RedisServer> {
    const address = await ask(this.#sentinelUrl, (sentinel) => sentinel.call('SENTINEL', 'get-master-addr-by-name', MASTER_NAME))
    const master = this.servers.find(({ port }) => [address].flat().includes(`${port}`))
    if (master === undefined) throw new Error(`The Sentinel names a stranger: ${String(address)}`)
    return master
  }

  /** Resolves when another server is the master. */
  async whenReplaced (master: RedisServer): Promise<void> {
    await whenUp('the new master', async () => await this.master() !== master)
  }

  /** Starts a server that was killed as a replica of the other one. Left to the Sentinel this takes ten seconds. */
  async bringBack (server: RedisServer): Promise<void> {
    await server.start()
    const master = await this.master()
    await ask(server.url, (redis) => redis.replicaof('127.0.0.1', master.port))
    await this.whenReplicated()
  }

  /** Resolves when there is a replica that can take the master's place, and the Sentinel knows. */
  async whenReplicated (): Promise<void> {
    await whenUp('the replica', async () => {
      const master = await this.master()
      const [replica] = this.servers.filter((server) => server !== master)
      const role = await ask(String(replica?.url), (redis) => redis.role())
      const known = await ask(this.#sentinelUrl, (sentinel) => sentinel.call('SENTINEL', 'replicas', MASTER_NAME))
      return role.flat().includes('connected') && JSON.stringify(known).includes('"flags","slave"')
    })
  }

  async stop (): Promise<void> {
    await endRedis(this.#sentinel, 'SIGKILL')
    await Promise.all(this.servers.map((server) => server.kill()))
    rmSync(this.#folder, { recursive: true, force: true })
  }
}

async function ask<T> (url: string, question: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis(url)
  try {
    return await question(redis)
  } finally {
    redis.disconnect()
  }
}

function startMember (binary: RedisBinary, dir: string, args: readonly string[]): Promise<RedisServer> {
  mkdirSync(dir)
  return RedisServer.start({ binary, args: ['--dir', dir, '--repl-diskless-sync-delay', '0', ...args] })
}

function sentinelUrl (port: number): string {
  return `redis://127.0.0.1:${port}`
}
