// An MCP endpoint wired by hand, with transports that you keep yourself: npm run start:hand-wired
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js'
import { isInitializeRequest } from '@modelcontextprotocol/sdk/types.js'
import { randomUUID } from 'node:crypto'
import mcpSessions, {
  MissingSessionIdError, SessionNotFoundError, toJsonRpcError, type McpSessionsOptions, type SessionError
} from 'fastify-mcp-sessions'
import { buildNotesServer, notesApi } from './shared/notes.js'

export async function buildHandWiredApp (options: McpSessionsOptions = {}, logger = false): Promise<FastifyInstance> {
  // Otherwise close() waits for the spare connections that browsers and fetch() open.
  const app = Fastify({ logger, forceCloseConnections: true })
  await app.register(mcpSessions, options)
  await app.register(notesApi)
  await app.register(handWiredEndpoint)
  return app
}

async function handWiredEndpoint (app: FastifyInstance): Promise<void> {
  const transports = new Map<string, StreamableHTTPServerTransport>()

  // Whatever ends a session ends its transport, and with it the streams of the client.
  app.sessionManager.on('closed', async function closeTransport ({ id }) {
    const transport = transports.get(id)
    transports.delete(id)
    await transport?.close()
  })

  // An open stream would keep close() waiting.
  app.addHook('preClose', async function endStreams () {
    app.sessionManager.clearAll('shutdown')
  })

  app.post('/mcp', async function handleMessage (request, reply) {
    const transport = request.mcpSession === null && isInitializeRequest(request.body)
      ? await openTransport()
      : findTransport(request)
    if (transport instanceof Error) return reply.code(transport.statusCode).send(toJsonRpcError(transport))
    reply.hijack()
    await transport.handleRequest(request.raw, reply.raw, request.body)
  })

  app.route({
    method: ['GET', 'DELETE'],
    url: '/mcp',
    exposeHeadRoute: false,
    config: { mcpSession: 'required' },
    handler: async function handleStream (request, reply) {
      const transport = findTransport(request)
      if (transport instanceof Error) return reply.code(transport.statusCode).send(toJsonRpcError(transport))
      reply.hijack()
      await transport.handleRequest(request.raw, reply.raw)
    }
  })

  function findTransport ({ mcpSession }: FastifyRequest): StreamableHTTPServerTransport | SessionError {
    if (mcpSession === null) return new MissingSessionIdError()
    // The session may have ended since the hook found it, or not be one of this endpoint.
    return transports.get(mcpSession.id) ?? new SessionNotFoundError()
  }

  async function openTransport (): Promise<StreamableHTTPServerTransport> {
    const transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      onsessioninitialized (id) {
        transports.set(id, transport)
        app.sessionManager.register(id)
      },
      onsessionclosed (id) {
        app.sessionManager.cleanup(id)
      }
    })
    await buildNotesServer().connect(transport)
    return transport
  }
}
