import Fastify, { type FastifyRequest } from 'fastify'
import { describe, expect, test } from 'tstyche'
import mcpSessions, {
  mcpSessions as named,
  type McpSessionsOptions,
  type Session,
  type SessionError,
  type SessionManager,
  type SessionMode
} from '../../index.js'

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
