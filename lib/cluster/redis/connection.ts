import { scripts } from './scripts.js'

interface ScanningNode {
  scan (cursor: string, match: 'MATCH', pattern: string, count: 'COUNT', n: number): Promise<[string, string[]]>
}

interface RedisPipeline {
  eval (lua: string, keys: number, ...keysAndArguments: Array<string | number>): unknown
  wait (replicas: number, timeout: number): unknown
  exec (): Promise<Array<[error: Error | null, reply: unknown]> | null>
}

interface RedisClientBase {
  status: string
  /** A `Cluster` has no host of its own. */
  options: { keyPrefix?: string | undefined, host?: string | undefined }
  defineCommand (name: string, definition: { lua: string }): void
  ping (): Promise<string>
  pipeline (): RedisPipeline
  once (event: 'ready', listener: () => void): unknown
}

/** An ioredis `Cluster`, as far as it is used here. */
export interface RedisClusterClient extends RedisClientBase {
  nodes (role: 'master'): ScanningNode[]
  duplicate (): OwnRedisClient
}

/** An ioredis `Redis`, as far as it is used here. */
export interface SingleRedisClient extends RedisClientBase, ScanningNode {
  duplicate (override: { autoResubscribe: boolean }): OwnRedisClient
}

/**
 * What is used of an ioredis `Redis` or `Cluster`. The client stays its maker's: it is never closed, and
 * its options are never changed.
 */
export type RedisClient = RedisClusterClient | SingleRedisClient

/** A client that was made here, with `duplicate()`. */
export type OwnRedisClient = RedisClient & {
  subscribe (channel: string): Promise<unknown>
  on (event: 'message' | 'ready', listener: () => void): unknown
  on (event: 'error', listener: (error: unknown) => void): unknown
  disconnect (): void
}

/** A client of Redis, to which the scripts have been added as commands. */
export class RedisConnection {
  readonly client: RedisClient
  /** Why the client could not connect when it last tried. Undefined: it is connected, or has not said. */
  trouble: unknown
  #ready: Promise<void> | undefined

  constructor (client: RedisClient) {
    this.client = client
    for (const { command, lua } of Object.values(scripts)) {
      if (!(command in client)) client.defineCommand(command, { lua })
    }
  }

  /**
   * Waits for a connection that is being made. Undefined: there is one, or the first command makes it.
   *
   * @throws Error when the client has been closed
   */
  whenReady (): Promise<void> | undefined {
    const { status } = this.client
    if (status === 'ready' || status === 'wait') return
    if (status === 'end') throw new Error('The client is closed')
    this.#ready ??= new Promise((resolve) => {
      this.client.once('ready', () => {
        this.#ready = undefined
        resolve()
      })
    })
    return this.#ready
  }
}

/** A client like the injected one. Its errors are not told: the injected one has the same, and tells them to its maker. */
export function duplicate (redis: RedisClient): OwnRedisClient {
  // Without autoResubscribe: when that fails, ioredis leaves a rejection unhandled, which ends the process.
  const client = 'nodes' in redis ? redis.duplicate() : redis.duplicate({ autoResubscribe: false })
  client.on('error', () => {})
  return client
}

export interface OwnConnectionOptions {
  redis: RedisClient
  /** Milliseconds for which a connection that was replaced is still listened to. */
  linger: number
}

/**
 * A connection of this package's own. It is made with the first command, like the injected client, and made anew when it is
 * silent: a network that swallows what is sent, such as a firewall that has forgotten a connection, tells nobody, and the
 * kernel goes on trying for a quarter of an hour.
 *
 * The injected client will not do. To cut it would cut off what the app does with it, and what the app does there, such as
 * waiting for a list, would hold up the lease.
 */
export class OwnConnection {
  readonly #redis: RedisClient
  readonly #linger: number
  #client: OwnRedisClient | undefined
  #connection: RedisConnection | undefined
  readonly #replaced = new Map<OwnRedisClient, NodeJS.Timeout>()
  #isClosed = false

  constructor ({ redis, linger }: OwnConnectionOptions) {
    this.#redis = redis
    this.#linger = linger
  }

  /** @throws Error when it has been closed */
  get current (): RedisConnection {
    if (this.#isClosed) throw new Error('The connection is closed')
    // A client whose options say that it is not to connect again ends with its connection.
    if (this.#client?.status === 'end') this.#connection = undefined
    if (this.#connection !== undefined) return this.#connection
    const client = duplicate(this.#redis)
    const connection = new RedisConnection(client)
    client.on('error', (error) => { connection.trouble = error })
    client.on('ready', () => { connection.trouble = undefined })
    this.#client = client
    this.#connection = connection
    return connection
  }

  /**
   * Has further commands go on another connection, because some have waited in vain on this one. It is listened to for a
   * while: if it was only slow, it may still answer, and what was done too late can be undone.
   */
  replace (connection: RedisConnection): void {
    const client = this.#client
    if (connection !== this.#connection || client === undefined) return
    this.#connection = undefined
    const timer = setTimeout(() => {
      this.#replaced.delete(client)
      client.disconnect()
    }, this.#linger)
    timer.unref()
    this.#replaced.set(client, timer)
  }

  close (): void {
    this.#isClosed = true
    for (const [client, timer] of this.#replaced) {
      clearTimeout(timer)
      client.disconnect()
    }
    this.#replaced.clear()
    this.#client?.disconnect()
  }
}
