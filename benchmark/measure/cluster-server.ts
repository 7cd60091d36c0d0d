// A server process: a node of a cluster, the same endpoint without a cluster, or a bare proxy.
import type { FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import { built } from '../built.js'
import { createApp, serve } from './serve.js'
import { createServer } from './tools.js'

const [, , kind, ...args] = process.argv
const app = createApp()

if (kind === 'node') await mountNode(app, ...args)
else if (kind === 'alone') await mountAlone(app)
else await mountProxy(app, ...args)
process.once('SIGTERM', () => { app.close().then(() => process.exit()) })
await serve([app], '/mcp')

async function mountNode (app: FastifyInstance, redisUrl = '', prefix = 'mcp:'): Promise<void> {
  const redis = new Redis(redisUrl)
  // What is measured lives where it was opened, however long it takes.
  await app.register(built.mcpSessions, { maxSessions: 100_000, cluster: { redis, prefix, balance: false } })
  await app.register(built.mcpEndpoint, { createServer })
}

async function mountAlone (app: FastifyInstance): Promise<void> {
  await app.register(built.mcpSessions, { maxSessions: 100_000 })
  await app.register(built.mcpEndpoint, { createServer })
}

async function mountProxy (app: FastifyInstance, upstream = ''): Promise<void> {
  // By a name that the compiler does not follow: only the benchmark folder has this package.
  const name = '@fastify/reply-from'
  await app.register(await import(name), { base: upstream, undici: {}, disableRequestLogging: true })
  // Unread, as @fastify/http-proxy does it: a proxy has no use for what is in a body.
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, body, done) => { done(null, body) })
  app.all('/*', (_request, reply) => Reflect.get(reply, 'from').call(reply))
}
