import type { Dispatcher } from 'undici'
import { checkBoolean, checkCount, checkMethod, checkNames, checkTimer, refuse } from '../base/option-checks.js'
import { findAdvertiseFault } from './advertise.js'
import type { ReplicaWait } from './redis/acknowledged-writes.js'
import type { RedisClient } from './redis/connection.js'

/** Lets sessions live on many machines. */
export interface ClusterOptions {
  /**
   * An ioredis `Redis` or `Cluster`, on Redis 7 or Valkey. Who made it closes it. The plugin makes two connections of its own
   * like it with `duplicate()` (three with `waitForReplicas`), closes them with the app, and replaces them when they are silent.
   * What the app does on its client neither waits for them nor makes them wait.
   */
  redis: RedisClient
  /**
   * The URL at which the other nodes reach this one, and nothing else: no path, no query, no credentials.
   *
   * @default this machine's first non-internal IPv4 address, and the port
   * @example 'http://10.0.0.7:3000'
   */
  advertise?: string | undefined
  /**
   * What all keys begin with.
   *
   * @default 'mcp:'
   */
  prefix?: string | undefined
  /**
   * Milliseconds after which the sessions of a node that has died are taken over.
   *
   * @default 5000
   */
  lease?: number | undefined
  /**
   * Whether idle sessions move, a few at a time, from a node that holds clearly more than its share to one that holds
   * less: after a deploy, the node that was restarted last has none. A session moves at most once a minute, and never while
   * it is in use.
   *
   * @default true
   */
  balance?: boolean | undefined
  /**
   * Connects this node to the others: a `Dispatcher` of undici 7 or later, for a private certificate authority or client
   * certificates. Who made it closes it.
   *
   * @default an `Agent` that gives up a connection after a second
   * @example new Agent({ connect: { ca, cert, key, timeout: 1000 } })
   */
  dispatcher?: Dispatcher | undefined
  /**
   * Has an answer wait (`WAIT` of Redis) until so many replicas of Redis have what it follows from: a session that was opened,
   * taken over, changed or ended. So a failover to one of them loses none of it. What they do not have in time is undone as
   * far as it can be, and answered with 503 (`FST_ERR_MCP_SESSION_NOT_REPLICATED`). Such writes go over a third connection,
   * with one `WAIT` for all that come at the same time. Each of them takes the way to the replicas and back longer.
   *
   * @default undefined, which costs nothing: whatever Redis has taken counts
   * @example { count: 1, timeout: 500 }
   * @see https://redis.io/docs/latest/commands/wait/
   */
  waitForReplicas?: WaitForReplicasOptions | undefined
}

/** How many replicas of Redis must have what a client is told, and for how long this is waited for. */
export interface WaitForReplicasOptions {
  /**
   * How many replicas; on a Redis Cluster, of each master.
   *
   * @default 1
   */
  count?: number | undefined
  /**
   * Milliseconds that the replicas have for it: at most `lease`.
   *
   * @default 500, or `lease` if that is shorter
   */
  timeout?: number | undefined
}

export interface ResolvedClusterOptions {
  readonly redis: RedisClient
  readonly advertise: string | undefined
  readonly prefix: string
  readonly lease: number
  readonly balance: boolean
  readonly dispatcher: Dispatcher | undefined
  readonly waitForReplicas: ReplicaWait | undefined
}

const SHORTEST_LEASE = 300

/** @throws TypeError that names the option */
export function resolveClusterOptions (options: ClusterOptions): ResolvedClusterOptions {
  if (typeof options !== 'object' || options === null) refuse('cluster', 'an object { redis }', options)
  checkNames(options, ['redis', 'advertise', 'prefix', 'lease', 'balance', 'dispatcher', 'waitForReplicas'], 'cluster')
  const { redis, advertise, prefix = 'mcp:', lease = 5000, balance = true, dispatcher, waitForReplicas } = options
  if (typeof redis !== 'object' || redis === null || typeof redis.defineCommand !== 'function') {
    refuse('cluster.redis', 'a client of ioredis, such as new Redis(url)', redis)
  }
  checkAdvertise(advertise)
  checkMethod('cluster.dispatcher', dispatcher, 'dispatch', ', such as an Agent of undici')
  if (typeof prefix !== 'string' || /[{}]/.test(prefix)) refuse('cluster.prefix', 'a string without braces', prefix)
  if (checkTimer('cluster.lease', lease, 'not allowed here') < SHORTEST_LEASE) {
    refuse('cluster.lease', `at least ${SHORTEST_LEASE} ms, for it is renewed three times in its life`, lease)
  }
  return {
    redis,
    advertise,
    prefix,
    lease,
    balance: checkBoolean('cluster.balance', balance),
    dispatcher,
    waitForReplicas: resolveWait(waitForReplicas, lease)
  }
}

function resolveWait (options: WaitForReplicasOptions | undefined, lease: number): ReplicaWait | undefined {
  if (options === undefined) return undefined
  if (typeof options !== 'object' || options === null) refuse('cluster.waitForReplicas', 'an object { count, timeout }', options)
  checkNames(options, ['count', 'timeout'], 'cluster.waitForReplicas')
  const { count = 1, timeout = Math.min(500, lease) } = options
  // To Redis, 0 is to wait for ever.
  if (!Number.isSafeInteger(timeout) || timeout < 1 || timeout > lease) {
    refuse('cluster.waitForReplicas.timeout', `a whole number of milliseconds, from 1 to ${lease}, the lease`, timeout)
  }
  return { count: checkCount('cluster.waitForReplicas.count', count), timeout }
}

function checkAdvertise (url: unknown): void {
  const fault = url === undefined ? undefined : findAdvertiseFault(url)
  if (fault === undefined) return
  // The URL itself is left out of the message, which may be logged: it holds a password.
  if (hasCredentials(url)) throw new TypeError(`Option "cluster.advertise" must be ${fault}, got a URL with credentials`)
  refuse('cluster.advertise', fault, url)
}

function hasCredentials (url: unknown): boolean {
  if (typeof url !== 'string' || !URL.canParse(url)) return false
  const { username, password } = new URL(url)
  return username !== '' || password !== ''
}
