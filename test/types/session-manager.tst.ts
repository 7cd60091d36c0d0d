import { Server } from '@modelcontextprotocol/sdk/server/index.js'
import { describe, expect, test } from 'tstyche'
import { SessionManager, type CloseReason, type ILogger, type LogLevel, type Result, type Session } from '../../index.js'

const sessions = new SessionManager()

test('sessions are found, or not', () => {
  expect(sessions.create()).type.toBe<string>()
  expect(sessions.register('id')).type.toBe<void>()
  expect(sessions.get('id')).type.toBe<Session | undefined>()
  expect(sessions.list()).type.toBe<Session[]>()
})

test('a session is not written to', () => {
  expect<Session>().type.toHaveProperty('id')
  expect<Session>().type.toBe<{
    readonly id: string
    readonly createdAt: number
    readonly lastAccessedAt: number
    readonly metadata?: Session['metadata']
    readonly activeRequests: number
    readonly openStreams: number
    readonly principal?: Session['principal']
    readonly clientInfo?: Session['clientInfo']
    readonly protocolVersion?: Session['protocolVersion']
  }>()
})

describe('a result', () => {
  test('is narrowed by success', () => {
    const result = sessions.touch('id')
    expect(result).type.toBe<Result<void>>()
    if (result.success) {
      expect(result.data).type.toBe<void>()
      expect(result).type.not.toHaveProperty('error')
    } else {
      expect(result.error).type.toBe<Error>()
      expect(result).type.not.toHaveProperty('data')
    }
  })

  test('is what touch, update and cleanup return', () => {
    expect(sessions.update('id', { a: 1 })).type.toBe<Result<void>>()
    expect(sessions.cleanup('id')).type.toBe<Result<void>>()
  })
})

describe('events', () => {
  test('are typed', () => {
    sessions.on('created', (session) => {
      expect(session).type.toBe<Session>()
    })
    sessions.once('closed', (session, reason) => {
      expect(session).type.toBe<Session>()
      expect(reason).type.toBe<CloseReason>()
    })
  })

  test('have known names and arguments', () => {
    const onCreated = (session: Session): unknown => session
    expect(sessions.on<'created'>).type.toBeCallableWith('created', onCreated)
    expect(sessions.on<'created'>).type.not.toBeCallableWith('created', (session: number) => session)
    expect(sessions.emit<'closed'>).type.not.toBeCallableWith('closed', 'not a session')
  })
})

describe('an expiration handler', () => {
  test('is sync or async', () => {
    expect(sessions.setExpirationHandler).type.toBeCallableWith((id: string) => { String(id) })
    expect(sessions.setExpirationHandler).type.toBeCallableWith(async (id: string) => { String(id) })
    expect(sessions.setExpirationHandler).type.toBeCallableWith(undefined)
    expect(sessions.setExpirationHandler).type.not.toBeCallableWith((id: number) => { String(id) })
  })
})

describe('ILogger', () => {
  const server = new Server({ name: 'test', version: '1' }, { capabilities: { logging: {} } })

  test("is what the SDK's sendLoggingMessage takes", () => {
    const logger: ILogger = { sendLog: (entry) => server.sendLoggingMessage(entry) }
    expect(SessionManager).type.toBeConstructableWith({ logger })
    expect(SessionManager).type.toBeConstructableWith({ enabled: true, ttl: 1000, cleanupInterval: 500 }, logger)
    expect(SessionManager).type.not.toBeConstructableWith({ maxSession: 5 }, logger)
    expect(SessionManager).type.not.toBeConstructableWith({}, 'console')
    expect<{ sendLog: Server['sendLoggingMessage'] }>().type.toBeAssignableTo<ILogger>()
  })

  test('has the eight levels of MCP', () => {
    expect<LogLevel>().type.toBe<Parameters<Server['sendLoggingMessage']>[0]['level']>()
  })
})
