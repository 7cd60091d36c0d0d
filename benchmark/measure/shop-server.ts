// The public workload behind sessions of the endpoint, behind sessions by hand, and behind a server for each request.
import type { McpServer as McpServer1 } from '@modelcontextprotocol/sdk/server/mcp.js'
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js'
import { createMcpHandler, WebStandardStreamableHTTPServerTransport, type McpServer as McpServer2 } from '@modelcontextprotocol/server'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { randomUUID } from 'node:crypto'
import { built } from '../built.js'
import { mountBare } from './bare.js'
import { mountByHand } from './peers.js'
import { createApp, serve } from './serve.js'
import { createServers1, createServers2, Shop } from './shop-tools.js'
import { setUpTelemetry } from './telemetry.js'

type ShopCall =
  | { name: 'search_products', arguments: Parameters<Shop['search']>[0] }
  | { name: 'get_user_cart', arguments: Parameters<Shop['cart']>[0] }
  | { name: 'checkout', arguments: Parameters<Shop['checkout']>[0] }

const [, , redisUrl = '', apiUrl = '', how, sdk, style, variant] = process.argv
const shop = new Shop(redisUrl, apiUrl)
const create1 = createServers1(shop, style !== 'each')
const create2 = createServers2(shop, style !== 'each')
const app = createApp()
await mount(app)
await serve([app], '/mcp')

async function mount (app: FastifyInstance): Promise<void> {
  switch (`${how} ${sdk}`) {
    case 'endpoint 1':
    case 'endpoint 2':
      await app.register(built.mcpSessions, { maxSessions: 100_000, telemetry: variant === undefined ? false : setUpTelemetry(variant, app.server).telemetry })
      if (style === 'reused') await app.register(built.mcpEndpoint, { createServer: sdk === '1' ? create1 : create2, reuseServers: true })
      else await app.register(built.mcpEndpoint, { createServer: sdk === '1' ? create1 : create2 })
      return
    // The same requests and tools without MCP: what is left when sessions and servers cost nothing.
    case 'bare 1': return mountBare(app, callShop)
    case 'by-hand 1': return mountByHand(app, 'json', create1)
    case 'by-hand 2': return mountByHand2(app, create2)
    case 'per-request 1': return mountPerRequest1(app, create1)
    case 'per-request 2': return mountPerRequest2(app, create2)
    default: throw new Error(`There is no ${how} of SDK ${sdk}`)
  }
}

function callShop ({ name, arguments: args }: ShopCall): Promise<object> {
  switch (name) {
    case 'search_products': return shop.search(args)
    case 'get_user_cart': return shop.cart(args)
    case 'checkout': return shop.checkout(args)
  }
}

function mountByHand2 (app: FastifyInstance, createServer: () => McpServer2): void {
  const transports = new Map<string, WebStandardStreamableHTTPServerTransport>()
  app.route({
    method: ['POST', 'DELETE'],
    url: '/mcp',
    async handler (request, reply) {
      const id = request.headers['mcp-session-id']
      const transport = typeof id === 'string' ? transports.get(id) : await open()
      if (transport === undefined) return reply.code(404).send()
      return reply.send(await transport.handleRequest(toWebRequest(request), { parsedBody: request.body }))
    }
  })

  async function open (): Promise<WebStandardStreamableHTTPServerTransport> {
    const transport = new WebStandardStreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      enableJsonResponse: true,
      onsessioninitialized: (id) => { transports.set(id, transport) },
      onsessionclosed: (id) => { transports.delete(id) }
    })
    await createServer().connect(transport)
    return transport
  }
}

/** As the examples of the SDK have it, and the benchmark's own Node.js server. */
function mountPerRequest1 (app: FastifyInstance, createServer: () => McpServer1): void {
  app.post('/mcp', async (request, reply) => {
    const server = createServer()
    const transport = new StreamableHTTPServerTransport({ enableJsonResponse: true })
    reply.raw.once('close', () => { server.close().catch(() => {}) })
    await server.connect(transport)
    reply.hijack()
    await transport.handleRequest(request.raw, reply.raw, request.body)
  })
}

/** What SDK 2 itself does for clients of revisions with sessions. */
function mountPerRequest2 (app: FastifyInstance, createServer: () => McpServer2): void {
  const handler = createMcpHandler(createServer)
  app.post('/mcp', async (request, reply) => reply.send(await handler.fetch(toWebRequest(request), { parsedBody: request.body })))
}

function toWebRequest ({ method, url, headers }: FastifyRequest): Request {
  const copied = new Headers()
  for (const [name, value] of Object.entries(headers)) if (typeof value === 'string') copied.set(name, value)
  return new Request(new URL(url, 'http://127.0.0.1'), { method, headers: copied })
}
