// Compiled in a project that has installed the package, with all libraries checked.
import Fastify from 'fastify'
import mcpSessions, { mcpEndpoint, SessionManager, SessionNotFoundError, type Session } from 'fastify-mcp-sessions'
import sessionsDashboard, { type DashboardState } from 'fastify-mcp-sessions/dashboard'
import { connect, injectFetch } from 'fastify-mcp-sessions/testing'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'

declare module 'fastify-mcp-sessions' {
  interface SessionMetadata { cart?: string[] }
}

export async function build (): Promise<string[] | undefined> {
  const app = Fastify()
  await app.register(mcpSessions, { ttl: 1_000, ignoreWarnings: ['FST_WARN_MCP_SESSION_TTL'] })
  await app.register(mcpEndpoint, { createServer: () => new McpServer({ name: 'consumer', version: '1.0.0' }) })
  await app.register(sessionsDashboard, { prefix: '/sessions', authorize: 'loopback' })
  await app.register(sessionsDashboard, { prefix: '/more', async authorize (request, reply) { if (request.headers.cookie === undefined) reply.code(401) } })
  // @ts-expect-error: somebody has to say who may look
  await app.register(sessionsDashboard, { prefix: '/none' })
  const state = (await app.inject('/sessions/state')).json<DashboardState>()
  state.sessions.rows.map(({ hash }): string => hash)
  app.get('/required', { config: { mcpSession: 'required' } }, async (request): Promise<Session> => request.mcpSession)
  app.get('/', async (request): Promise<Session | null> => request.mcpSession)
  // @ts-expect-error: there is no such mode
  app.get('/wrong', { config: { mcpSession: 'sometimes' } }, async () => '')
  // @ts-expect-error: a time is a number
  await app.register(mcpSessions, { ttl: '1000' })
  // @ts-expect-error: an error class is not any
  new SessionNotFoundError().nothing()
  const client = await connect(app, { principal: 'ann' })
  await client.callTool({ name: 'hello' })
  const response: Response = await injectFetch(app)('http://localhost/')
  const sessions: SessionManager = app.sessionManager
  const id: string = sessions.create({ cart: [await response.text()] })
  return sessions.get(id)?.metadata?.cart
}
