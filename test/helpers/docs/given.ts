// What readers of a document have already when they come to one of its blocks.
import jwt from '@fastify/jwt'
import Fastify, { type FastifyInstance } from 'fastify'
import mcpSessions, { mcpEndpoint, type CreateServer, type Session } from 'fastify-mcp-sessions'
import { Redis } from 'ioredis'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { McpServer as ModernServer } from '@modelcontextprotocol/server'

export interface Given {
  readonly app: FastifyInstance
  readonly buildModernServer: () => ModernServer
  readonly buildServer: () => McpServer
  readonly createServer: CreateServer
  readonly mcpSessions: typeof import('fastify-mcp-sessions').default
  /** Does not connect before it is used. */
  readonly redis: Redis
  readonly server: McpServer
  readonly session: Session
}

const INFO = { name: 'given', version: '1.0.0' }

/**
 * `'app'` has the sessions, `'endpoint app'` an MCP endpoint too, `'bare app'` nothing at all, and `'jwt app'` verifies tokens.
 *
 * @param names of what is given, as a block has them above it
 */
export async function give (...names: string[]): Promise<Given> {
  const app = Fastify()
  if (names.includes('jwt app')) await app.register(jwt, { secret: 'secret' })
  if (names.includes('app') || names.includes('endpoint app')) await app.register(mcpSessions)
  if (names.includes('endpoint app')) await app.register(mcpEndpoint, { createServer: buildServer })
  return {
    app,
    mcpSessions,
    buildServer,
    buildModernServer: () => new ModernServer(INFO),
    createServer: buildServer,
    get redis () { return connect() },
    get server () { return buildServer() },
    get session () { return openSession(app) }
  }
}

function buildServer (): McpServer {
  const server = new McpServer(INFO)
  server.registerTool('hello', {}, async () => ({ content: [{ type: 'text', text: 'Hello' }] }))
  return server
}

function connect (): Redis {
  const redis = new Redis({ lazyConnect: true, retryStrategy: () => null })
  redis.on('error', () => {})
  return redis
}

function openSession (app: FastifyInstance): Session {
  const session = app.sessionManager.get(app.sessionManager.create())
  if (session === undefined) throw new Error('A session that was just opened is not there')
  return session
}
