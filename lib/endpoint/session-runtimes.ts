import type { InitializeRequest } from '@modelcontextprotocol/sdk/types.js'
import type { FastifyBaseLogger, FastifyReply, FastifyRequest } from 'fastify'
import { InvalidRequestError, SessionNotFoundError } from '../base/errors.js'
import { asError, runGuarded } from '../base/safe-call.js'
import { hasResponseEnded, onResponseEnd } from '../http/response-end.js'
import { hashSessionId } from '../session/session-id.js'
import type { ResumableEvents } from '../http/session-cluster.js'
import type { PluginContext } from '../http/plugin-context.js'
import type { SessionHolder } from '../http/shutdown.js'
import type { SessionOrigin, Session } from '../session/session.js'
import { EventBuffer } from './transport/event-buffer.js'
import { ClientSetup } from './client-setup.js'
import { SessionRuntime } from './session-runtime.js'
import { createServerFactory, type ServerFactory } from './server-factory.js'
import { negotiateRevision } from './messages.js'
import type { CreateServerContext, ResolvedEndpointOptions } from './options.js'

/** The sessions of one endpoint that live in this process. */
export class SessionRuntimes implements SessionHolder {
  readonly #context: PluginContext
  readonly #options: ResolvedEndpointOptions
  readonly #path: string
  readonly #makeServer: ServerFactory
  readonly #log: FastifyBaseLogger
  readonly #live = new Map<Session, SessionRuntime>()
  readonly #restoring = new Map<Session, Promise<SessionRuntime | undefined>>()
  readonly #closing = new Set<Promise<void>>()

  /** @param path of the endpoint, with its prefix */
  constructor (context: PluginContext, options: ResolvedEndpointOptions, path: string, log: FastifyBaseLogger) {
    this.#context = context
    this.#options = options
    this.#path = path
    this.#makeServer = createServerFactory(options.createServer)
    this.#log = log
    // Whatever ends a session ends its transport and its server.
    context.sessions.setMaxListeners(context.sessions.getMaxListeners() + 1)
    context.sessions.on('closed', (session) => this.#close(session))
  }

  /**
   * The live copy of a session. One that has come from another node gets a new
   * server, which hears what the client had said to the last one. Undefined for
   * a session that is not of this endpoint.
   */
  async find (session: Session, request: FastifyRequest): Promise<SessionRuntime | undefined> {
    const live = this.#live.get(session)
    if (live !== undefined && !this.#restoring.has(session)) return live
    const restoring = this.#restoring.get(session) ?? this.#restore(session, request)
    return restoring
  }

  has (session: Session): boolean {
    return this.#live.has(session)
  }

  /** How many streams of the session are open that have no end of their own. */
  countStreams (session: Session): number {
    return this.#live.get(session)?.streams ?? 0
  }

  /**
   * Opens a session for a well-formed `initialize`. When it comes to nothing,
   * nothing is left of it.
   *
   * @throws SessionLimitError, and what `identify` and `createServer` throw
   */
  async open (request: FastifyRequest, reply: FastifyReply, params: InitializeRequest['params']): Promise<Response> {
    const principal = await this.#context.identify(request)
    if (hasResponseEnded(request, reply)) throw new InvalidRequestError('the client has gone')
    const session = this.#create({
      principal,
      clientInfo: { name: params.clientInfo.name, version: params.clientInfo.version },
      protocolVersion: negotiateRevision(params.protocolVersion)
    })
    request.mcpSession = session
    // A client that has got no answer, or an error, does not know the id.
    const { raw } = reply
    let isSent = false
    // In a pipeline a response can have ended and never be sent; in HTTP/2, be finished and not have ended.
    raw.once('finish', () => { isSent = raw.writableEnded })
    onResponseEnd(request, reply, () => {
      this.#context.sessions.release(session)
      if (!isSent || raw.statusCode >= 400) this.#discard(session)
    })
    try {
      const handshake = this.#context.cluster && new ClientSetup(this.#path, this.#createOnForget(session))
      const live = await this.#start({ session, request, restored: false }, handshake)
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
    const { sessions } = this.#context
    const session = sessions.acquire(sessions.create(undefined, origin))
    // A listener of `created` may have closed it.
    if (session === undefined) throw new SessionNotFoundError()
    return session
  }

  #restore (session: Session, request: FastifyRequest): Promise<SessionRuntime | undefined> {
    const handshake = ClientSetup.restore(this.#path, this.#createOnForget(session), this.#context.cluster?.readState(session))
    if (handshake === undefined) return Promise.resolve(undefined)
    const restoring = this.#revive(session, request, handshake).finally(() => this.#restoring.delete(session))
    this.#restoring.set(session, restoring)
    return restoring
  }

  // A failure leaves the session as it was, for the next request to try again.
  async #revive (session: Session, request: FastifyRequest, handshake: ClientSetup): Promise<SessionRuntime> {
    try {
      const live = await this.#start({ session, request, restored: true }, handshake)
      const unanswered = await live.replay(request, handshake.messages())
      if (unanswered.length > 0) {
        this.#log.warn(`The new MCP server of session ${hashSessionId(session.id)} has not answered yet: ${[...new Set(unanswered)].join(', ')}`)
      }
      return live
    } catch (error) {
      this.#close(session)
      // It may have failed because the session has moved: that is no 404.
      await this.#context.cluster?.barrier(session)
      throw error
    }
  }

  async #start (context: CreateServerContext, handshake: ClientSetup | undefined): Promise<SessionRuntime> {
    const { session } = context
    const { cluster } = this.#context
    const live = new SessionRuntime({
      session,
      endpoint: this.#options,
      events: this.#createEvents(session),
      handshake,
      onHandshake: (changed) => cluster?.saveState(session, changed.toState()),
      onClosed: () => this.#discard(session)
    })
    this.#live.set(session, live)
    const server = await this.#makeServer(context)
    // It may have ended while its server was being made.
    if (!this.#live.has(session)) {
      runGuarded(() => server.close(), (error) => this.#logCloseFailure(error, session))
      throw new SessionNotFoundError()
    }
    await live.connect(server)
    return live
  }

  #createEvents (session: Session): ResumableEvents | undefined {
    const { resumable } = this.#options
    if (resumable === undefined) return undefined
    return this.#context.cluster?.createEvents(session, resumable.maxEvents) ?? new EventBuffer(resumable.maxEvents)
  }

  #createOnForget ({ id }: Session): () => void {
    let isLogged = false
    return () => {
      if (!isLogged) this.#log.warn(`Session ${hashSessionId(id)} has too many subscriptions. The oldest will not be there on another node`)
      isLogged = true
    }
  }

  #discard (session: Session): void {
    if (this.#live.has(session)) this.#context.sessions.cleanup(session.id)
  }

  #close (session: Session): void {
    const live = this.#live.get(session)
    if (live === undefined) return
    this.#live.delete(session)
    const closing = live.close()
      .catch((error: unknown) => this.#logCloseFailure(asError(error), session))
      .finally(() => this.#closing.delete(closing))
    this.#closing.add(closing)
  }

  #logCloseFailure (error: Error, session: Session): void {
    this.#log.error(error, `Closing the MCP server of session ${hashSessionId(session.id)} failed`)
  }
}
