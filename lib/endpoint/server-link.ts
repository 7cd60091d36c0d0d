import type { Transport, TransportSendOptions } from '@modelcontextprotocol/sdk/shared/transport.js'
import type { JSONRPCMessage } from './transport/json-rpc.js'
import type { ScopeChallengeResolver } from './transport/scope-challenge.js'
import type { SessionTransport } from './transport/session-transport.js'

/**
 * What connects a server to the transport of its session where the server may be replaced. When the session is parked the
 * link is cut: the server closes, and the transport, with the stream that is open on it, waits for the next server.
 */
export class ServerLink implements Transport {
  readonly sessionId?: string | undefined
  onclose?: (() => void) | undefined
  onerror?: ((error: Error) => void) | undefined
  onmessage?: Transport['onmessage']
  readonly #transport: SessionTransport
  #isCut = false

  constructor (transport: SessionTransport) {
    this.sessionId = transport.sessionId
    this.#transport = transport
    transport.onmessage = (message, context) => this.onmessage?.(message, context)
    transport.onerror = (error) => this.onerror?.(error)
  }

  async start (): Promise<void> {}

  setSupportedProtocolVersions (revisions: string[]): void {
    this.#transport.setSupportedProtocolVersions(revisions)
  }

  setScopeChallengeResolver (resolve: ScopeChallengeResolver): void {
    this.#transport.setScopeChallengeResolver(resolve)
  }

  async send (message: JSONRPCMessage, options?: TransportSendOptions): Promise<void> {
    if (this.#isCut) throw new Error('The session has ended, or is parked and goes on with another MCP server. See the option parkAfter')
    await this.#transport.send(message, options)
  }

  async close (): Promise<void> {
    if (!this.#isCut) await this.#transport.close()
    // Only once: by the second time the server may be that of another session.
    const { onclose } = this
    this.onclose = undefined
    onclose?.()
  }

  protected get isCut (): boolean {
    return this.#isCut
  }

  /** Keeps the server from being heard, and from hearing anything but that it is closed. */
  cut (): void {
    this.#isCut = true
    this.#transport.forgetServer()
  }
}
