import { InvalidRequestError, MissingSessionIdError, type SessionError } from '../base/errors.js'
import type { ClientInfo } from '../session/session.js'
import { isObject, isRequestId, readMessages } from './transport/json-rpc.js'

/** What a client says when it opens a session. */
export interface InitializeParams {
  readonly protocolVersion: string
  readonly capabilities: Readonly<Record<string, unknown>>
  readonly clientInfo: ClientInfo
}

/**
 * The parameters of a body that opens a session. Undefined: it does not open one, such as an `initialize` without an id, which
 * gets no answer that could name the session.
 */
export function readInitialize (body: unknown): InitializeParams | undefined {
  if (!isObject(body) || body['method'] !== 'initialize' || body['jsonrpc'] !== '2.0' || !isRequestId(body['id'])) return undefined
  return isInitializeParams(body['params']) ? body['params'] : undefined
}

export function isInitializeParams (params: unknown): params is InitializeParams {
  if (!isObject(params) || typeof params['protocolVersion'] !== 'string' || !isObject(params['capabilities'])) return false
  const info = params['clientInfo']
  return isObject(info) && typeof info['name'] === 'string' && typeof info['version'] === 'string'
}

/** Whether a value has more than so many levels. `JSON.stringify`, and whatever else walks through a value, recurses for each. */
export function isDeeperThan (levels: number, value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  return levels === 0 || Object.values(value).some((inner) => isDeeperThan(levels - 1, inner))
}

/**
 * What is wrong with a body that comes without a session and does not open one.
 *
 * @throws InvalidRequestError when it is no JSON-RPC at all
 */
export function explainMissingSession (body: unknown): SessionError {
  const messages: unknown[] = Array.isArray(body) ? body : [body]
  if (messages.some((message) => isObject(message) && message['method'] === 'initialize')) {
    return new InvalidRequestError(Array.isArray(body)
      ? 'initialize must be sent on its own'
      : 'initialize needs an id, protocolVersion, capabilities and clientInfo')
  }
  readMessages(body)
  return new MissingSessionIdError()
}
