import Fastify, { type FastifyInstance, type FastifyRequest, type FastifyServerOptions } from 'fastify'
import { Redis } from 'ioredis'
import { randomUUID } from 'node:crypto'
import type { Test } from 'tap'
import mcpSessions, { type McpSessionsOptions } from '../../../index.js'
import type { ClusterOptions } from '../../../lib/cluster/options.js'
import { captureLog } from '../observe/log-lines.js'

export interface ClusterApp {
  app: FastifyInstance
  redis: Redis
  /** What its keys begin with. */
  prefix: string
  /** Where it listens. */
  url: string
  log: string[]
}

export interface ClusterAppOptions {
  plugin?: McpSessionsOptions
  cluster?: Partial<ClusterOptions>
  server?: FastifyServerOptions
  /** Where it listens. Left out: anywhere. */
  port?: number
  /** Routes and endpoints. */
  routes?: (app: FastifyInstance) => Promise<void>
}

/** Makes apps that are nodes of one cluster, over one Redis, under a prefix of their own. */
export function createCluster (t: Test, redisUrl: string): (options?: ClusterAppOptions) => Promise<ClusterApp> {
  const prefix = `test-${randomUUID()}:`
  return async function addNode ({ plugin = {}, cluster = {}, server = {}, port = 0, routes } = {}) {
    const redis = new Redis(redisUrl, { retryStrategy: () => 20 })
    redis.on('error', () => {})
    const { lines, stream } = captureLog()
    const app = Fastify({ logger: { level: 'warn', stream }, forceCloseConnections: true, ...server })
    t.teardown(async () => {
      await app.close()
      redis.disconnect()
    })
    await app.register(mcpSessions, {
      identify: ({ headers }: FastifyRequest) => headers.authorization, drainTimeout: 500, ...plugin, cluster: { redis, prefix, lease: 1500, ...cluster }
    })
    await routes?.(app)
    const url = await app.listen({ port, host: '127.0.0.1' })
    return { app, redis, prefix, url, log: lines }
  }
}
