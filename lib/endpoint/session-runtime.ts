import type { FastifyRequest } from 'fastify'
import type { Session } from '../session/session.js'
import type { ClientSetup } from './client-setup.js'
import type { SessionServer } from './options.js'
import { SessionTransport, type SessionTransportOptions } from './transport/session-transport.js'

// How long the request that brings a session back waits for its new server, in milliseconds.
const REPLAY_PATIENCE = 1000

export interface SessionRuntimeOptions {
  readonly session: Session
  /** The path at which it was opened, as the client wrote it; at any other, the session is unknown. */
  readonly path: string
  readonly transport: SessionTransportOptions
  /** Called when the session ends from within, by its own server. */
  readonly onClosed: () => void
}

/** A session that lives in this process: a transport, and the MCP server behind it. */
export class SessionRuntime {
  readonly session: Session
  readonly transport: SessionTransport
  readonly #path: string
  #server: SessionServer | undefined

  constructor ({ session, path, transport, onClosed }: SessionRuntimeOptions) {
    this.session = session
    this.#path = path
    this.transport = new SessionTransport(transport)
    this.transport.onclose = onClosed
  }

  /** Whether a request is for the path at which the session was opened. */
  serves ({ url }: FastifyRequest): boolean {
    return url.startsWith(this.#path) && (url.length === this.#path.length || url[this.#path.length] === '?')
  }

  async connect (server: SessionServer): Promise<void> {
    this.#server = server
    await server.connect(this.transport)
  }

  /**
   * Says to a new server what the client had said to the last one: in its order, each when the one before is
   * answered. A server that has not answered all in time hears the rest at once, as it may from a client.
   * Resolves to the methods of what is not answered yet.
   */
  async replay (request: FastifyRequest, setup: ClientSetup): Promise<string[]> {
    const unanswered = new Set<{ readonly method: string }>()
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<void>((resolve) => { timer = setTimeout(resolve, REPLAY_PATIENCE) })
    try {
      for (const message of setup.messages()) {
        unanswered.add(message)
        const answered = this.transport.ask(message, request).then(() => unanswered.delete(message))
        await Promise.race([answered, late])
      }
    } finally {
      clearTimeout(timer)
    }
    return Array.from(unanswered, ({ method }) => method)
  }

  /** Answers what the client still waits for, ends all streams and closes the server. */
  async close (): Promise<void> {
    await this.transport.close()
    await this.#server?.close()
  }
}
