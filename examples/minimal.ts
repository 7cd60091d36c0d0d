// The least that is a server: npm run example examples/minimal.ts
import Fastify from 'fastify'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import mcpSessions, { mcpEndpoint } from 'fastify-mcp-sessions'

// Once for each session.
function buildServer (): McpServer {
  const server = new McpServer({ name: 'minimal', version: '1.0.0' })
  server.registerTool('hello', { description: 'Says hello' }, async () => {
    return { content: [{ type: 'text', text: 'Hello' }] }
  })
  return server
}

const app = Fastify()
await app.register(mcpSessions)
await app.register(mcpEndpoint, { createServer: buildServer })
const url = await app.listen({ port: Number(process.env['PORT'] ?? 3000), host: '127.0.0.1' })
console.log(`MCP endpoint: ${url}/mcp`)
