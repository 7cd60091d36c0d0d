import type { CallMessage } from '../observe/channels.js'

/** What a request of MCP is about, in the words of the conventions: https://opentelemetry.io/docs/specs/semconv/gen-ai/mcp/ */
export interface CallTarget {
  readonly key: 'gen_ai.tool.name' | 'gen_ai.prompt.name' | 'mcp.resource.uri'
  readonly value: string
}

/** What a call is about. Undefined: nothing that has a name. */
export function readTarget ({ method, params }: CallMessage): CallTarget | undefined {
  switch (method) {
    case 'tools/call': return toTarget('gen_ai.tool.name', params?.['name'])
    case 'prompts/get': return toTarget('gen_ai.prompt.name', params?.['name'])
    case 'resources/read':
    case 'resources/subscribe':
    case 'resources/unsubscribe': return toTarget('mcp.resource.uri', params?.['uri'])
    default: return undefined
  }
}

/** The revision of MCP. Undefined: the client has not said it. */
export function readRevision ({ session, headers }: CallMessage): string | undefined {
  const claimed = session?.protocolVersion ?? headers['mcp-protocol-version']
  return typeof claimed === 'string' ? claimed : undefined
}

/** The code of the error that a call was answered with, `cancelled`, or `tool_error`. Undefined: it went well. */
export function readErrorType ({ result, error }: CallMessage): string | undefined {
  if (error !== undefined) return String(error.code)
  const isToolError = typeof result === 'object' && result !== null && 'isError' in result && result.isError === true
  return isToolError ? 'tool_error' : undefined
}

function toTarget (key: CallTarget['key'], value: unknown): CallTarget | undefined {
  return typeof value === 'string' ? { key, value } : undefined
}
