import { createHash } from 'node:crypto'
import { DirectoryUnavailableError } from '../directory.js'
import { startPatience } from '../../base/patience.js'
import { withoutArguments } from './redis-error.js'
import { scripts, type ScriptName } from './scripts.js'
import { ALL_SHARDS, shardOf } from './shards.js'

interface ScanningNode {
  scan (cursor: string, match: 'MATCH', pattern: string, count: 'COUNT', n: number): Promise<[string, string[]]>
}

/** A connection that is only listened on. */
interface RedisSubscriber {
  subscribe (channel: string): Promise<unknown>
  on (event: 'message' | 'ready', listener: () => void): unknown
  on (event: 'error', listener: (error: unknown) => void): unknown
  disconnect (): void
}

interface RedisClientBase {
  status: string
  /** A `Cluster` has no host of its own. */
  options: { keyPrefix?: string | undefined, host?: string | undefined }
  defineCommand (name: string, definition: { lua: string }): void
  ping (): Promise<string>
  duplicate (): RedisSubscriber
  once (event: 'ready', listener: () => void): unknown
}

/** An ioredis `Cluster`, as far as it is used here. */
export interface RedisClusterClient extends RedisClientBase {
  nodes (role: 'master'): ScanningNode[]
}

/**
 * What is used of an ioredis `Redis` or `Cluster`. The client stays its maker's: it is never closed, and
 * its options are never changed. Errors of the connection are events of the client, for its maker to log.
 */
export type RedisClient = RedisClusterClient | (RedisClientBase & ScanningNode)

export interface RedisCommandsOptions {
  redis: RedisClient
  /** Before every key. No braces: Redis Cluster reads them as hash tags. Default `'mcp:'`. */
  prefix?: string | undefined
  /** Milliseconds after which a call has failed, whatever ioredis goes on trying. Default 1000. */
  timeout?: number | undefined
}

type Reply = string | number | null | undefined | Reply[]

/** The scripts, the keys and the bounded waits that everything on Redis here has in common. */
export class RedisCommands {
  readonly isCluster: boolean
  readonly timeout: number
  readonly #redis: RedisClient
  readonly #prefix: string
  #ready: Promise<void> | undefined

  constructor ({ redis, prefix = 'mcp:', timeout = 1000 }: RedisCommandsOptions) {
    if (/[{}]/.test(prefix)) throw new TypeError('cluster.prefix must not contain braces')
    this.isCluster = 'nodes' in redis
    this.timeout = timeout
    this.#redis = redis
    this.#prefix = prefix
    defineScripts(redis)
  }

