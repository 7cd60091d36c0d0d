import { expect, test } from 'tstyche'
import { SessionManager, type Session, type SessionMetadata } from '../../index.js'

// What a user writes for 'fastify-mcp-sessions': the package's entry, which only passes the interface on.
declare module '../../index.js' {
  interface SessionMetadata {
    declaredHere?: string[]
  }
}

const sessions = new SessionManager()

test('keys that a user declares have their types', () => {
  expect<NonNullable<Session['metadata']>['declaredHere']>().type.toBe<string[] | undefined>()
  expect(sessions.get('id')?.metadata?.declaredHere).type.toBe<string[] | undefined>()
})

test('keys that a user declares take nothing else', () => {
  expect(sessions.create).type.toBeCallableWith({ declaredHere: ['tea'] })
  expect(sessions.create).type.not.toBeCallableWith({ declaredHere: 1 })
  expect(sessions.update).type.not.toBeCallableWith('id', { declaredHere: 'tea' })
})

test('all other keys are unknown', () => {
  expect<SessionMetadata>().type.toHaveProperty('anything')
  expect<SessionMetadata['anything']>().type.toBe<unknown>()
  expect(sessions.create).type.toBeCallableWith({ anything: Symbol('goes') })
})
