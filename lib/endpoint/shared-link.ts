import type { Transport, TransportSendOptions } from '@modelcontextprotocol/sdk/shared/transport.js'
import { AsyncLocalStorage } from 'node:async_hooks'
import { ServerLink } from './server-link.js'
import { isAnswer, isListChange, isRequest, type JSONRPCMessage, type JSONRPCRequest, type RequestId } from './transport/json-rpc.js'
import type { SessionTransport } from './transport/session-transport.js'

/** A session and its server, as seen by the work that a message of its client has begun. */
interface Voice {
  /** Stands for the server. Not the server itself, nor its link: work that never ends would keep them in memory. */
  readonly serverMark: object
}

// In which session the work that runs now has begun.
const voices = new AsyncLocalStorage<Voice>()
const serverMarks = new WeakMap<object, object>()

// Requests that leave a server different for all sessions that come after, as does a change of its lists.
const SETTINGS: readonly string[] = ['resources/subscribe', 'logging/setLevel']

/**
 * What connects a server that serves many sessions, one after the other, to the one that it serves now. It sees whether the
 * session leaves anything behind in the server, and lets no work that began in another session speak in this one.
 */
export class SharedLink extends ServerLink {
  // Requests of the client that the server has not answered. One that was cancelled gets no answer, and may still be running.
  readonly #running = new Set<RequestId>()
  // Requests of the server that the client has not answered.
  readonly #asked = new Set<RequestId>()
  readonly #voice: Voice
  #hasChanged = false

  /** @param server the server that will be connected to the link */
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
      // The list is the server's, whoever has changed it. So the client that has the server now is told.
      this.#hasChanged = true
    } else if (this.#isLeftOver()) {
      throw new Error('The session is over: its MCP server is that of another one by now. See the option reuseServers')
    }
    if (isRequest(message)) return this.#ask(message, options)
    if (isAnswer(message) && message.id !== undefined) this.#running.delete(message.id)
    await super.send(message, options)
  }

  override async close (): Promise<void> {
    // Work that is left over wants to end its own session, which has ended already.
    if (!this.isCut && this.#isLeftOver()) return
    await super.close()
  }

  // Whether the work that runs now began in an earlier session of this server. Work of another server may speak here, such as
  // a tool that tells all sessions something.
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
      // A task goes on after its call has been answered.
      if (SETTINGS.includes(message.method) || message.params?.['task'] !== undefined) this.#hasChanged = true
    }
  }
}

function readMark (server: object): object {
  const mark = serverMarks.get(server) ?? {}
  serverMarks.set(server, mark)
  return mark
}
