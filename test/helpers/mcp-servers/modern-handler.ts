import type { ModernHandler } from '../../../lib/endpoint/modern/modern-handler.js'

/** A handler of the app that has nothing to close. */
export function toHandler (fetch: ModernHandler['fetch']): ModernHandler {
  return { fetch, close: async () => {} }
}

/** A request of revision 2026-07-28, and the headers that go with it. */
export function modernRequest (id: number, method: string, params: object = {}): { body: object, headers: Record<string, string> } {
  const name = Reflect.get(params, 'name')
  return {
    body: {
      jsonrpc: '2.0',
      id,
      method,
      params: {
        ...params,
        _meta: {
          'io.modelcontextprotocol/protocolVersion': '2026-07-28',
          'io.modelcontextprotocol/clientInfo': { name: 'test', version: '1' },
          'io.modelcontextprotocol/clientCapabilities': {}
        }
      }
    },
    headers: { 'mcp-protocol-version': '2026-07-28', 'mcp-method': method, ...(typeof name === 'string' && { 'mcp-name': name }) }
  }
}
