import { createMcpHandler, McpServer as McpServer2, type AuthInfo as AuthInfo2, type ServerEventBus, type Transport as Transport2 } from '@modelcontextprotocol/server'
import { McpServer as McpServer1 } from '@modelcontextprotocol/sdk/server/mcp.js'
import type { Transport as Transport1 } from '@modelcontextprotocol/sdk/shared/transport.js'
import Fastify, { type FastifyRequest, type FastifyTypeProviderDefault } from 'fastify'
import { describe, expect, test } from 'tstyche'
import mcpSessions, {
  mcpEndpoint,
  mcpSessions as named,
  type AuthInfo,
  type CreateServerContext,
  type McpSessionsOptions,
  type ModernHandler,
  type ModernServerContext,
  type Session,
  type SessionError,
  type SessionManager,
  type SessionMode,
  type SharedServerContext,
  type WithSession
} from '../../index.js'
import type { SessionTransport } from '../../lib/endpoint/transport/session-transport.js'

const app = Fastify()

test('the default export is the named export', () => {
  expect(mcpSessions).type.toBe(named)
})

test('app.sessionManager is typed', () => {
  expect(app.sessionManager).type.toBe<SessionManager>()
})

test('request.mcpSession is typed', () => {
  app.get('/', async (request) => {
    expect(request.mcpSession).type.toBe<Session | null>()
  })
})

describe('options', () => {
  test('are typed at register', () => {
    expect(app.register).type.toBeCallableWith(mcpSessions)
    expect(app.register).type.toBeCallableWith(mcpSessions, { enabled: true, ttl: 1_000, cleanupInterval: 500 })
    expect(app.register).type.not.toBeCallableWith(mcpSessions, { ttl: '1000' })
    expect(app.register).type.not.toBeCallableWith(mcpSessions, { enabled: 'yes' })
    expect(app.register).type.not.toBeCallableWith(mcpSessions, { tll: 1_000 })
  })

  test('can be undefined, one by one', () => {
    expect<{ ttl: number | undefined, logger: undefined }>().type.toBeAssignableTo<McpSessionsOptions>()
  })

  test('errorResponseBuilder gets the request and the error', () => {
    const options: McpSessionsOptions = {
      errorResponseBuilder (request, error) {
        expect(request).type.toBe<FastifyRequest>()
        expect(error).type.toBe<SessionError>()
        expect(error.statusCode).type.toBe<number>()
        expect(error.code).type.toBe<string>()
        return { message: error.message }
      }
    }
    expect(options).type.toBe<McpSessionsOptions>()
  })
})

describe('the config of a route', () => {
  const handler = async (): Promise<string> => ''

  test('takes a mode, or none', () => {
    expect(app.get).type.toBeCallableWith('/', { config: { mcpSession: 'required' as const } }, handler)
    expect(app.get).type.toBeCallableWith('/', { config: { mcpSession: 'optional' as const } }, handler)
    expect(app.get).type.toBeCallableWith('/', { config: { mcpSession: 'ignore' as const } }, handler)
    expect(app.get).type.toBeCallableWith('/', { config: { mcpSession: undefined } }, handler)
    expect(app.get).type.toBeCallableWith('/', { config: {} }, handler)
  })

  test('takes nothing else', () => {
    expect(app.get).type.not.toBeCallableWith('/', { config: { mcpSession: 'sometimes' as const } }, handler)
    expect(app.get).type.not.toBeCallableWith('/', { config: { mcpSession: true } }, handler)
    expect<SessionMode>().type.toBe<'required' | 'optional' | 'ignore'>()
  })
})

describe('a handler of a route that requires a session', () => {
  const config = { mcpSession: 'required' } as const

  test('has one', () => {
    app.get('/', { config: { mcpSession: 'required' } }, async (request, reply) => {
      expect(request.mcpSession).type.toBe<Session>()
      return reply.send(request.mcpSession.id)
    })
    app.post('/', { config }, function (request, reply) {
      expect(request.mcpSession).type.toBe<Session>()
      expect(this.sessionManager).type.toBe<SessionManager>()
      reply.send('')
    })
    app.route({
      method: ['GET', 'DELETE'],
      url: '/',
      config,
      handler: async (request) => {
        expect(request.mcpSession).type.toBe<Session>()
        return request.mcpSession.id
      }
    })
  })

  test('keeps its other types', () => {
    app.get<{ Params: { id: number }, Reply: string }>('/:id', { config }, async (request) => {
      expect(request.params).type.toBe<{ id: number }>()
      expect(request.mcpSession).type.toBe<Session>()
      return request.mcpSession.id
    })
    app.route<{ Body: { text: string } }>({
      method: 'POST',
      url: '/',
      config,
      handler: async (request) => {
        expect(request.body).type.toBe<{ text: string }>()
        expect(request.mcpSession).type.toBe<Session>()
      }
    })
    app.withTypeProvider<FastifyTypeProviderDefault>().get('/', { config, onRequest: async () => {} }, async (request) => {
      expect(request.mcpSession).type.toBe<Session>()
    })
  })

  test('is not what others are', () => {
    app.get('/', { config: { mcpSession: 'optional' } }, async (request) => {
      expect(request.mcpSession).type.toBe<Session | null>()
    })
    app.get('/', { config: {} }, async (request) => {
      expect(request.mcpSession).type.toBe<Session | null>()
    })
    app.route({
      method: 'GET',
      url: '/',
      config: { mcpSession: 'optional' },
      handler: async (request) => {
        expect(request.mcpSession).type.toBe<Session | null>()
      }
    })
    app.route({
      method: 'GET',
      url: '/',
      handler: async (request) => {
        expect(request.mcpSession).type.toBe<Session | null>()
      }
    })
    app.get('/', async (request) => {
      expect(request.mcpSession).type.toBe<Session | null>()
    })
  })

  test('can be written elsewhere', () => {
    async function handle (request: FastifyRequest & WithSession): Promise<string> {
      return request.mcpSession.id
    }
    expect(app.get).type.toBeCallableWith('/', { config }, handle)
    expect(app.get).type.not.toBeCallableWith('/', { config: { mcpSession: 'optional' as const } }, handle)
    expect(app.get).type.not.toBeCallableWith('/', handle)
  })
})

