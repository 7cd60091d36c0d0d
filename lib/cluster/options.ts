import { checkNames, checkTimer, refuse } from '../base/option-checks.js'
import type { RedisClient } from './redis/commands.js'

/** Lets sessions live on many machines. */
export interface ClusterOptions {
  /** An ioredis `Redis` or `Cluster`, on Redis 7 or Valkey. Who made it closes it. */
  redis: RedisClient
  /**
   * The URL at which the other nodes reach this one.
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
}

export interface ResolvedClusterOptions {
  readonly redis: RedisClient
  readonly advertise: string | undefined
  readonly prefix: string
  readonly lease: number
}

const SHORTEST_LEASE = 300

/** @throws TypeError that names the option */
export function resolveClusterOptions (options: ClusterOptions): ResolvedClusterOptions {
  if (typeof options !== 'object' || options === null) refuse('cluster', 'an object { redis }', options)
  checkNames(options, ['redis', 'advertise', 'prefix', 'lease'], 'cluster')
  const { redis, advertise, prefix = 'mcp:', lease = 5000 } = options
  if (typeof redis !== 'object' || redis === null) refuse('cluster.redis', 'a client of ioredis', redis)
  if (typeof redis.defineCommand !== 'function') refuse('cluster.redis', 'a client of ioredis', redis)
  if (advertise !== undefined && !isHttpUrl(advertise)) refuse('cluster.advertise', 'an http:// or https:// URL', advertise)
  if (typeof prefix !== 'string' || /[{}]/.test(prefix)) refuse('cluster.prefix', 'a string without braces', prefix)
  if (checkTimer('cluster.lease', lease, 'not allowed here') < SHORTEST_LEASE) {
    refuse('cluster.lease', `at least ${SHORTEST_LEASE} ms, for it is renewed three times in its life`, lease)
  }
  return { redis, advertise, prefix, lease }
}

function isHttpUrl (value: unknown): boolean {
  return typeof value === 'string' && URL.canParse(value) && /^https?:$/.test(new URL(value).protocol)
}
