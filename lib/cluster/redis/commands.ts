import { createHash } from 'node:crypto'
import type { NotAcknowledgedError } from '../directory.js'
import { AcknowledgedWrites, type ReplicaWait } from './acknowledged-writes.js'
import { BoundedCalls } from './bounded-calls.js'
import { OwnConnection, RedisConnection, type RedisClient } from './connection.js'
import { scripts, type ScriptName } from './scripts.js'
import { Subscription } from './subscription.js'
import { ALL_SHARDS, shardOf } from './shards.js'

export interface RedisCommandsOptions {
  redis: RedisClient
  /**
   * What all keys begin with. No braces: Redis Cluster reads them as hash tags.
   *
   * @default 'mcp:'
   */
  prefix?: string | undefined
  /**
   * Milliseconds after which a call has failed, even though ioredis may still be trying.
   *
   * @default 1000
   */
  timeout?: number | undefined
  /**
   * Whether to make a connection like `redis` instead of using it. That one is replaced when it is silent.
   *
   * @default false
   */
  isOwn?: boolean | undefined
  /** How many replicas must have what `write` writes. Left out: whatever Redis has taken counts. */
  waitForReplicas?: ReplicaWait | undefined
  /** Told when fewer replicas than that have it, and with `undefined` when they are back. */
  onShortage?: ((shortage: NotAcknowledgedError | undefined) => void) | undefined
}

// For how many times the timeout a connection that was replaced is still listened to.
const LINGER = 3

/** Runs the scripts in bounded time, and names the keys: what everything here that uses Redis has in common. */
export class RedisCommands {
  readonly isCluster: boolean
  readonly timeout: number
  readonly #redis: RedisClient
  readonly #prefix: string
  readonly #own: OwnConnection | undefined
  readonly #calls: BoundedCalls
  readonly #acknowledged: AcknowledgedWrites | undefined

  constructor ({ redis, prefix = 'mcp:', timeout = 1000, isOwn = false, waitForReplicas, onShortage = () => {} }: RedisCommandsOptions) {
    if (/[{}]/.test(prefix)) throw new TypeError('cluster.prefix must not contain braces')
    this.isCluster = 'nodes' in redis
    this.timeout = timeout
    this.#redis = redis
    this.#prefix = prefix
    const injected = new RedisConnection(redis)
    const own = isOwn ? new OwnConnection({ redis, linger: LINGER * timeout }) : undefined
    this.#own = own
    this.#calls = new BoundedCalls({ connection: () => own?.current ?? injected, onSilent: (silent) => own?.replace(silent), timeout })
    if (waitForReplicas !== undefined) {
      const connection = new OwnConnection({ redis, linger: LINGER * timeout })
      this.#acknowledged = new AcknowledgedWrites({ connection, wait: waitForReplicas, timeout, isCluster: this.isCluster, onShortage })
    }
  }

  /** The keys of the record of a session, its events, and the index of its shard. Ids are hashed, because they may hold braces. */
  sessionKeys (id: string): [record: string, events: string, index: string] {
    const digest = createHash('sha256').update(id).digest()
    const [name, shard] = [digest.toString('base64url'), shardOf(digest)]
    return [`${this.#prefix}session:{${shard}}:${name}`, `${this.#prefix}events:{${shard}}:${name}`, this.#indexKey(shard)]
  }

  /** The indexes of all sessions, in groups of keys that one script may have. */
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

  /** The key of a count. Its name is hashed, because it may hold braces, and because it says who is calling. */
  countKey (name: string): string {
    return `${this.#prefix}count:{${hash(name)}}`
  }

  /** The log of the announcements, and the channel on which its readers are woken. */
  announcementsKey (): string {
    return `${this.#prefix}announcements`
  }

  /** With the prefix of ioredis, which that puts before keys and before the channel of a subscription, but not before one in a script. */
  announcementsChannel (): string {
    return `${this.#redis.options.keyPrefix ?? ''}${this.announcementsKey()}`
  }

  /**
   * Listens to the channel of the announcements, on a connection of its own that is made anew when it breaks or is silent.
   * `wake` is called for each message, and when some may have been missed.
   */
  createSubscriber (wake: () => void): { close (): void } {
    return new Subscription({ redis: this.#redis, channel: this.announcementsKey(), patience: this.timeout, wake })
  }

  loadsKey (): string {
    return `${this.#prefix}loads`
  }

  historyKey (): string {
    return `${this.#prefix}history`
  }

  /** On Redis Cluster, where each machine can lose its data alone: the key with the secret, and one in each shard. */
  historyKeys (): string[] {
    return [this.historyKey(), ...ALL_SHARDS.map((shard) => `${this.#prefix}history:{${shard}}`)]
  }

  /**
   * Runs a script. `late` is called with a reply that came after the caller had been told that there is
   * none: ioredis cannot take a command back, so what it did may have to be undone.
   */
  run (
    script: ScriptName, keys: readonly string[], args: ReadonlyArray<string | number>, late?: (reply: unknown) => void
  ): Promise<unknown> {
    return this.#calls.call(async ({ client }) => {
      const call: unknown = Reflect.get(client, scripts[script].command)
      if (typeof call !== 'function') throw new TypeError('the Redis client has lost its commands')
      return Reflect.apply(call, client, [keys.length, ...keys, ...args])
    }, late)
  }

  /**
   * Runs a script whose changes must not be lost. It does what `run` does. Where replicas are waited for, it also rejects with
   * a `NotAcknowledgedError` when too few of them have the changes, and calls `late` then, too.
   */
  write (
    script: ScriptName, keys: readonly string[], args: ReadonlyArray<string | number>, late?: (reply: unknown) => void
  ): Promise<unknown> {
    return this.#acknowledged === undefined ? this.run(script, keys, args, late) : this.#acknowledged.run({ script, keys, args, late })
  }

  /** The keys of all sessions, page by page. A key may come twice. Never blocks Redis for long. */
  async * scanSessions (): AsyncGenerator<string[]> {
    // The ping makes a lazy client connect: until then a cluster has no nodes.
    const nodes = await this.#calls.call(async ({ client }) => {
      await client.ping()
      return 'nodes' in client ? client.nodes('master') : [client]
    })
    const clientPrefix = this.#redis.options.keyPrefix ?? ''
    // With the brace of the shard, so that no key of another cluster matches, whose prefix begins like this one's keys.
    const pattern = escapePattern(`${clientPrefix}${this.#prefix}session:{`) + '*'
    for (const node of nodes) {
      let cursor = '0'
      do {
        const page = await this.#calls.call(() => node.scan(cursor, 'MATCH', pattern, 'COUNT', 500))
        cursor = page[0]
        // ioredis puts its own prefix before every key, and leaves it on the keys that SCAN returns.
        yield page[1].map(key => key.slice(clientPrefix.length))
      } while (cursor !== '0')
    }
  }

  /** Ends the connections of its own. */
  close (): void {
    this.#own?.close()
    this.#acknowledged?.close()
  }
}

function hash (text: string): string {
  return createHash('sha256').update(text).digest('base64url')
}

function escapePattern (text: string): string {
  return text.replace(/[\\*?[\]]/g, '\\$&')
}