  /** The record of a session, its events, and the index of its shard. Ids are hashed, because they may hold braces. */
  sessionKeys (id: string): [record: string, events: string, index: string] {
    const digest = createHash('sha256').update(id).digest()
    const [name, shard] = [digest.toString('base64url'), shardOf(digest)]
    return [`${this.#prefix}session:{${shard}}:${name}`, `${this.#prefix}events:{${shard}}:${name}`, this.#indexKey(shard)]
  }

  /** The indexes of all sessions, in groups whose keys one script may have. */
  indexKeys (): string[][] {
    const keys = ALL_SHARDS.map((shard) => this.#indexKey(shard))
    return this.isCluster ? keys.map((key) => [key]) : [keys]
  }

  #indexKey (shard: string): string {
    return `${this.#prefix}index:{${shard}}`
  }

  nodeKeys (node: string): [lease: string, mailbox: string] {
    return [`${this.#prefix}node:{${node}}`, `${this.#prefix}mail:{${node}}`]
  }

  // Hashed, because it may hold braces, and because it says who is calling.
  countKey (name: string): string {
    return `${this.#prefix}count:{${hash(name)}}`
  }

  /** The log of the announcements, and the channel on which its readers are woken. */
  announcementsKey (): string {
    return `${this.#prefix}announcements`
  }

  // ioredis puts its own prefix before keys and before the channel of a subscription, and not before one in a script.
  announcementsChannel (): string {
    return `${this.#redis.options.keyPrefix ?? ''}${this.announcementsKey()}`
  }

  /**
   * Listens to the channel on a connection of its own, which it makes again when it breaks. `wake` is called for
   * each message, and when some may have been missed.
   */
  createSubscriber (wake: () => void): { close (): void } {
    const connection = this.#redis.duplicate()
    const listen = (): void => { connection.subscribe(this.announcementsKey()).then(wake, () => {}) }
    // The injected client has the same to tell, and tells it to its maker.
    connection.on('error', () => {})
    connection.on('ready', listen)
    connection.on('message', wake)
    listen()
    return { close: () => connection.disconnect() }
  }

  loadsKey (): string {
    return `${this.#prefix}loads`
  }

  historyKey (): string {
    return `${this.#prefix}history`
  }

  /**
   * Runs a script. `late` is called with a reply that came after the caller had been told that there is
   * none: ioredis cannot take a command back, so what it did may have to be undone.
   */
  run (
    script: ScriptName, keys: readonly string[], args: ReadonlyArray<string | number>, late?: (reply: Reply) => void
  ): Promise<Reply> {
    const call: unknown = Reflect.get(this.#redis, scripts[script].command)
    if (typeof call !== 'function') throw new TypeError('the Redis client has lost its commands')
    return this.#bounded(async () => Reflect.apply(call, this.#redis, [keys.length, ...keys, ...args]), late)
  }

  /** The keys of all sessions, page by page; a key may come twice. Never blocks Redis for long. */
  async * scanSessions (): AsyncGenerator<string[]> {
    // Also makes a lazy client connect: until then a cluster has no nodes.
    await this.#bounded(() => this.#redis.ping())
    const clientPrefix = this.#redis.options.keyPrefix ?? ''
    const pattern = escapePattern(`${clientPrefix}${this.#prefix}session:`) + '*'
    const nodes = 'nodes' in this.#redis ? this.#redis.nodes('master') : [this.#redis]
    for (const node of nodes) {
      let cursor = '0'
      do {
        const page = await this.#bounded(() => node.scan(cursor, 'MATCH', pattern, 'COUNT', 500))
        cursor = page[0]
        // ioredis puts its own prefix before every key, and leaves it on the keys that SCAN returns.
        yield page[1].map(key => key.slice(clientPrefix.length))
      } while (cursor !== '0')
    }
  }

  #bounded<T> (send: () => Promise<T>, late?: (reply: T) => void): Promise<T> {
    return new Promise((resolve, reject) => {
      let expired = false
      const endPatience = startPatience(this.timeout, () => {
        expired = true
        reject(new DirectoryUnavailableError(`Redis did not answer within ${this.timeout} ms`))
      })
      const run = async (): Promise<void> => {
        try {
          await this.#connected()
          // A call that nobody waits for any more must not wait in the queue of ioredis either.
          if (expired) return
          const reply = await send()
          if (expired) late?.(reply)
          else resolve(reply)
        } catch (error) {
          reject(new DirectoryUnavailableError('Redis failed', withoutArguments(error)))
        } finally {
          endPatience()
        }
      }
      run()
    })
  }

  /** Waits for a connection that is being made; one that nobody has asked for is made by the first command. */
  #connected (): Promise<void> | undefined {
    const { status } = this.#redis
    if (status === 'ready' || status === 'wait') return
    if (status === 'end') throw new Error('The client is closed')
    this.#ready ??= new Promise(resolve => {
      this.#redis.once('ready', () => {
        this.#ready = undefined
        resolve()
      })
    })
    return this.#ready
  }
}

function hash (text: string): string {
  return createHash('sha256').update(text).digest('base64url')
}

function defineScripts (redis: RedisClient): void {
  for (const { command, lua } of Object.values(scripts)) {
    if (!(command in redis)) redis.defineCommand(command, { lua })
  }
}

function escapePattern (text: string): string {
  return text.replace(/[\\*?[\]]/g, '\\$&')
}
