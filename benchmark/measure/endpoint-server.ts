// A server process: the same tools behind one of the endpoints that are compared.
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js'
import Fastify, { type FastifyInstance } from 'fastify'
import { randomUUID } from 'node:crypto'
import { built } from '../built.js'
import { createServer, serve } from './serve.js'

const [, , kind, mode] = process.argv
const enableJsonResponse = mode === 'json'
const app = Fastify()

if (kind === 'endpoint') await mountEndpoint(app)
else if (kind === 'hand-wired') mountByHand(app)
else await mountFastifyMcp(app)
await serve(app, '/mcp')

async function mountEndpoint (app: FastifyInstance): Promise<void> {
  await app.register(built.mcpSessions, { maxSessions: 100_000 })
  await app.register(built.mcpEndpoint, { createServer, responseMode: enableJsonResponse ? 'json' : 'sse' })
}

function mountByHand (app: FastifyInstance): void {
  const transports = new Map<string, StreamableHTTPServerTransport>()
  app.post('/mcp', async (request, reply) => {
    const id = request.headers['mcp-session-id']
    const transport = typeof id === 'string' ? transports.get(id) : await open()
    reply.hijack()
    await transport?.handleRequest(request.raw, reply.raw, request.body)
  })

  async function open (): Promise<StreamableHTTPServerTransport> {
    const transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      enableJsonResponse,
      onsessioninitialized: (id) => { transports.set(id, transport) }
    })
    await createServer().connect(transport)
    return transport
  }
}

async function mountFastifyMcp (app: FastifyInstance): Promise<void> {
  // By a name that the compiler does not follow: only the benchmark folder has this package.
  const name = 'fastify-mcp'
  const { streamableHttp, Sessions } = await import(name)
  await app.register(streamableHttp, {
    stateful: true, mcpEndpoint: '/mcp', sessions: new Sessions(), createServer: () => createServer().server
  })
}
