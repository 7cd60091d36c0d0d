import type {
  JSONRPCErrorResponse, JSONRPCMessage, JSONRPCRequest, JSONRPCResultResponse, RequestId
} from '@modelcontextprotocol/sdk/types.js'
import { InvalidRequestError } from '../../base/errors.js'

/*
 * Checks of messages, as JSON-RPC 2.0 and the SDKs want them. They are written by hand, because every message of every client
 * passes here. They are as strict as the SDKs: a message that is let through, but that the SDK's server does not take, would
 * never be answered.
 */

export type { JSONRPCMessage, JSONRPCRequest, RequestId }
export type Answer = JSONRPCResultResponse | JSONRPCErrorResponse

type Fields = Readonly<Record<string, unknown>>

/** How many messages one body may hold, as in the SDK. */
const LARGEST_BATCH = 100

const MESSAGE_KEYS: ReadonlySet<string> = new Set(['jsonrpc', 'id', 'method', 'params'])
const ANSWER_KEYS: ReadonlySet<string> = new Set(['jsonrpc', 'id', 'result'])
const ERROR_KEYS: ReadonlySet<string> = new Set(['jsonrpc', 'id', 'error'])
const LIST_CHANGE = /^notifications\/\w+\/list_changed$/
const RELATED_TASK = 'io.modelcontextprotocol/related-task'

/**
 * The messages of a body: one, or a batch of them, which revision 2025-03-26 has.
 *
 * @throws InvalidRequestError that says what is wrong with which of them
 */
export function readMessages (body: unknown): JSONRPCMessage[] {
  if (!Array.isArray(body)) return [checkMessage(body, '')]
  if (body.length === 0) throw new InvalidRequestError('the batch is empty')
  if (body.length > LARGEST_BATCH) throw new InvalidRequestError(`a batch must not hold more than ${LARGEST_BATCH} messages`)
  return body.map((message: unknown, index) => checkMessage(message, `message ${index + 1} of the batch: `))
}

/** Whether a message asks for an answer. */
export function isRequest (message: JSONRPCMessage): message is JSONRPCRequest {
  return 'method' in message && 'id' in message
}

/** Whether a message answers a request. */
export function isAnswer (message: JSONRPCMessage): message is Answer {
  return !('method' in message)
}

/** Whether a message says that the tools, prompts or resources of the server are others than before. */
export function isListChange (message: JSONRPCMessage): boolean {
  return 'method' in message && LIST_CHANGE.test(message.method)
}

export function isRequestId (value: unknown): value is RequestId {
  return typeof value === 'string' || Number.isSafeInteger(value)
}

/** The answer of a request that has failed outside of its server. */
export function toErrorAnswer (id: RequestId, code: number, message: string): Answer {
  return { jsonrpc: '2.0', id, error: { code, message } }
}

export function isObject (value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function checkMessage (message: unknown, where: string): JSONRPCMessage {
  if (!isMessage(message)) throw new InvalidRequestError(where + explain(message))
  return message
}

function isMessage (message: unknown): message is JSONRPCMessage {
  return explain(message) === ''
}

// What is wrong with a message; empty: nothing.
function explain (message: unknown): string {
  if (!isObject(message)) return 'not a JSON-RPC message'
  if (message['jsonrpc'] !== '2.0') return 'jsonrpc must be "2.0"'
  if ('method' in message) return explainCall(message)
  if ('result' in message) return explainResult(message)
  if ('error' in message) return explainError(message)
  return 'a message must have a method, a result or an error'
}

function explainCall (message: Fields): string {
  if (typeof message['method'] !== 'string') return 'method must be a string'
  if ('id' in message && !isRequestId(message['id'])) return 'id must be a string or a whole number'
  const params = message['params']
  if (params !== undefined && !isObject(params)) return 'params must be an object'
  return explainMeta(params, 'params') || explainKeys(message, MESSAGE_KEYS)
}

function explainResult (message: Fields): string {
  if (!isRequestId(message['id'])) return 'id must be a string or a whole number'
  const result = message['result']
  if (!isObject(result)) return 'result must be an object'
  return explainMeta(result, 'result') || explainKeys(message, ANSWER_KEYS)
}

function explainError (message: Fields): string {
  if (message['id'] !== undefined && !isRequestId(message['id'])) return 'id must be a string or a whole number'
  const error = message['error']
  if (!isObject(error) || !Number.isSafeInteger(error['code']) || typeof error['message'] !== 'string') {
    return 'error must have a whole number as code and a string as message'
  }
  return explainKeys(message, ERROR_KEYS)
}

function explainMeta (holder: Fields | undefined, name: string): string {
  const meta = holder?.['_meta']
  if (meta === undefined) return ''
  if (!isObject(meta)) return `${name}._meta must be an object`
  const token = meta['progressToken']
  if (token !== undefined && !isRequestId(token)) return `${name}._meta.progressToken must be a string or a whole number`
  const task = meta[RELATED_TASK]
  const isTask = isObject(task) && typeof task['taskId'] === 'string'
  return task === undefined || isTask ? '' : `${name}._meta["${RELATED_TASK}"] must have a taskId`
}

function explainKeys (message: Fields, known: ReadonlySet<string>): string {
  for (const key in message) {
    if (!known.has(key)) return `a message of this kind has no ${JSON.stringify(key.slice(0, 40))}`
  }
  return ''
}
