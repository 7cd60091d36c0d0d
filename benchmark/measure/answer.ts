import { tools } from './tools.js'

interface Request {
  readonly method: string
  readonly params?: unknown
}

/** The result of a request, made with as little as possible: for servers that are there to be cheap. */
export function answer ({ method, params }: Request): Record<string, unknown> {
  if (method !== 'tools/call') {
    return { protocolVersion: '2025-11-25', capabilities: { tools: {} }, serverInfo: { name: 'benchmark', version: '1.0.0' } }
  }
  return { ...tools.greet({ name: readName(params) }) }
}

function readName (params: unknown): string {
  const given = isObject(params) ? params['arguments'] : undefined
  const name = isObject(given) ? given['name'] : undefined
  if (typeof name !== 'string') throw new Error('Only greet is answered here')
  return name
}

function isObject (value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}
