// Clients of 2026-07-28, by the endpoint and by SDK 2's own handler with SDK 2's own adapter for node:http.
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { z } from 'zod'
import { built } from '../built.js'
import { createApp, reportUsage, serve } from './serve.js'
import { tools } from './tools.js'

// That of the package: the endpoint takes servers of no other copy.
const { AjvJsonSchemaValidator }: typeof import('@modelcontextprotocol/server/validators/ajv') =
  await import(new URL('../../node_modules/@modelcontextprotocol/server/dist/validators/ajv.mjs', import.meta.url).href)
const { createMcpHandler, McpServer }: typeof import('@modelcontextprotocol/server') =
  await import(new URL('../../node_modules/@modelcontextprotocol/server/dist/index.mjs', import.meta.url).href)

const HOUR = 3_600_000
const [, , how, style] = process.argv
const create = chooseFactory()
await (how === 'endpoint' ? serveEndpoint() : serveHandler())

function chooseFactory () {
  if (style === 'many' || style === 'memoised') return createManyFactory()
  return style === 'once' ? createFactory() : () => createFactory()()
}

/** Servers with the tools of the other benchmarks. */
function createFactory () {
  const jsonSchemaValidator = new AjvJsonSchemaValidator()
  const greet = z.object({ name: z.string() })
  const add = z.object({ a: z.number(), b: z.number() })
  return () => {
    const server = new McpServer({ name: 'benchmark', version: '1.0.0' }, style === 'once' ? { jsonSchemaValidator } : {})
    server.registerTool('greet', { description: 'Greets', inputSchema: greet }, tools.greet)
    server.registerTool('add', { description: 'Adds', inputSchema: add }, tools.add)
    server.registerTool('ping', { description: 'Answers' }, tools.ping)
    return server
  }
}

/** Servers with 100 tools of ten fields each, all made once but for the JSON Schema. */
function createManyFactory () {
  const jsonSchemaValidator = new AjvJsonSchemaValidator()
  const schemas = Array.from({ length: 100 }, () => {
    const schema = z.object(Object.fromEntries(Array.from({ length: 10 }, (_, index) => [`field${index}`, z.string().describe(`Field ${index}`)])))
    return style === 'memoised' ? built.memoiseSchema(schema) : schema
  })
  return () => {
    const server = new McpServer({ name: 'benchmark', version: '1.0.0' }, { jsonSchemaValidator })
    for (const [index, inputSchema] of schemas.entries()) server.registerTool(`tool${index}`, { description: 'One of many', inputSchema }, tools.ping)
    return server
  }
}

async function serveEndpoint (): Promise<void> {
  const app = createApp()
  await app.register(built.mcpSessions)
  await app.register(built.mcpEndpoint, { createServer: create, modern: true })
  await serve([app], '/mcp')
}

async function serveHandler (): Promise<void> {
  const name = '@modelcontextprotocol/node'
  const { toNodeHandler } = await import(name)
  const handle: (request: IncomingMessage, response: ServerResponse) => void = toNodeHandler(createMcpHandler(create))
  const server = createServer({ keepAliveTimeout: HOUR, connectionsCheckingInterval: HOUR }, handle).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port }: AddressInfo = Object(server.address())
  reportUsage([`http://127.0.0.1:${port}/mcp`])
}
