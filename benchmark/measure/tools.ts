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

/** What is done before and after a tool. */
export type Around = <R> (work: () => R, call: { readonly name: string, readonly id: string | number, readonly sessionId: string }) => R

/** The MCP server of the endpoints that take one of the SDK, as most write it: three tools. */
export function createServer (): McpServer {
  return addTools(new McpServer(serverInfo))
}

/** The same with something around each tool. */
export function createServerAround (around: Around): McpServer {
  return addTools(new McpServer(serverInfo), around)
}

/** The same with a validator that all share. Without, each server makes an Ajv of its own, which costs more than all the rest of it. */
export function createLeanServer (): McpServer {
  return addTools(new McpServer(serverInfo, { jsonSchemaValidator }))
}

function addTools (server: McpServer, around?: Around): McpServer {
  server.registerTool('greet', { description: 'Greets', inputSchema: { name: z.string() } }, wrap('greet', tools.greet, around))
  server.registerTool('add', { description: 'Adds', inputSchema: { a: z.number(), b: z.number() } }, wrap('add', tools.add, around))
  server.registerTool('ping', { description: 'Answers' }, tools.ping)
  return server
}

type Tool<Args> = (args: Args, extra: { requestId: string | number, sessionId?: string | undefined }) => ReturnType<typeof text>

function wrap<Args> (name: string, tool: Tool<Args>, around: Around | undefined): Tool<Args> {
  if (around === undefined) return tool
  return (args, extra) => around(() => tool(args, extra), { name, id: extra.requestId, sessionId: String(extra.sessionId) })
}

function text (text: string): { content: Array<{ type: 'text', text: string }> } {
  return { content: [{ type: 'text', text }] }
}
