// Floods stay outside, and each address has a quota of its own: npm run example examples/rate-limit.ts
import rateLimit from '@fastify/rate-limit'
import Fastify from 'fastify'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { isInitializeRequest } from '@modelcontextprotocol/sdk/types.js'
import mcpSessions, { mcpEndpoint } from 'fastify-mcp-sessions'

function buildServer (): McpServer {
  const server = new McpServer({ name: 'rate-limit', version: '1.0.0' })
  server.registerTool('hello', { description: 'Says hello' }, async () => {
    return { content: [{ type: 'text', text: 'Hello' }] }
  })
  return server
}

const app = Fastify()
// How many sessions are kept, for all and for each address. The one idle longest makes room.
await app.register(mcpSessions, {
  maxSessions: 1000,
  maxSessionsPerPrincipal: 10,
  identify: ({ ip }) => ip
})

await app.register(async (scope) => {
  // How often sessions are opened: this limit is for initialize, and for nothing else.
  await scope.register(rateLimit, {
    max: Number(process.env['MAX'] ?? 10),
    timeWindow: '1 minute',
    hook: 'preHandler',
    allowList: (request) => !isInitializeRequest(request.body)
  })
  await scope.register(mcpEndpoint, { createServer: buildServer })
})

const url = await app.listen({ port: Number(process.env['PORT'] ?? 3000), host: '127.0.0.1' })
console.log(`MCP endpoint: ${url}/mcp`)
