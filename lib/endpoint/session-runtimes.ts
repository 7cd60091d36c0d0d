import type { FastifyBaseLogger, FastifyRequest } from 'fastify'
import { InvalidRequestError, SessionNotFoundError, ShuttingDownError } from '../base/errors.js'
import { asError, runGuarded } from '../base/safe-call.js'
import { isAddressed, type Announcement } from '../http/announcements.js'
import type { EventLog } from '../http/event-log.js'
import { readMadeState } from '../http/made-sessions.js'
import type { PluginContext } from '../http/plugin-context.js'
import { negotiateRevision, requireRevision, SESSION_REVISIONS } from '../http/protocol-revision.js'
import { hasResponseEnded } from '../http/response-end.js'
import type { SessionState } from '../http/session-cluster.js'
import { channels } from '../observe/channels.js'
import type { Session, SessionOrigin } from '../session/session.js'
import { hashSessionId } from '../session/session-id.js'
import { readClock } from '../session/session-manager.js'
import { ClientSetup } from './client-setup.js'
import { warnOfHiddenId } from './endpoint-warnings.js'
import { isDeeperThan, type InitializeParams } from './initialize.js'
import type { CreateServerContext, ResolvedEndpointOptions } from './options.js'
import { createServerFactory, toServerContext, type ConnectableServer, type ServerFactory } from './server-factory.js'
import { ServerPool } from './server-pool.js'
import { ParkedSessions } from './parked-sessions.js'
import { ParkingSweep } from './parking-sweep.js'
import { SessionRuntime } from './session-runtime.js'
import { EventBuffer } from './transport/event-buffer.js'
import { requireAccepted } from './transport/media-types.js'
import type { Incoming, SessionTransportOptions } from './transport/session-transport.js'

// How many levels the parameters of `initialize` may have. They are written as JSON again and again, which recurses for each level.
const DEEPEST_SETUP = 100

const CLOSE_FAILURE = 'Closing the MCP server of a session failed'
const FORGOTTEN = 'A session has too many subscriptions. The oldest will not be there on another node, nor after parking'

/** The sessions of one endpoint that live in this process. */
export class SessionRuntimes {
  readonly #context: PluginContext
  readonly #options: ResolvedEndpointOptions
  readonly #makeServer: ServerFactory<CreateServerContext>
  readonly #pool: ServerPool | undefined
  readonly #log: FastifyBaseLogger
  readonly #live = new Map<Session, SessionRuntime>()
  readonly #restoring = new Map<Session, Promise<SessionRuntime>>()
  // Those whose server is being made, each with what to call when the session ends before the server is there.
  readonly #waiting = new Map<SessionRuntime, () => void>()
  readonly #parked = new ParkedSessions()
  readonly #parking: ParkingSweep<SessionRuntime> | undefined
  readonly #closing = new Set<Promise<void>>()

