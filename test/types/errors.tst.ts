import { expect, test } from 'tstyche'
import { ParseError, RouteConfigError, SessionNotFoundError, toJsonRpcError, type JsonRpcErrorResponse, type SessionError } from '../../index.js'

test('the classes know their code, their status and what they are made of', () => {
  expect(new SessionNotFoundError().code).type.toBe<'FST_ERR_MCP_SESSION_NOT_FOUND'>()
  expect(new SessionNotFoundError().statusCode).type.toBe<404>()
  expect(SessionNotFoundError).type.toBeConstructableWith()
  expect(SessionNotFoundError).type.not.toBeConstructableWith('why')
  expect(ParseError).type.toBeConstructableWith('why')
  expect(ParseError).type.not.toBeConstructableWith()
  expect(RouteConfigError).type.toBeConstructableWith('GET', '/', '1')
  expect(RouteConfigError).type.not.toBeConstructableWith('GET', '/')
})

test('each is a SessionError', () => {
  expect(new ParseError('why')).type.toBeAssignableTo<SessionError>()
})

test('toJsonRpcError takes an error and the id of a request', () => {
  expect(toJsonRpcError(new SessionNotFoundError(), 1)).type.toBe<JsonRpcErrorResponse>()
  expect(toJsonRpcError).type.toBeCallableWith(new SessionNotFoundError(), 'one')
  expect(toJsonRpcError).type.toBeCallableWith(new SessionNotFoundError(), null)
  expect(toJsonRpcError).type.not.toBeCallableWith(new SessionNotFoundError(), {})
})
