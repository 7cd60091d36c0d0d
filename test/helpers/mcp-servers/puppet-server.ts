import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js'
import type { JSONRPCMessage, JSONRPCRequest } from '@modelcontextprotocol/sdk/types.js'

/** A call that waits for its answer; `key` is the argument that tells it from all others. */
export interface PendingCall {
  readonly request: JSONRPCRequest
  readonly key: string
}

/** An MCP server without a mind of its own: it answers calls when it is told to. */
export class PuppetServer {
  readonly pending = new Set<PendingCall>()
  /** The keys of all calls that have come. */
  readonly seen = new Set<string>()
  #transport: Transport | undefined

  async connect (transport: Transport): Promise<void> {
    this.#transport = transport
    transport.onmessage = (message: JSONRPCMessage) => this.#receive(message)
    await transport.start()
  }

  async close (): Promise<void> {
    await this.#transport?.close()
  }

  async answer (call: PendingCall): Promise<void> {
    this.pending.delete(call)
    await this.#send({ jsonrpc: '2.0', id: call.request.id, result: { key: call.key } })
  }

  async notify ({ request, key }: PendingCall): Promise<void> {
    await this.#transport?.send({ jsonrpc: '2.0', method: 'notifications/message', params: { level: 'info', key } }, { relatedRequestId: request.id })
  }

  /** Says something that belongs to no call. */
  async tell (data: string): Promise<void> {
    await this.#send({ jsonrpc: '2.0', method: 'notifications/message', params: { level: 'info', data } })
  }

  #receive (message: JSONRPCMessage): void {
    if (!('method' in message)) return
    if (!('id' in message)) this.#note(message.method, { ...message.params })
    else if (message.method === 'initialize') this.#initialize(message)
    else this.#take(message)
  }

  #initialize ({ id, params }: JSONRPCRequest): void {
    this.#send({
      jsonrpc: '2.0',
      id,
      result: { protocolVersion: params?.['protocolVersion'], capabilities: {}, serverInfo: { name: 'puppet', version: '1' } }
    })
  }

  #take (request: JSONRPCRequest): void {
    const { key } = { key: '', ...Object(request.params?.['arguments']) }
    this.seen.add(key)
    this.pending.add({ request, key })
  }

  #note (method: string, params: Record<string, unknown>): void {
    if (method !== 'notifications/cancelled') return
    for (const call of this.pending) if (call.request.id === params['requestId']) this.pending.delete(call)
  }

  async #send (message: JSONRPCMessage): Promise<void> {
    await this.#transport?.send(message)
  }
}