  constructor (context: PluginContext, options: ResolvedEndpointOptions, log: FastifyBaseLogger) {
    this.#context = context
    this.#options = options
    this.#makeServer = createServerFactory(options.createServer)
    this.#pool = options.reuseServers === undefined ? undefined : new ServerPool(options.reuseServers, this.#makeServer)
    this.#log = log
    this.#parking = options.parkAfter === 0 ? undefined : this.#startParking(options.parkAfter)
    // Whatever ends a session ends its transport and its server.
    context.sessions.setMaxListeners(context.sessions.getMaxListeners() + 1)
    context.sessions.on('closed', (session) => this.#close(session))
    context.announcements.subscribe((announcement) => this.#announce(announcement))
  }

  /**
   * The runtime of a session. A session that has come from another node, or is parked,
   * gets a new server, which hears what the client had said to the last one. Undefined
   * for a session that is not of this endpoint, or was opened at another path.
   */
  find (session: Session, request: FastifyRequest): SessionRuntime | undefined | Promise<SessionRuntime | undefined> {
    const runtime = this.#live.get(session)
    if (runtime === undefined) return this.#restore(session, request)
    if (!runtime.serves(request)) return undefined
    return this.#restoring.get(session) ?? (runtime.isParked ? this.#wake(runtime, request) : runtime)
  }

  /**
   * Whether the session is of this endpoint, and was opened at the path of the request. It need not have a server.
   *
   * @throws UnsupportedRevisionError for a request of a revision that its server does not speak; where it has no server, of
   * one that has no sessions
   */
  serves (session: Session, request: FastifyRequest): boolean {
    const runtime = this.#live.get(session)
    if (runtime === undefined) requireRevision(request, SESSION_REVISIONS)
    else runtime.transport.checkRevision(request)
    return runtime?.serves(request) ?? (this.#readState(session) ?? readMadeState(session))?.['path'] === readPath(request)
  }

  /**
   * Opens a session for a well-formed `initialize`. When it comes to nothing,
   * nothing is left of it.
   *
   * @throws SessionLimitError, OpeningRateError, and what `identify` and `createServer` throw
   */
  async open (incoming: Incoming, params: InitializeParams): Promise<void> {
    const { request, reply, record } = incoming
    // Checked before the session is opened, because another one may have to make room for it.
    this.#checkSize(params)
    requireAccepted(request.headers.accept)
    const principal = await this.#context.identify(request)
    await this.#context.openingRate?.admit(request, principal)
    if (record.isResponseOver || hasResponseEnded(request, reply)) throw new InvalidRequestError('the client has gone')
    const session = this.#create({
      principal,
      clientInfo: { name: params.clientInfo.name, version: params.clientInfo.version },
      protocolVersion: negotiateRevision(params.protocolVersion)
    })
    request.mcpSession = session
    record.hold(session)
    this.#discardUnlessSent(incoming, session)
    try {
      const setup = this.#createSetup(session, request)
      const runtime = await this.#start(toServerContext(session, request, false), setup)
      runtime.transport.post(incoming, {
        onOpened: (answer) => {
          runtime.noteOpening(answer)
          if (!('result' in answer)) {
            this.#discard(session)
            return
          }
          reply.header('mcp-session-id', session.id)
          warnOfHiddenId(reply, this.#context.warnings)
        }
      })
    } catch (error) {
      this.#discard(session)
      throw error
    }
  }

  /** Resolves when the servers of all closed sessions have closed too. */
  async settle (): Promise<void> {
    this.#parking?.stop()
    this.#pool?.close()
    await Promise.all(this.#closing)
  }

  #checkSize (params: InitializeParams): void {
    const { maxSetup } = this.#options
    if (isDeeperThan(DEEPEST_SETUP, params)) {
      throw new InvalidRequestError(`initialize must not be nested deeper than ${DEEPEST_SETUP} levels`)
    }
    if (Buffer.byteLength(JSON.stringify(params)) > maxSetup) {
      throw new InvalidRequestError(`initialize must not be larger than ${maxSetup} bytes`)
    }
  }

  #create (origin: SessionOrigin): Session {
    const { sessions } = this.#context
    const session = sessions.acquire(sessions.create(undefined, origin))
    // A listener of `created` may have closed it.
    if (session === undefined) throw new SessionNotFoundError()
    return session
  }

  // Closes the session when its client cannot know the id: it has got an error, or no answer.
  #discardUnlessSent ({ reply: { raw }, record }: Incoming, session: Session): void {
    let isSent = false
    // Both are needed: in a pipeline a response can end and never be sent, and in HTTP/2 it can finish without having ended.
    raw.once('finish', () => { isSent = raw.writableEnded })
    record.onResponseEnd(() => {
      if (!isSent || raw.statusCode >= 400) this.#discard(session)
    })
  }

  // Brings back a session of which nothing lives here: it was parked, or served by another node, or made by the app.
  #restore (session: Session, request: FastifyRequest): Promise<SessionRuntime> | undefined {
    const { cluster } = this.#context
    const stored = this.#readState(session)
    const setup = ClientSetup.restore(stored ?? readMadeState(session), readPath(request), this.#setupBounds(session))
    if (setup === undefined) return undefined
    if (stored === undefined) cluster?.saveState(session, setup.toState())
    const context = toServerContext(session, request, stored !== undefined)
    return this.#bringBackOnce(context, () => this.#start(context, setup), () => this.#discardRuntime(session))
  }

