// A protected resource of OAuth, as the MCP specification has it: npm run example examples/oauth.ts
//
// A client without a token is told where the metadata is, and there, which authorization server to go to (RFC 9728).
// The tokens of that server are JSON Web Tokens here; what checks those of another kind goes into `verify`.
import jwt from '@fastify/jwt'
import Fastify, { type FastifyReply, type FastifyRequest } from 'fastify'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import type { AuthInfo } from '@modelcontextprotocol/sdk/server/auth/types.js'
import { randomBytes } from 'node:crypto'
import mcpSessions, { mcpEndpoint } from 'fastify-mcp-sessions'

const port = Number(process.env['PORT'] ?? 3000)
const issuer = process.env['ISSUER'] ?? 'https://auth.example.com'
const resource = process.env['RESOURCE'] ?? `http://127.0.0.1:${port}/mcp`
const { origin, pathname } = new URL(resource)
const metadataPath = `/.well-known/oauth-protected-resource${pathname}`

interface Claims {
  sub: string
  client_id: string
  scope: string
  exp: number
}

function buildServer (): McpServer {
  const server = new McpServer({ name: 'oauth', version: '1.0.0' })
  server.registerTool('scopes', { description: 'What the token is good for' }, async ({ authInfo }) => {
    return { content: [{ type: 'text', text: String(authInfo?.scopes.join(' ')) }] }
  })
  return server
}

const app = Fastify()
await app.register(jwt, {
  secret: process.env['JWT_SECRET'] ?? randomBytes(32).toString('hex'),
  // A token for another resource is none for this one.
  verify: { allowedIss: issuer, allowedAud: resource }
})
app.decorateRequest<AuthInfo | null>('auth', null)
await app.register(mcpSessions, {
  identify (request) {
    const auth = request.getDecorator<AuthInfo | null>('auth')
    // With its issuer, for the same name from another one is somebody else.
    return auth === null ? undefined : `${issuer}#${String(auth.extra?.['subject'])}`
  }
})

app.get(metadataPath, async () => ({
  resource,
  authorization_servers: [issuer],
  scopes_supported: ['notes:read'],
  bearer_methods_supported: ['header']
}))

await app.register(async (scope) => {
  scope.addHook('onRequest', async function verify (request: FastifyRequest, reply: FastifyReply) {
    try {
      const { sub: subject, client_id: clientId, scope, exp: expiresAt } = await request.jwtVerify<Claims>()
      // Tool handlers find it in `extra.authInfo`. They need not know the token itself.
      request.setDecorator<AuthInfo>('auth', { token: '', clientId, scopes: scope.split(' '), expiresAt, extra: { subject } })
    } catch {
      const challenge = `Bearer resource_metadata="${origin}${metadataPath}", scope="notes:read"`
      await reply.code(401).header('www-authenticate', challenge).send({ error: 'invalid_token' })
    }
  })
  await scope.register(mcpEndpoint, { createServer: buildServer })
})

const url = await app.listen({ port, host: '127.0.0.1' })
console.log(`MCP endpoint: ${url}/mcp`)
// In the place of the authorization server.
const claims = { sub: 'ann', iss: issuer, aud: resource, client_id: 'try', scope: 'notes:read', exp: Math.floor(Date.now() / 1000) + 3600 }
console.log(`Token of ann: ${app.jwt.sign(claims)}`)
