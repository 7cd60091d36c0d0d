import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Cluster, Redis } from 'ioredis'
import type { RedisAddress } from './redis-client.js'

const children = new Set<ChildProcess>()
const folders = new Set<string>()
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL')
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

export type RedisBinary = 'redis-server' | 'valkey-server'

const HELP: Record<RedisBinary, string> = {
  'redis-server': 'redis-server is not installed: apt-get install redis-server, or brew install redis',
  'valkey-server': 'valkey-server is not installed: apt-get install valkey-server (of Debian 12: from bookworm-backports), or brew install valkey'
}
const found = new Map<RedisBinary, boolean>()

function isInstalled (binary: RedisBinary): boolean {
  const known = found.get(binary) ?? spawnSync(binary, ['--version']).status === 0
  found.set(binary, known)
  return known
}

export interface Skip { skip: string | false }

/**
 * Options for tap: tests that need a Redis of their own are skipped where there is none, and say so.
 * On CI a missing redis-server is a failure, at the first test that starts one.
 */
export function needsRedisServer (binary: RedisBinary = 'redis-server'): Skip {
  const missing = !isInstalled(binary) && process.env['CI'] !== 'true'
  return { skip: missing && HELP[binary] }
}

/** The same, for tests that can also use the Redis at `REDIS_URL`. */
export function needsRedis (): Skip {
  return process.env['REDIS_URL'] === undefined ? needsRedisServer() : { skip: false }
}

export interface RedisServerOptions {
  /** An existing folder; with it, data are written to an append-only file there and outlive a restart. */
  dir?: string
  port?: number
  /** More arguments of redis-server. */
  args?: string[]
  binary?: RedisBinary
}

/** A redis-server on 127.0.0.1, of this test alone. */
export class RedisServer {
  readonly port: number
  readonly url: string
  readonly #binary: RedisBinary
  readonly #args: string[]
  #child: ChildProcess | undefined

  private constructor (port: number, { dir, args = [], binary = 'redis-server' }: RedisServerOptions) {
    this.port = port
    this.#binary = binary
    this.url = `redis://127.0.0.1:${port}`
    const persistence = dir === undefined
      ? ['--appendonly', 'no']
      : ['--dir', dir, '--appendonly', 'yes', '--appendfsync', 'always']
    this.#args = ['--port', `${port}`, '--bind', '127.0.0.1', '--save', '', ...persistence, ...args]
  }

  static async start (options: RedisServerOptions = {}): Promise<RedisServer> {
    const server = new RedisServer(options.port ?? await freePort(), options)
    await server.start()
    return server
  }

  get pid (): number | undefined {
    return this.#child?.pid
  }

  get address (): RedisAddress {
    return { kind: 'alone', ports: [this.port] }
  }

  /** Starts it again on the same port; its data are back if it has a `dir`. */
  async start (): Promise<void> {
    this.#child = await launchRedis(this.#binary, this.#args, this.url)
  }

  stop (): Promise<void> {
    return this.#end('SIGTERM')
  }

  kill (): Promise<void> {
    return this.#end('SIGKILL')
  }

  /** Stops the process, so that connections stay open and nothing is answered: the worst way for a server to be away. */
  freeze (): void {
    this.#child?.kill('SIGSTOP')
  }

  thaw (): void {
    this.#child?.kill('SIGCONT')
  }

  async #end (signal: NodeJS.Signals): Promise<void> {
    if (this.#child !== undefined) await endRedis(this.#child, signal)
  }
}

/** Starts a server that does not outlive this process, and resolves when it answers. */
export async function launchRedis (binary: RedisBinary, args: readonly string[], url: string): Promise<ChildProcess> {
  if (!isInstalled(binary)) throw new Error(HELP[binary])
  const child = spawn(binary, args, { stdio: ['ignore', 'ignore', 'inherit'] })
  children.add(child)
  const guard = killWithThisProcess(child)
  child.once('exit', () => {
    children.delete(child)
    guard.kill('SIGKILL')
  })
  await waitForAnswer(url, child)
  return child
}

export async function endRedis (child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exited = once(child, 'exit')
  child.kill(signal)
  child.kill('SIGCONT')
  await exited
}

/** A server of its own, or the one at `REDIS_URL`: give the keys a prefix that nobody else has. */
export async function startRedis (): Promise<{ url: string, stop: () => Promise<void> }> {
  const url = process.env['REDIS_URL']
  if (url !== undefined) return { url, stop: async () => {} }
  const server = await RedisServer.start()
  return { url: server.url, stop: () => server.stop() }
}

/** Three masters, no replicas, made without redis-cli. */
export class RedisClusterServers {
  readonly servers: RedisServer[]
  readonly nodes: Array<{ host: string, port: number }>

  readonly #folder: string
  readonly #replicas: RedisServer[] = []

  private constructor (servers: RedisServer[], folder: string) {
    this.#folder = folder
    this.servers = servers
    this.nodes = servers.map(({ port }) => ({ host: '127.0.0.1', port }))
  }

  static async start (binary?: RedisBinary): Promise<RedisClusterServers> {
    const ports = await freePorts(6)
    const folder = mkdtempSync(join(tmpdir(), 'redis-cluster-'))
    folders.add(folder)
    const servers = await Promise.all([0, 1, 2].map(i => startMember(folder, Number(ports[i]), Number(ports[i + 3]), i, binary)))
    const cluster = new RedisClusterServers(servers, folder)
    await cluster.#join(ports)
    return cluster
  }

