import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js'
import type { JSONRPCMessage } from '@modelcontextprotocol/sdk/types.js'
import { answer } from './answer.js'

/** Stands where an MCP server would, and does next to nothing: what is left is what the endpoint itself costs. */
export class StubServer {
  #transport: Transport | undefined

  async connect (transport: Transport): Promise<void> {
    this.#transport = transport
    transport.onmessage = (message: JSONRPCMessage) => {
      if (!('method' in message) || !('id' in message)) return
      transport.send({ jsonrpc: '2.0', id: message.id, result: answer(message) }).catch((reason: unknown) => transport.onerror?.(new Error('Not sent', { cause: reason })))
    }
    await transport.start()
  }

  async close (): Promise<void> {
    await this.#transport?.close()
  }
}
