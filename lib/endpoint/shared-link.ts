import type { Transport, TransportSendOptions } from '@modelcontextprotocol/sdk/shared/transport.js'
import { AsyncLocalStorage } from 'node:async_hooks'
import { ServerLink } from './server-link.js'
import { isAnswer, isRequest, type JSONRPCMessage, type JSONRPCRequest, type RequestId } from './transport/json-rpc.js'
import type { SessionTransport } from './transport/session-transport.js'

// Who works now, of whatever began with a message of a client. Not the link itself: what lives on would keep it.
const voices = new AsyncLocalStorage<object>()

// What changes a server for all that come after.
const LIST_CHANGE = /^notifications\/\w+\/list_changed$/
const SETTINGS: readonly string[] = ['resources/subscribe', 'logging/setLevel']

/**
 * What a server that is for many sessions, one after the other, holds of one of them. It sees whether the session leaves
 * anything behind in the server, and lets nothing that began in another session speak in this one.
 */
export class SharedLink extends ServerLink {
  // Of the client, without an answer of the server. One that is cancelled gets none, and may go on for ever.
  readonly #running = new Set<RequestId>()
  // Of the server, without an answer of the client.
  readonly #asked = new Set<RequestId>()
  readonly #voice = {}
  #hasChanged = false

  constructor (transport: SessionTransport) {
    super(transport)
    transport.onmessage = (message, context) => {
      this.#hear(message)
      voices.run(this.#voice, () => this.onmessage?.(message, context))
    }
  }

  /** Whether the server is as it was before the session. */
  get hasLeftNothing (): boolean {
    return !this.#hasChanged && this.#running.size === 0 && this.#asked.size === 0
  }

  override async send (message: JSONRPCMessage, options?: TransportSendOptions): Promise<void> {
    const voice = voices.getStore()
    if (voice !== undefined && voice !== this.#voice) throw new Error('The session is over: its MCP server is that of another one by now. See the option reuseServers')
    if (isAnswer(message)) {
      if (message.id !== undefined) this.#running.delete(message.id)
    } else if (isRequest(message)) {
      return this.#ask(message, options)
    } else if (LIST_CHANGE.test(message.method)) {
      this.#hasChanged = true
    }
    await super.send(message, options)
  }

  async #ask (message: JSONRPCRequest, options?: TransportSendOptions): Promise<void> {
    this.#asked.add(message.id)
    try {
      await super.send(message, options)
    } catch (error) {
      // Its client has not been asked.
      this.#asked.delete(message.id)
      throw error
    }
  }

  #hear (message: Parameters<NonNullable<Transport['onmessage']>>[0]): void {
    if (isAnswer(message)) {
      if (message.id !== undefined) this.#asked.delete(message.id)
    } else if (isRequest(message)) {
      this.#running.add(message.id)
      // A task goes on when its call has been answered.
      if (SETTINGS.includes(message.method) || message.params?.['task'] !== undefined) this.#hasChanged = true
    }
  }
}
