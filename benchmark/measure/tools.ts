import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { z } from 'zod'

/** What the tools do, for servers of every kind. */
export const tools = {
  greet: ({ name }: { name: string }) => text(`Hello, ${name}`),
  add: ({ a, b }: { a: number, b: number }) => text(String(a + b)),
  ping: () => text('pong')
}

/** The MCP server of the endpoints that take one of the SDK: three tools. */
export function createServer (): McpServer {
  const server = new McpServer({ name: 'benchmark', version: '1.0.0' })
  server.registerTool('greet', { description: 'Greets', inputSchema: { name: z.string() } }, tools.greet)
  server.registerTool('add', { description: 'Adds', inputSchema: { a: z.number(), b: z.number() } }, tools.add)
  server.registerTool('ping', { description: 'Answers' }, tools.ping)
  return server
}

function text (text: string): { content: Array<{ type: 'text', text: string }> } {
  return { content: [{ type: 'text', text }] }
}
