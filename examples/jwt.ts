// Sessions that belong to the user of a JSON Web Token: npm run example examples/jwt.ts
import jwt from '@fastify/jwt'
import Fastify from 'fastify'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { randomBytes } from 'node:crypto'
import mcpSessions, { mcpEndpoint, type Session } from 'fastify-mcp-sessions'

declare module '@fastify/jwt' {
  interface FastifyJWT { user: { sub: string } | null } // null until the token has been verified
}

function buildServer (session: Session): McpServer {
  const server = new McpServer({ name: 'jwt', version: '1.0.0' })
  server.registerTool('who_am_i', { description: 'Says whose session it is' }, async () => {
    return { content: [{ type: 'text', text: String(session.principal) }] }
  })
  return server
}

const app = Fastify()
await app.register(jwt, { secret: process.env['JWT_SECRET'] ?? randomBytes(32).toString('hex') })
// The subject stays the same when a token is refreshed; the token itself does not.
await app.register(mcpSessions, { identify: (request) => request.user?.sub })

await app.register(async (scope) => {
  scope.addHook('onRequest', (request) => request.jwtVerify())
  await scope.register(mcpEndpoint, { createServer: ({ session }) => buildServer(session) })

  // A route of the app, for the same session and the same user.
  scope.get('/session', { config: { mcpSession: 'required' } }, async ({ mcpSession }) => {
    return { user: mcpSession.principal, client: mcpSession.clientInfo, since: new Date(mcpSession.createdAt) }
  })
})

const url = await app.listen({ port: Number(process.env['PORT'] ?? 3000), host: '127.0.0.1' })
console.log(`MCP endpoint: ${url}/mcp`)
for (const sub of ['ann', 'bob']) console.log(`Token of ${sub}: ${app.jwt.sign({ sub }, { expiresIn: '1h' })}`)
