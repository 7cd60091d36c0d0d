import type { InitializeRequest } from '@modelcontextprotocol/sdk/types.js'
import type { FastifyBaseLogger, FastifyReply, FastifyRequest } from 'fastify'
import { InvalidRequestError, SessionNotFoundError } from '../errors.js'
import { asError, runGuarded } from '../run-guarded.js'
import { isResponseOver, onResponseOver } from '../session/response-over.js'
import { holdUntilOver } from '../session/session-hook.js'
import { hashSessionId } from '../session/session-id.js'
import type { SessionLayer } from '../session/session-layer.js'
import type { SessionOrigin, Session } from '../session/session.js'
import { LiveSession } from './live-session.js'
import { createMakeServer, type MakeServer } from './make-server.js'
import { negotiateRevision } from './messages.js'
import type { ResolvedEndpointOptions } from './options.js'

/** The sessions of one endpoint that live in this process. */
export class LiveSessions {
  readonly #layer: SessionLayer
  readonly #options: ResolvedEndpointOptions
  readonly #makeServer: MakeServer
  readonly #log: FastifyBaseLogger
  readonly #live = new Map<Session, LiveSession>()
  readonly #closing = new Set<Promise<void>>()

  constructor (layer: SessionLayer, options: ResolvedEndpointOptions, log: FastifyBaseLogger) {
    this.#layer = layer
    this.#options = options
    this.#makeServer = createMakeServer(options.createServer)
    this.#log = log
    // Whatever ends a session ends its transport and its server.
    layer.sessions.setMaxListeners(layer.sessions.getMaxListeners() + 1)
    layer.sessions.on('closed', (session) => this.#close(session))
  }

  get (session: Session): LiveSession | undefined {
    return this.#live.get(session)
  }

  /**
   * Opens a session for a well-formed `initialize`. When it comes to nothing,
   * nothing is left of it.
   *
   * @throws SessionLimitError, and what `identify` and `createServer` throw
   */
  async open (request: FastifyRequest, reply: FastifyReply, params: InitializeRequest['params']): Promise<Response> {
    const principal = await this.#layer.identify(request)
    if (isResponseOver(request, reply)) throw new InvalidRequestError('the client has gone')
    const session = this.#create({
      principal,
      clientInfo: { name: params.clientInfo.name, version: params.clientInfo.version },
      protocolVersion: negotiateRevision(params.protocolVersion)
    })
    request.mcpSession = session
    holdUntilOver(this.#layer.sessions, session, request, reply)
    // A client that has got no answer, or an error, does not know the id.
    const { raw } = reply
    let isSent = false
    // In a pipeline a response can have ended and never be sent; in HTTP/2, be finished and not have ended.
    raw.once('finish', () => { isSent = raw.writableEnded })
    onResponseOver(request, reply, () => {
      if (!isSent || raw.statusCode >= 400) this.#discard(session)
    })
    try {
      const live = await this.#start(session, request)
      const response = await live.handle(request, reply)
      if (!response.ok) this.#discard(session)
      return response
    } catch (error) {
      this.#discard(session)
      throw error
    }
  }

  /** Ends all GET streams. */
  endStreams (): void {
    for (const live of this.#live.values()) live.endStream()
  }

  /** Resolves when the servers of all closed sessions have closed too. */
  async settle (): Promise<void> {
    await Promise.all(this.#closing)
  }

  #create (origin: SessionOrigin): Session {
    const { sessions } = this.#layer
    const session = sessions.get(sessions.create(undefined, origin))
    // A listener of `created` may have closed it.
    if (session === undefined) throw new SessionNotFoundError()
    return session
  }

  async #start (session: Session, request: FastifyRequest): Promise<LiveSession> {
    const live = new LiveSession(session, this.#options, () => this.#discard(session))
    this.#live.set(session, live)
    const server = await this.#makeServer({ session, request, restored: false })
    // It may have ended while its server was being made.
    if (!this.#live.has(session)) {
      runGuarded(() => server.close(), (error) => this.#logFailedClose(error, session))
      throw new SessionNotFoundError()
    }
    await live.connect(server)
    return live
  }

  #discard (session: Session): void {
    if (this.#live.has(session)) this.#layer.sessions.cleanup(session.id)
  }

  #close (session: Session): void {
    const live = this.#live.get(session)
    if (live === undefined) return
    this.#live.delete(session)
    const closing = live.close()
      .catch((error: unknown) => this.#logFailedClose(error, session))
      .finally(() => this.#closing.delete(closing))
    this.#closing.add(closing)
  }

  #logFailedClose (error: unknown, session: Session): void {
    this.#log.error(asError(error), `Closing the MCP server of session ${hashSessionId(session.id)} failed`)
  }
}