  #readState (session: Session): SessionState | undefined {
    return this.#context.cluster?.readState(session) ?? this.#parked.readState(session)
  }

  // Gives a new server to a session that has kept all else, such as a stream that is open.
  #wake (runtime: SessionRuntime, request: FastifyRequest): Promise<SessionRuntime> {
    const { session } = runtime
    const context = toServerContext(session, request, true)
    return this.#bringBackOnce(context, () => this.#serve(runtime, context), () => {
      if (this.#live.get(session) === runtime) this.#park(runtime)
    })
  }

  // Requests that come meanwhile wait for the same promise.
  #bringBackOnce (context: CreateServerContext, serve: () => Promise<SessionRuntime>, undo: () => void): Promise<SessionRuntime> {
    const { session } = context
    const restoring = this.#bringBack(context, serve, undo).finally(() => {
      // An attempt that has failed may still wait for the directory when the next one has begun.
      if (this.#restoring.get(session) === restoring) this.#restoring.delete(session)
    })
    this.#restoring.set(session, restoring)
    return restoring
  }

  // A failure leaves the session as it was, for the next request to try again.
  async #bringBack (context: CreateServerContext, serve: () => Promise<SessionRuntime>, undo: () => void): Promise<SessionRuntime> {
    const { session } = context
    try {
      const runtime = await serve()
      await this.#replay(runtime, context)
      this.#parked.delete(session)
      return runtime
    } catch (error) {
      undo()
      // If it has failed because the session has moved to another node, this rejects with the error for that.
      await this.#context.cluster?.barrier(session)
      throw error
    }
  }

  async #replay (runtime: SessionRuntime, { session, request, restored: isRestored }: CreateServerContext): Promise<void> {
    const unanswered = Array.from(new Set(await runtime.replay(request)))
    if (unanswered.length > 0) {
      this.#log.warn({ sessionId: hashSessionId(session.id), unanswered }, 'The new MCP server of a session has not answered all yet')
    }
    const restored = channels['session.restored']
    if (isRestored && restored.hasSubscribers) restored.publish({ sessions: this.#context.sessions, session, unanswered })
  }

  async #start (context: CreateServerContext, setup: ClientSetup): Promise<SessionRuntime> {
    const { session, request } = context
    const runtime: SessionRuntime = new SessionRuntime({
      session,
      path: readPath(request),
      transport: this.#transportOptions(session, setup),
      setup,
      canPark: this.#parking !== undefined,
      pool: this.#pool,
      onClosed: () => {
        // The transport of an attempt that has failed may close while the next attempt is under way.
        if (this.#live.get(session) === runtime) this.#discard(session)
      }
    })
    this.#live.set(session, runtime)
    return this.#serve(runtime, context)
  }

  async #serve (runtime: SessionRuntime, context: CreateServerContext): Promise<SessionRuntime> {
    await runtime.connect(await this.#serverFor(runtime, context))
    return runtime
  }

  // Rejects at once when the session ends while its server is made, for createServer may never return.
  #serverFor (runtime: SessionRuntime, context: CreateServerContext): Promise<ConnectableServer> {
    const { session } = context
    const { shutdown } = this.#context
    return new Promise((resolve, reject) => {
      this.#waiting.set(runtime, () => reject(shutdown.hasStarted ? new ShuttingDownError() : new SessionNotFoundError()))
      const making = this.#pool?.take() ?? this.#makeServer(context)
      making.then((server) => {
        if (this.#waiting.delete(runtime)) resolve(server)
        else runGuarded(() => server.close(), (error) => this.#logError(CLOSE_FAILURE, error, session))
      }, (error: unknown) => {
        if (this.#waiting.delete(runtime)) reject(error)
        else this.#logError('Making the MCP server of a session that has ended failed', error, session)
      })
    })
  }

  #startParking (parkAfter: number): ParkingSweep<SessionRuntime> {
    return new ParkingSweep({
      parkAfter,
      sessions: () => this.#live.values(),
      park: (runtime) => {
        const { session, transport } = runtime
        const isUnused = session.activeRequests === session.openStreams && !transport.isBusy
        const isOld = readClock(this.#context.sessions) - session.lastAccessedAt >= parkAfter
        if (!isUnused || !isOld || this.#restoring.has(session)) return
        if (runtime.isParked) this.#forgetTransport(runtime)
        else this.#park(runtime)
      },
      onError: (error) => this.#log.error(error, 'Parking a session failed')
    })
  }

  #park (runtime: SessionRuntime): void {
    const { session } = runtime
    this.#whileClosing(session, runtime.park())
    const parked = channels['session.parked']
    if (parked.hasSubscribers) parked.publish({ sessions: this.#context.sessions, session })
    this.#forgetTransport(runtime)
  }

  // A session with a stream that is open, or that its client may come back for, keeps its transport: it still hears of changes.
  #forgetTransport ({ session, state, transport }: SessionRuntime): void {
    if (session.openStreams > 0 || transport.mayBeResumed) return
    this.#live.delete(session)
    if (this.#context.cluster === undefined) this.#parked.add(session, state)
  }

  #transportOptions (session: Session, setup: ClientSetup): SessionTransportOptions {
    const { cluster, identify } = this.#context
    const { responseMode, heartbeatInterval, maxBuffered, cancelOnDisconnect, resumable, recheckOwner } = this.#options
    return {
      sessionId: session.id,
      responseMode,
      heartbeatInterval,
      maxBuffered,
      cancelOnDisconnect,
      renamesCalls: this.#pool !== undefined,
      log: this.#createLog(session),
      retryInterval: resumable?.retryInterval ?? 0,
      barrier: cluster && (() => cluster.barrier(session)),
      onClientMessage: (message) => {
        if (setup.observe(message)) cluster?.saveState(session, setup.toState())
      },
      mayListen: recheckOwner ? async (request) => await identify(request) === session.principal : undefined
    }
  }

  #createLog (session: Session): EventLog | undefined {
    const { resumable } = this.#options
    if (resumable === undefined) return undefined
    return this.#context.cluster?.createEventLog(session, resumable) ?? new EventBuffer(resumable)
  }

  #createSetup (session: Session, request: FastifyRequest): ClientSetup {
    return new ClientSetup(readPath(request), this.#setupBounds(session))
  }

  #setupBounds ({ id }: Session): { maxBytes: number, onForget: () => void } {
    let isLogged = false
    return {
      maxBytes: this.#options.maxSetup,
      onForget: () => {
        if (isLogged) return
        isLogged = true
        this.#log.warn({ sessionId: hashSessionId(id) }, FORGOTTEN)
      }
    }
  }

  #announce ({ change, audience }: Announcement): void {
    for (const [session, runtime] of this.#live) {
      if (!isAddressed(audience, { session: session.id, principal: session.principal })) continue
      runtime.announce(change).catch((error: unknown) => {
        this.#log.warn({ err: error, sessionId: hashSessionId(session.id) }, 'A session could not be told of a change')
      })
    }
  }

  #discard (session: Session): void {
    if (this.#live.has(session)) this.#context.sessions.cleanup(session.id)
  }

  #close (session: Session): void {
    this.#parked.delete(session)
    this.#discardRuntime(session)
  }

  #discardRuntime (session: Session): void {
    const runtime = this.#live.get(session)
    if (runtime === undefined) return
    this.#live.delete(session)
    const giveUp = this.#waiting.get(runtime)
    this.#waiting.delete(runtime)
    giveUp?.()
    this.#whileClosing(session, runtime.close())
  }

  #whileClosing (session: Session, work: Promise<void>): void {
    const closing = work
      .catch((error: unknown) => this.#logError(CLOSE_FAILURE, error, session))
      .finally(() => this.#closing.delete(closing))
    this.#closing.add(closing)
  }

  #logError (message: string, error: unknown, { id }: Session): void {
    this.#log.error({ err: asError(error), sessionId: hashSessionId(id) }, message)
  }
}

function readPath ({ url }: FastifyRequest): string {
  const query = url.indexOf('?')
  return query === -1 ? url : url.slice(0, query)
}
