// What cannot be done without, to see how far a figure could sink at all. Neither is fit for use.
import type { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js'
import type { JSONRPCMessage } from '@modelcontextprotocol/sdk/types.js'
import type { FastifyInstance } from 'fastify'
import { randomUUID } from 'node:crypto'
import { answer } from './answer.js'

/** No MCP to speak of: what Fastify needs to read such a request and to write such an answer. */
export function mountBare <Params> (app: FastifyInstance, callTool: (params: Params) => object | Promise<object>): void {
  app.delete('/mcp', async (_request, reply) => reply.code(200).send())
  app.post<{ Body: { id: number, method: string, params: Params } }>('/mcp', async ({ body: { id, method, params } }, reply) => {
    if (method === 'notifications/initialized') return reply.code(202).send()
    if (method === 'initialize') reply.header('mcp-session-id', randomUUID())
    return { jsonrpc: '2.0', id, result: method === 'tools/call' ? await callTool(params) : answer({ method }) }
  })
}

/** The same with a server of the SDK for each session. */
export function mountBareServer (app: FastifyInstance, createServer: () => McpServer): void {
  const transports = new Map<string, BareTransport>()

  app.post<{ Body: JSONRPCMessage }>('/mcp', async ({ headers, body }, reply) => {
    const id = headers['mcp-session-id']
    const transport = typeof id === 'string' ? transports.get(id) : await open(reply.header.bind(reply, 'mcp-session-id'))
    const answer = await transport?.handle(body)
    return answer ?? reply.code(202).send()
  })

  app.delete('/mcp', async ({ headers }, reply) => {
    const id = String(headers['mcp-session-id'])
    await transports.get(id)?.close()
    transports.delete(id)
    return reply.code(204).send()
  })

  async function open (tell: (id: string) => void): Promise<BareTransport> {
    const id = randomUUID()
    const transport = new BareTransport()
    transports.set(id, transport)
    await createServer().connect(transport)
    tell(id)
    return transport
  }
}

class BareTransport implements Transport {
  onclose?: () => void
  onerror?: (error: Error) => void
  onmessage?: (message: JSONRPCMessage) => void
  readonly #waiting = new Map<unknown, (answer: JSONRPCMessage) => void>()

  async start (): Promise<void> {}

  async close (): Promise<void> {
    this.onclose?.()
  }

  async send (message: JSONRPCMessage): Promise<void> {
    if (!('id' in message)) return
    this.#waiting.get(message.id)?.(message)
    this.#waiting.delete(message.id)
  }

  /** Resolves to the answer; to undefined for a message that gets none. */
  handle (message: JSONRPCMessage): Promise<JSONRPCMessage | undefined> {
    return new Promise((resolve) => {
      if ('id' in message) this.#waiting.set(message.id, resolve)
      else resolve(undefined)
      this.onmessage?.(message)
    })
  }
}
