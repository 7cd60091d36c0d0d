import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import type { FastifyInstance } from 'fastify'

/** Listens, says where, and says what this process has used whenever it is asked. */
export async function serve (app: FastifyInstance, path: string): Promise<void> {
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  process.on('message', (question) => {
    if (question === 'heap') globalThis.gc?.()
    const { user, system } = process.cpuUsage()
    process.send?.({ cpu: user + system, heap: process.memoryUsage().heapUsed })
  })
  process.once('disconnect', () => process.exit())
  process.send?.({ url: url + path })
}

/** The MCP server that all endpoints have. */
export function createServer (): McpServer {
  const server = new McpServer({ name: 'benchmark', version: '1.0.0' })
  server.registerTool('greet', {}, async () => ({ content: [{ type: 'text', text: 'hello' }] }))
  return server
}
