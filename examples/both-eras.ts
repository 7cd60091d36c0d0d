// One factory for clients with sessions and for those of 2026-07-28, with SDK 2: npm run example examples/both-eras.ts
//
// The tools are written once. A client with a session has a server of its own for as long as the session lives; one of
// 2026-07-28 has a server for each request.
import Fastify from 'fastify'
import { acceptedContent, inputRequired, McpServer } from '@modelcontextprotocol/server'
import mcpSessions, { mcpEndpoint } from 'fastify-mcp-sessions'
import { z } from 'zod'

const NAME = z.object({ name: z.string() })

function buildServer (era: 'legacy' | 'modern'): McpServer {
  const server = new McpServer({ name: 'both-eras', version: '1.0.0' })

  // Asks the user, whoever the client is: in a session with a question in the middle of the call, and without one with an
  // answer that says what is missing, after which the client calls again.
  server.registerTool('greet', { description: 'Greets you by your name' }, async ({ mcpReq }) => {
    const accepted = acceptedContent(mcpReq.inputResponses, 'name', NAME)
    if (accepted !== undefined) return { content: [{ type: 'text', text: `Hello ${accepted.name} of the ${era} era` }] }
    return inputRequired({ inputRequests: { name: inputRequired.elicit({ message: 'What is your name?', requestedSchema: NAME }) } })
  })
  return server
}

const app = Fastify()
await app.register(mcpSessions)
await app.register(mcpEndpoint, { createServer: ({ era }) => buildServer(era), modern: true })
const url = await app.listen({ port: Number(process.env['PORT'] ?? 3000), host: '127.0.0.1' })
console.log(`MCP endpoint: ${url}/mcp`)
