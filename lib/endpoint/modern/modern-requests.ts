import type { FastifyBaseLogger, FastifyReply, FastifyRequest } from 'fastify'
import { MethodNotAllowedError, ShuttingDownError, UnsupportedRevisionError } from '../../base/errors.js'
import { hasSessions, SESSION_REVISIONS } from '../../http/protocol-revision.js'
import type { PluginContext } from '../../http/plugin-context.js'
import type { ReplyRecord } from '../../http/reply-tracker.js'
import type { SessionFollower } from '../../http/shutdown.js'
import { sendCallAnswer } from './call-answer.js'
import type { HeardAnswer } from './heard-answer.js'
import { ListeningClients } from './listening-clients.js'
import { readClaim, readId, readMethod } from './modern-body.js'
import type { ModernLeg } from './modern-leg.js'
import { traceModern } from './modern-trace.js'
import type { ResolvedEndpointOptions } from '../options.js'
import { logCut } from '../transport/log-cut.js'
import type { Incoming } from '../transport/session-transport.js'
import { toWebRequest } from '../web-request.js'
import { sendWebResponse, type WebAnswerOptions } from './web-response.js'

// The method of revision 2026-07-28 that opens a stream without an end of its own.
const LISTEN = 'subscriptions/listen'
// The status with which SDK 2 answers a call that it has cut off. No standard has it.
const CLOSED = 499

/** Whether a request is of revision 2026-07-28 or later: it says so in its header, or in its body. */
export function isModern (request: FastifyRequest): boolean {
  return !hasSessions(request.headers['mcp-protocol-version']) || readClaim(request.body) !== undefined
}

/** Whether a request opens a stream that has no end of its own. */
export function isListening ({ body }: FastifyRequest): boolean {
  return readMethod(body) === LISTEN
}

/** The requests of an endpoint that are of revision 2026-07-28 or later, which has no sessions. */
export class ModernRequests implements SessionFollower {
  readonly #context: PluginContext
  readonly #options: ResolvedEndpointOptions
  readonly #leg: ModernLeg | undefined
  readonly #log: FastifyBaseLogger
  readonly #listening: ListeningClients
  #closing: Promise<void> | undefined

  /** @param leg undefined: clients are told to fall back to a revision with sessions */
  constructor (context: PluginContext, options: ResolvedEndpointOptions, leg: ModernLeg | undefined, log: FastifyBaseLogger) {
    this.#context = context
    this.#options = options
    this.#leg = leg
    this.#listening = new ListeningClients(context.maxSessions, context.maxSessionsPerPrincipal)
    this.#log = log
  }

  async handle (incoming: Incoming): Promise<void> {
    const { request, reply } = incoming
    const leg = this.#leg
    if (leg === undefined) {
      // The answer of a server that knows only older revisions: on it, every client falls back to one of those.
      const revision = String(readClaim(request.body) ?? request.headers['mcp-protocol-version'])
      throw new UnsupportedRevisionError(revision, SESSION_REVISIONS.join(', '))
    }
    // A handler of SDK 2 that is closed would answer as if it had failed itself.
    if (this.#closing !== undefined) throw new ShuttingDownError()
    if (request.method !== 'POST') {
      reply.header('allow', 'POST')
      throw new MethodNotAllowedError()
    }
    const serve = (heard?: HeardAnswer): Promise<void> => {
      return isListening(request) ? this.#listen(leg, incoming, heard) : this.#call(leg, incoming, heard)
    }
    const traced = traceModern(incoming)
    await (traced === undefined ? serve() : traced.trace.run(() => serve(traced.heard)))
  }

  /** Closes what serves them. Called when running calls have had their time. Never rejects. */
  settle (): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #call (leg: ModernLeg, { request, reply, record }: Incoming, heard: HeardAnswer | undefined): Promise<void> {
    let isAnswered = false
    const abort = abortWith(reply, record, () => isAnswered)
    const answer = this.#fetch(leg, request, toWebRequest(request, abort.signal)).finally(() => { isAnswered = true })
    const { responseMode } = leg
    const id = readId(request.body)
    const options = this.#streamOptions(request, heard)
    await (responseMode === undefined || responseMode === 'json' || id === null
      ? sendWebResponse(reply, await answer, options)
      : sendCallAnswer(reply, answer, { ...options, responseMode, id }))
  }

  async #fetch (leg: ModernLeg, request: FastifyRequest, target: Request): Promise<Response> {
    const response = await leg.fetch(request, target)
    if (response.status === CLOSED && this.#closing !== undefined) throw new ShuttingDownError()
    return response
  }

  // A stream is held to the same limits as a session, and belongs to the principal that opened it.
  async #listen (leg: ModernLeg, { request, reply, record }: Incoming, heard: HeardAnswer | undefined): Promise<void> {
    const { bus, identify, shutdown } = this.#context
    if (shutdown.hasStarted) throw new ShuttingDownError()
    const principal = await identify(request)
    const place = this.#listening.admit(principal)
    record.onOver(() => this.#listening.leave(place))
    let isOpen = false
    const abort = abortWith(reply, record, () => isOpen)
    const { response, end } = await bus.listenAs(principal, () => leg.listen(request, toWebRequest(request, abort.signal)))
    isOpen = true
    record.endWith(end ?? (() => {}))
    place.end = end ?? (() => abort.abort())
    const recheck = async (): Promise<void> => {
      if (await identify(request) !== principal) abort.abort()
    }
    await sendWebResponse(reply, response, {
      ...this.#streamOptions(request, heard),
      onHeartbeat: this.#options.recheckOwner ? () => { recheck().catch(() => abort.abort()) } : undefined
    })
  }

  #streamOptions (request: FastifyRequest, heard: HeardAnswer | undefined): WebAnswerOptions {
    const { heartbeatInterval, maxBuffered } = this.#options
    return { heartbeatInterval, maxBuffered, heard, onCut: (waiting) => logCut(request, waiting) }
  }

  async #close (): Promise<void> {
    try {
      await this.#leg?.close()
    } catch (error) {
      this.#log.error(error, 'Closing the handler of clients without sessions failed')
    }
  }
}

// Aborts when the client has gone, or when somebody else has answered it meanwhile, such as a timeout of the app.
function abortWith ({ raw }: FastifyReply, record: ReplyRecord, isAnswered: () => boolean): AbortController {
  const abort = new AbortController()
  record.onResponseEnd(() => { if (!raw.writableEnded || !isAnswered()) abort.abort() })
  return abort
}