describe('createServer', () => {
  const ofSdk1 = (): McpServer1 => new McpServer1({ name: 'one', version: '1' })
  const ofSdk2 = (): McpServer2 => new McpServer2({ name: 'two', version: '1' })

  test('takes servers of both SDKs', () => {
    for (const createServer of [ofSdk1, ofSdk2, () => ofSdk1().server, () => ofSdk2().server, async () => ofSdk2()]) app.register(mcpEndpoint, { createServer })
    expect(app.register).type.not.toBeCallableWith(mcpEndpoint, { createServer: () => ({}) })
    expect(app.register).type.not.toBeCallableWith(mcpEndpoint, { createServer: ofSdk1, responseMod: 'auto' })
  })

  test('has a session, unless it serves both eras', () => {
    app.register(mcpEndpoint, {
      createServer ({ era, session, authInfo }) {
        expect(era).type.toBe<'legacy'>()
        expect(session).type.toBe<Session>()
        expect(authInfo).type.toBe<AuthInfo | undefined>()
        return ofSdk1()
      }
    })
    app.register(mcpEndpoint, {
      modern: createMcpHandler(ofSdk2),
      createServer ({ session }) {
        expect(session).type.toBe<Session>()
        return ofSdk1()
      }
    })
    app.register(mcpEndpoint, {
      prefix: '/api',
      modern: true,
      createServer ({ era, session }) {
        expect(session).type.toBe<Session | null>()
        if (era === 'legacy') expect(session).type.toBe<Session>()
        return ofSdk2()
      }
    })
  })

  test('knows nothing of a session when servers are reused', () => {
    app.register(mcpEndpoint, {
      reuseServers: true,
      createServer (context) {
        expect(context).type.toBe<SharedServerContext | ModernServerContext>()
        if (context.era === 'legacy') expect(context).type.not.toHaveProperty('session')
        return ofSdk1()
      }
    })
    app.register(mcpEndpoint, {
      reuseServers: 10,
      createServer (context) {
        expect(context).type.toBe<SharedServerContext | ModernServerContext>()
        return ofSdk1()
      }
    })
    app.register(mcpEndpoint, {
      reuseServers: 10,
      modern: createMcpHandler(ofSdk2),
      createServer (context) {
        expect(context).type.toBe<SharedServerContext | ModernServerContext>()
        return ofSdk1()
      }
    })
    app.register(mcpEndpoint, {
      modern: createMcpHandler(ofSdk2),
      createServer (context) {
        expect(context).type.toBe<CreateServerContext>()
        return ofSdk1()
      }
    })
    app.register(mcpEndpoint, {
      reuseServers: 10,
      modern: true,
      createServer (context) {
        if (context.era === 'modern') expect(context.request).type.toBe<FastifyRequest>()
        else expect(context).type.not.toHaveProperty('request')
        return ofSdk2()
      }
    })
    const ofSession = ({ session }: CreateServerContext): McpServer1 => new McpServer1({ name: session.id, version: '1' })
    expect(app.register).type.not.toBeCallableWith(mcpEndpoint, { createServer: ofSession, reuseServers: true })
    app.register(mcpEndpoint, { createServer: ofSession, reuseServers: false })
  })

  test('modern is true or a whole handler', () => {
    expect(app.register).type.not.toBeCallableWith(mcpEndpoint, { createServer: ofSdk1, modern: createMcpHandler(ofSdk2).fetch })
    expect(createMcpHandler(ofSdk2)).type.toBeAssignableTo<ModernHandler>()
    expect(app.mcp.bus).type.toBeAssignableTo<ServerEventBus>()
    expect<AuthInfo>().type.toBeAssignableTo<AuthInfo2>()
    expect<AuthInfo>().type.toBeAssignableFrom<AuthInfo2>()
  })

  test('the transport is one to both SDKs', () => {
    expect<SessionTransport>().type.toBeAssignableTo<Transport1>()
    expect<SessionTransport>().type.toBeAssignableTo<Transport2>()
  })
})
