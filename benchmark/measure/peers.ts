// What else there is to serve MCP from a Fastify app. The packages go by names that the compiler does not
// follow: only the benchmark folder has them.
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js'
import type { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import type { FastifyInstance } from 'fastify'
import { randomUUID } from 'node:crypto'
import { createServer, tools } from './tools.js'

/** The SDK's transport, and a Map. */
export function mountByHand (app: FastifyInstance, mode: string | undefined, createServer: () => McpServer): void {
  const transports = new Map<string, StreamableHTTPServerTransport>()
  app.route({
    method: ['POST', 'DELETE'],
    url: '/mcp',
    async handler (request, reply) {
      const id = request.headers['mcp-session-id']
      const transport = typeof id === 'string' ? transports.get(id) : await open()
      if (transport === undefined) return reply.code(404).send()
      reply.hijack()
      await transport.handleRequest(request.raw, reply.raw, request.body)
    }
  })

  async function open (): Promise<StreamableHTTPServerTransport> {
    const transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      enableJsonResponse: mode === 'json',
      onsessioninitialized: (id) => { transports.set(id, transport) },
      onsessionclosed: (id) => { transports.delete(id) }
    })
    await createServer().connect(transport)
    return transport
  }
}

export async function mountFastifyMcp (app: FastifyInstance): Promise<void> {
  const name = 'fastify-mcp'
  const { streamableHttp, Sessions } = await import(name)
  await app.register(streamableHttp, {
    stateful: true, mcpEndpoint: '/mcp', sessions: new Sessions(), createServer: () => createServer().server
  })
}

/** It has a protocol of its own, always answers with JSON, and keeps sessions where `enableSSE` is set. */
export async function mountPlatformaticMcp (app: FastifyInstance): Promise<void> {
  const name = '@platformatic/mcp'
  const { default: mcpPlugin } = await import(name)
  await app.register(mcpPlugin, { serverInfo: { name: 'benchmark', version: '1.0.0' }, capabilities: { tools: {} }, enableSSE: true })
  const addTool = (name: keyof typeof tools, description: string, properties: Record<string, { type: string }>): void => {
    const inputSchema = { type: 'object', properties, required: Object.keys(properties) }
    Reflect.get(app, 'mcpAddTool').call(app, { name, description, inputSchema }, tools[name])
  }
  addTool('greet', 'Greets', { name: { type: 'string' } })
  addTool('add', 'Adds', { a: { type: 'number' }, b: { type: 'number' } })
  addTool('ping', 'Answers', {})
}
