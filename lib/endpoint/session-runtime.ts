import type { FastifyRequest } from 'fastify'
import type { Session } from '../session/session.js'
import type { ServerChange } from '../http/announcements.js'
import { isDeclared, toNotification } from './change-notification.js'
import type { SessionState } from '../http/session-cluster.js'
import type { ClientSetup } from './client-setup.js'
import type { ConnectableServer } from './server-factory.js'
import { ServerLink } from './server-link.js'
import type { ServerPool } from './server-pool.js'
import { SharedLink } from './shared-link.js'
import type { Answer } from './transport/json-rpc.js'
import { SessionTransport, type SessionTransportOptions } from './transport/session-transport.js'

// How long the request that brings a session back waits for its new server, in milliseconds.
const REPLAY_PATIENCE = 1000

export interface SessionRuntimeOptions {
  readonly session: Session
  /** The path at which it was opened, as the client wrote it. At any other path the session is unknown. */
  readonly path: string
  readonly transport: SessionTransportOptions
  readonly setup: ClientSetup
  /** Whether the session may be parked: its server is closed then, and another one takes its place later. */
  readonly canPark: boolean
  /** Where a server goes that can serve another session. */
  readonly pool?: ServerPool | undefined
  /** Called when the transport has closed, be it by the MCP server itself. */
  readonly onClosed: () => void
}

/** A session that lives in this process: a transport, and the MCP server behind it. */
export class SessionRuntime {
  readonly session: Session
  readonly transport: SessionTransport
  readonly #path: string
  readonly #setup: ClientSetup
  readonly #canPark: boolean
  readonly #pool: ServerPool | undefined
  #link: ServerLink | undefined
  #server: ConnectableServer | undefined
  // The capabilities that the server has declared.
  #capabilities: unknown

  constructor ({ session, path, transport, setup, canPark, pool, onClosed }: SessionRuntimeOptions) {
    this.session = session
    this.#path = path
    this.#setup = setup
    this.#canPark = canPark
    this.#pool = pool
    this.transport = new SessionTransport(transport)
    this.transport.onclose = onClosed
  }

  /** Whether a request is for the path at which the session was opened. */
  serves ({ url }: FastifyRequest): boolean {
    return url.startsWith(this.#path) && (url.length === this.#path.length || url[this.#path.length] === '?')
  }

  async connect (server: ConnectableServer): Promise<void> {
    this.#server = server
    this.#link = this.#createLink(server)
    await server.connect(this.#link ?? this.transport)
  }

  /** Whether there is no server, and the next request needs one. */
  get isParked (): boolean {
    return this.#server === undefined && this.#canPark
  }

  /** What another server has to be told, to go on where this one is. */
  get state (): SessionState {
    return this.#setup.toState()
  }

  /** Lets go of the server. A stream that is open stays open. Rejects when the server cannot be closed; it is gone all the same. */
  async park (): Promise<void> {
    await this.#closeServer()
  }

  /**
   * Says to a new server what the client had said to the last one: in its order, each when the one before is
   * answered. A server that has not answered all in time hears the rest at once, as it may from a client.
   * Resolves to the methods of what is not answered yet.
   */
  async replay (request: FastifyRequest): Promise<string[]> {
    const unanswered = new Set<{ readonly method: string }>()
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<void>((resolve) => { timer = setTimeout(resolve, REPLAY_PATIENCE) })
    try {
      for (const message of this.#setup.messages()) {
        unanswered.add(message)
        const answered = this.transport.ask(message, request).then((answer) => {
          unanswered.delete(message)
          if (message.method === 'initialize' && answer !== undefined) this.noteOpening(answer)
        })
        await Promise.race([answered, late])
      }
    } finally {
      clearTimeout(timer)
    }
    return Array.from(unanswered, ({ method }) => method)
  }

  /** Takes note of what the server has answered to `initialize`. */
  noteOpening (answer: Answer): void {
    if ('result' in answer) this.#capabilities = answer.result['capabilities']
  }

  /** Tells the client of a change, if its server has declared that it does and, for a resource, the client has subscribed. */
  async announce (change: ServerChange): Promise<void> {
    if (!isDeclared(change, this.#capabilities)) return
    if (change.kind === 'resource_updated' && !this.#setup.hasSubscribed(change.uri)) return
    await this.transport.tell(toNotification(change))
  }

  /** Answers what the client still waits for, ends all streams and closes the server. */
  async close (): Promise<void> {
    await this.transport.close()
    await this.#closeServer()
  }

  #createLink (server: ConnectableServer): ServerLink | undefined {
    if (this.#pool !== undefined) return new SharedLink(this.transport, server)
    return this.#canPark ? new ServerLink(this.transport) : undefined
  }

  async #closeServer (): Promise<void> {
    const server = this.#server
    const link = this.#link
    this.#link = undefined
    this.#server = undefined
    link?.cut()
    await server?.close()
    if (server !== undefined && link instanceof SharedLink) this.#pool?.keep(server, link)
  }
}