  get address (): RedisAddress {
    return { kind: 'cluster', ports: this.servers.map(({ port }) => port) }
  }

  connect (options: ConstructorParameters<typeof Cluster>[1] = {}): Cluster {
    return new Cluster(this.nodes, options)
  }

  /** One for each master, in their order. */
  async addReplicas (): Promise<RedisServer[]> {
    const replicas = await Promise.all(this.servers.map((master, i) => this.#addReplica(master, 3 + i)))
    this.#replicas.push(...replicas)
    return replicas
  }

  async #addReplica (master: RedisServer, number: number): Promise<RedisServer> {
    const [port, busPort] = await freePorts(2)
    const replica = await startMember(this.#folder, Number(port), Number(busPort), number)
    const [client, known] = [new Redis(replica.url), new Redis(master.url)]
    try {
      const id = String(await known.call('CLUSTER', 'MYID'))
      const [, bus] = /@(\d+)\S* myself/.exec(String(await known.call('CLUSTER', 'NODES'))) ?? []
      // A busy machine must not make the replica take the master's place.
      await client.config('SET', 'cluster-replica-no-failover', 'yes')
      await client.call('CLUSTER', 'MEET', '127.0.0.1', master.port, Number(bus))
      await whenUp('the replica', async () => {
        await client.call('CLUSTER', 'REPLICATE', id).catch(() => {})
        return (await client.role()).flat().includes('connected')
      })
    } finally {
      client.disconnect()
      known.disconnect()
    }
    return replica
  }

  async stop (): Promise<void> {
    await Promise.all([...this.servers, ...this.#replicas].map(server => server.kill()))
    rmSync(this.#folder, { recursive: true, force: true })
    folders.delete(this.#folder)
  }

  async #join (ports: number[]): Promise<void> {
    const clients = this.servers.map(({ url }) => new Redis(url))
    try {
      const step = Math.ceil(16384 / clients.length)
      for (const [i, client] of clients.entries()) {
        const last = Math.min(16384, (i + 1) * step) - 1
        await client.call('CLUSTER', 'ADDSLOTSRANGE', i * step, last)
        await client.call('CLUSTER', 'SET-CONFIG-EPOCH', i + 1)
        if (i > 0) await client.call('CLUSTER', 'MEET', '127.0.0.1', Number(ports[0]), Number(ports[3]))
      }
      await whenUp('the Redis Cluster', async () => {
        const infos = await Promise.all(clients.map(client => client.call('CLUSTER', 'INFO')))
        return infos.every(info => /cluster_state:ok[^]*cluster_known_nodes:3/.test(String(info)))
      })
    } finally {
      for (const client of clients) client.disconnect()
    }
  }
}

function startMember (folder: string, port: number, busPort: number, number: number, binary: RedisBinary = 'redis-server'): Promise<RedisServer> {
  return RedisServer.start({
    port,
    binary,
    args: [
      '--cluster-enabled', 'yes',
      '--cluster-port', `${busPort}`,
      '--cluster-config-file', join(folder, `${number}.conf`),
      '--cluster-node-timeout', '2000',
      '--repl-diskless-sync-delay', '0',
      '--dir', folder,
      '--dbfilename', `${number}.rdb`
    ]
  })
}

/** Has the child killed when this process ends, even if that is killed and runs no exit hook: a guard waits for the end of a pipe. */
export function killWithThisProcess (child: ChildProcess): ChildProcess {
  const guard = spawn('sh', ['-c', `cat; kill -9 ${child.pid}`], { stdio: ['pipe', 'ignore', 'ignore'], detached: true })
  guard.unref()
  return guard
}

async function waitForAnswer (url: string, child: ChildProcess): Promise<void> {
  // While it loads its data, a server accepts connections and answers with errors.
  const client = new Redis(url, { retryStrategy: () => 20, maxRetriesPerRequest: null })
  client.on('error', () => {})
  try {
    const failed = once(child, 'exit').then(() => { throw new Error('redis-server did not start') })
    await Promise.race([client.ping(), failed])
  } finally {
    client.disconnect()
  }
}

export async function whenUp (what: string, check: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 20_000
  while (!await check()) {
    if (Date.now() > deadline) throw new Error(`${what} did not come up`)
    await sleep(20)
  }
}

// Below the ports that systems give to connections and to servers that ask for any port, as other tests do meanwhile. The bus
// of a Redis Cluster has a port that is ten thousand higher.
const FIRST_PORT = 12_000
const LAST_PORT = 22_000

export async function freePort (): Promise<number> {
  return Number((await freePorts(1))[0])
}

export async function freePorts (count: number): Promise<number[]> {
  const ports = new Set<number>()
  while (ports.size < count) {
    const port = randomInt(FIRST_PORT, LAST_PORT)
    if (await isFree(port)) ports.add(port)
  }
  return Array.from(ports)
}

async function isFree (port: number): Promise<boolean> {
  const server = createServer().listen(port, '127.0.0.1')
  try {
    await once(server, 'listening')
  } catch {
    return false
  }
  server.close()
  await once(server, 'close')
  return true
}
