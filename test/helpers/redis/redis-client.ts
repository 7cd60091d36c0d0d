import { Cluster, Redis } from 'ioredis'
import { Cluster as Cluster5, Redis as Redis5 } from 'ioredis-5'
import type { RedisClient } from '../../../lib/cluster/redis/connection.js'

/** Where a Redis is, all on 127.0.0.1. */
export interface RedisAddress {
  /** The port of a Redis on its own, those of the Sentinels, or those of the masters of a Redis Cluster. */
  kind: 'alone' | 'sentinel' | 'cluster'
  ports: number[]
}

export type IoredisMajor = 5 | 6

export type TestRedis = RedisClient & {
  disconnect: () => void
  on: (event: 'error', listener: () => void) => unknown
}

// The name under which Sentinels know the master.
export const MASTER_NAME = 'sessions'

const RETRY_INTERVAL = 100

/** A client of either version of ioredis. It is back soon after Redis is, so that a test need not wait long. */
export function connectRedis ({ kind, ports }: RedisAddress, major: IoredisMajor = 6): TestRedis {
  const hosts = ports.map((port) => ({ host: '127.0.0.1', port }))
  const retryStrategy = (): number => RETRY_INTERVAL
  const redisOptions = kind === 'sentinel'
    ? { sentinels: hosts, name: MASTER_NAME, retryStrategy, sentinelRetryStrategy: retryStrategy }
    : { host: '127.0.0.1', port: Number(ports[0]), retryStrategy }
  const client: TestRedis = major === 5
    ? kind === 'cluster' ? new Cluster5(hosts, { clusterRetryStrategy: retryStrategy }) : new Redis5(redisOptions)
    : kind === 'cluster' ? new Cluster(hosts, { clusterRetryStrategy: retryStrategy }) : new Redis(redisOptions)
  client.on('error', () => {})
  return client
}
