import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { AjvJsonSchemaValidator } from '@modelcontextprotocol/sdk/validation/ajv-provider.js'
import { z } from 'zod'

const serverInfo = { name: 'benchmark', version: '1.0.0' }

/** What the tools do, for servers of every kind. */
export const tools = {
  greet: ({ name }: { name: string }) => text(`Hello, ${name}`),
  add: ({ a, b }: { a: number, b: number }) => text(String(a + b)),
  ping: () => text('pong')
}

const jsonSchemaValidator = new AjvJsonSchemaValidator()

/** The MCP server of the endpoints that take one of the SDK, as most write it: three tools. */
export function createServer (): McpServer {
  return addTools(new McpServer(serverInfo))
}

/** The same with a validator that all share. Without, each server makes an Ajv of its own, which costs more than all the rest of it. */
export function createLeanServer (): McpServer {
  return addTools(new McpServer(serverInfo, { jsonSchemaValidator }))
}

function addTools (server: McpServer): McpServer {
  server.registerTool('greet', { description: 'Greets', inputSchema: { name: z.string() } }, tools.greet)
  server.registerTool('add', { description: 'Adds', inputSchema: { a: z.number(), b: z.number() } }, tools.add)
  server.registerTool('ping', { description: 'Answers' }, tools.ping)
  return server
}

function text (text: string): { content: Array<{ type: 'text', text: string }> } {
  return { content: [{ type: 'text', text }] }
}
