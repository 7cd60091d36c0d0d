import type { Transport, TransportSendOptions } from '@modelcontextprotocol/sdk/shared/transport.js'
import { AsyncLocalStorage } from 'node:async_hooks'
import { ServerLink } from './server-link.js'
import { isAnswer, isListChange, isRequest, type JSONRPCMessage, type JSONRPCRequest, type RequestId } from './transport/json-rpc.js'
import type { SessionTransport } from './transport/session-transport.js'

/** A session with a server, to whatever began with a message of its client. */
interface Voice {
  /** Says which server it is. Neither that nor the link itself: what lives on would keep it. */
  readonly serverMark: object
}

// Who works now.
const voices = new AsyncLocalStorage<Voice>()
const serverMarks = new WeakMap<object, object>()

// What changes a server for all that come after, as a list does that has changed.
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
  readonly #voice: Voice
  #hasChanged = false

  /** @param server the one that gets the link */
  constructor (transport: SessionTransport, server: object) {
    super(transport)
    this.#voice = { serverMark: readMark(server) }
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
    if (isListChange(message)) {
      // The list is the server's: whoever has changed it, the client that has the server now hears so.
      this.#hasChanged = true
    } else if (this.#isLeftOver()) {
      throw new Error('The session is over: its MCP server is that of another one by now. See the option reuseServers')
    }
    if (isRequest(message)) return this.#ask(message, options)
    if (isAnswer(message) && message.id !== undefined) this.#running.delete(message.id)
    await super.send(message, options)
  }

  override async close (): Promise<void> {
    // What it means to end has ended.
    if (!this.isCut && this.#isLeftOver()) return
    await super.close()
  }

  // Of an earlier session of this server. One that has another server may have this one speak, as when a tool tells all.
  #isLeftOver (): boolean {
    const voice = voices.getStore()
    return voice !== undefined && voice !== this.#voice && voice.serverMark === this.#voice.serverMark
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

function readMark (server: object): object {
  const mark = serverMarks.get(server) ?? {}
  serverMarks.set(server, mark)
  return mark
}
