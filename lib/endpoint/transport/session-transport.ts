import type { Transport, TransportSendOptions } from '@modelcontextprotocol/sdk/shared/transport.js'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { randomUUID } from 'node:crypto'
import { InvalidRequestError, NotAcceptableError, SessionNotFoundError, type SessionError } from '../../base/errors.js'
import { asError } from '../../base/safe-call.js'
import type { EventLog, KeptEvent, Resumption } from '../../http/event-log.js'
import { DEFAULT_REVISION, requireRevision, SESSION_REVISIONS } from '../../http/protocol-revision.js'
import type { ReplyRecord } from '../../http/reply-tracker.js'
import { readAuthInfo } from '../auth-info.js'
import type { ResponseMode } from '../options.js'
import { EventStream, sendEvents } from './event-stream.js'
import { formatEvent, formatPriming } from './event-format.js'
import { traceRequest } from './call-trace.js'
import { Exchange, type AnswerMode, type Call } from './exchange.js'
import {
  isAnswer, isListChange, isRequest, isRequestId, readMessages, toErrorAnswer,
  type Answer, type JSONRPCMessage, type JSONRPCRequest, type RequestId
} from './json-rpc.js'
import { logCut } from './log-cut.js'
import { readAccept, requireAccepted, type Accepted } from './media-types.js'
import { createContext, type MessageContext, type Sdk } from './message-context.js'
import { Outlet, readMissed, writeMissed, type Barrier } from './outlet.js'
import { findScopeChallenge, sendScopeChallenge, type ScopeChallengeResolver } from './scope-challenge.js'

export interface SessionTransportOptions {
  /** Undefined: there is no session. */
  readonly sessionId?: string | undefined
  readonly responseMode: ResponseMode
  /** Milliseconds; 0: no heartbeats. */
  readonly heartbeatInterval: number
  /** Bytes that may wait for a reader, per stream. */
  readonly maxBuffered: number
  readonly cancelOnDisconnect: boolean
  /** Whether the server gets other ids for calls than the client's, which no other session has: for a server that serves many. */
  readonly renamesCalls?: boolean | undefined
  /** Undefined: streams cannot be resumed. */
  readonly log?: EventLog | undefined
  /** Milliseconds after which a client comes back for a stream that has ended. */
  readonly retryInterval: number
  readonly barrier?: Barrier | undefined
  /** Called with each message before the server gets it. */
  readonly onClientMessage?: ((message: JSONRPCMessage) => void) | undefined
  /** Whether who opened a GET stream may still have it; asked at every heartbeat. */
  readonly mayListen?: ((request: FastifyRequest) => Promise<boolean>) | undefined
}

/** A request to an endpoint. */
export interface Incoming {
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  readonly record: ReplyRecord
}

export interface PostOptions {
  /** Called with the answer of the `initialize` that opens the session. */
  readonly onOpened?: ((answer: Answer) => void) | undefined
}

interface OwnCall extends Call {
  readonly exchange: Exchange
}

/** A request that somebody else than the client waits for: see `ask()`. */
interface Question {
  /** Called with the answer; with undefined when there will be none. */
  readonly onAnswer: (answer?: Answer) => void
}

const GET_STREAM = 'get'
// The id of an event of any stream but the GET stream.
const CALL_EVENT = /\/(?!get$)[\w-]+$/
const CANCELLED = 'notifications/cancelled'
const SESSION_CLOSED = 'Session closed'
const PROCESS_DIED = 'The process that worked on this request has died'

/**
 * Streamable HTTP for the server of one session, written to Fastify replies. It serves the servers of both SDKs through
 * their public `Transport` interface.
 *
 * A POST with requests is an exchange; its messages go to the client through the outlet of that exchange, all
 * others through the outlet of the GET stream. An outlet outlives its connections: a client that comes back with a
 * `Last-Event-ID` takes it up where it was.
 *
 * @see https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#streamable-http
 */
export class SessionTransport implements Transport {
  readonly sessionId?: string | undefined
  onclose?: (() => void) | undefined
  onerror?: ((error: Error) => void) | undefined
  onmessage?: Transport['onmessage']
  readonly #options: SessionTransportOptions
  readonly #standalone: Outlet
  readonly #calls = new Map<RequestId, OwnCall | Question>()
  // The exchanges whose streams can be resumed, by the name of the stream.
  readonly #exchanges = new Map<string, Exchange>()
  // What the names of streams begin with: no other copy of the session, on whatever node, has the same. From a UUID, because
  // Node.js draws random bytes for many of them at once.
  readonly #mark = randomUUID().slice(24)
  #count = 0
  #revisions: readonly string[] = SESSION_REVISIONS
  #resolveScopes: ScopeChallengeResolver | undefined
  #sdk: Sdk = 1
  #isInitialized = false
  // The ids of the server's questions that the client has not answered.
  readonly #asked = new Set<RequestId>()
  #closing: Promise<void> | undefined

  constructor (options: SessionTransportOptions) {
    this.sessionId = options.sessionId
    this.#options = options
    this.#standalone = this.#createOutlet(GET_STREAM)
  }

  async start (): Promise<void> {}

  /** SDK 2 says which revisions its server speaks. */
  setSupportedProtocolVersions (revisions: string[]): void {
    this.#revisions = revisions
    this.#sdk = 2
  }

  /** SDK 2 says how the scopes that its tools demand are looked up. Without it, it enforces none. */
  setScopeChallengeResolver (resolve: ScopeChallengeResolver): void {
    this.#resolveScopes = resolve
  }

  /**
   * Rejects when the message cannot go out, or when it is a request that cannot reach the client. Only for a changed list the
   * error goes to `onerror` instead: the SDKs do not look at that promise, and a rejection that nobody looks at ends the
   * process.
   */
  async send (message: JSONRPCMessage, options?: TransportSendOptions): Promise<void> {
    if (!isListChange(message)) return this.#send(message, options)
    await this.#send(message, options).catch((error: unknown) => this.onerror?.(asError(error)))
  }

  /** Says something that is part of no call. Rejects when it cannot go out. */
  async tell (message: JSONRPCMessage): Promise<void> {
    return this.#say(message, undefined)
  }

  async #send (message: JSONRPCMessage, { relatedRequestId }: TransportSendOptions = {}): Promise<void> {
    if (isAnswer(message)) return this.#sendAnswer(message)
    this.#forgetQuestion(message)
    const call = relatedRequestId === undefined ? undefined : this.#calls.get(relatedRequestId)
    if (relatedRequestId !== undefined && call === undefined) {
      throw new Error(`Request ${relatedRequestId} has been answered or cancelled`)
    }
    const exchange = call !== undefined && 'exchange' in call && call.exchange.takesMessages ? call.exchange : undefined
    if (isRequest(message) && !(exchange ?? this.#standalone).isReachable) {
      throw new Error(`The client cannot be asked ${message.method}: ${explainUnreachable(exchange, relatedRequestId)}`)
    }
    if (isRequest(message)) return this.#askClient(message, exchange)
    return this.#say(message, exchange)
  }

  /**
   * A POST of the client.
   *
   * @throws a rejection of the request as a whole: nothing of it has reached the server
   */
  post (incoming: Incoming, options: PostOptions = {}): void {
    const { request } = incoming
    // The session may have ended while it was looked for.
    if (this.#closing !== undefined) throw new SessionNotFoundError()
    const messages = readMessages(request.body)
    const opens = messages.some(isInitialize)
    this.#checkOpening(messages, opens)
    if (!opens) this.checkRevision(request)
    const read = messages.some(isRequest) ? requireAccepted : readAccept
    const accepted = read(request.headers.accept)
    if (this.#resolveScopes === undefined) this.#admit(incoming, messages, accepted, options)
    else this.#challenge(this.#resolveScopes, incoming, messages, accepted, options)
  }

  /** @throws UnsupportedRevisionError for a request of a revision that the server does not speak */
  checkRevision (request: FastifyRequest): void {
    requireRevision(request, this.#revisions)
  }

  /** The GET stream, or what a `Last-Event-ID` names. Rejects with a rejection of the request. */
  async openStream (incoming: Incoming): Promise<void> {
    const { request, reply } = incoming
    this.checkRevision(request)
    if (!readAccept(request.headers.accept).events) throw new NotAcceptableError('text/event-stream')
    const resumption = await this.#findResumption(request)
    if (this.#closing !== undefined) throw new SessionNotFoundError()
    if (isGone(reply)) return
    if (resumption === undefined) this.#openStandalone(incoming)
    else await this.#resume(incoming, resumption)
  }

  /** Whether the server waits for the client, or the client for the server. */
  get isBusy (): boolean {
    return this.#calls.size > 0 || this.#asked.size > 0
  }

  /** Whether there may be events that a client comes back for. */
  get mayBeResumed (): boolean {
    const { log } = this.#options
    return log !== undefined && log.isEmpty !== true
  }

  /** Is told that the server is going, and another one will be connected. Nothing of it is kept. */
  forgetServer (): void {
    this.onmessage = undefined
    this.onerror = undefined
    this.#resolveScopes = undefined
    this.#sdk = 1
    this.#revisions = SESSION_REVISIONS
  }

  /** Ends the GET stream, if there is one. */
  endStream (): void {
    this.#standalone.end()
  }

  /** Hands the server a message that its client has not sent now. Resolves with the answer, if the message asks for one. */
  ask (message: JSONRPCMessage, request: FastifyRequest): Promise<Answer | undefined> {
    return new Promise((resolve) => {
      if (isRequest(message)) this.#calls.set(message.id, { onAnswer: resolve })
      else resolve(undefined)
      this.#isInitialized ||= isInitialize(message)
      this.onmessage?.(message, createContext(request, this.#sdk))
    })
  }

  /** Answers what the client still waits for, then ends all streams. */
  close (): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close (): Promise<void> {
    const outlets = new Set<Outlet>()
    for (const call of Array.from(this.#calls.values())) {
      if ('exchange' in call) {
        outlets.add(call.exchange.outlet)
        this.#sendAnswer(toErrorAnswer(call.serverId, -32001, SESSION_CLOSED))
      } else {
        call.onAnswer()
      }
    }
    await Promise.all(Array.from(outlets, (outlet) => outlet.settle()))
    await this.#standalone.finish()
    this.onclose?.()
  }

  #say (message: JSONRPCMessage, exchange: Exchange | undefined): void | Promise<void> {
    return exchange === undefined ? this.#standalone.emit(JSON.stringify(message), []) : exchange.say(message)
  }

  async #askClient (message: JSONRPCRequest, exchange: Exchange | undefined): Promise<void> {
    this.#asked.add(message.id)
    try {
      await this.#say(message, exchange)
    } catch (error) {
      // The client has not been asked.
      this.#asked.delete(message.id)
      throw error
    }
  }

  #sendAnswer (answer: Answer): void | Promise<void> {
    if (answer.id === undefined) return
    const call = this.#calls.get(answer.id)
    this.#calls.delete(answer.id)
    if (call === undefined) return
    return 'exchange' in call ? call.exchange.answer(call, answer) : call.onAnswer(answer)
  }

  #checkOpening (messages: readonly JSONRPCMessage[], opens: boolean): void {
    if (!opens) return
    if (this.#isInitialized) throw new InvalidRequestError('Server already initialized')
    if (messages.length > 1) throw new InvalidRequestError('initialize must be sent on its own')
    this.#isInitialized = true
  }

  #challenge (
    resolve: ScopeChallengeResolver,
    incoming: Incoming,
    messages: JSONRPCMessage[],
    accepted: Accepted,
    options: PostOptions
  ): void {
    const { request, reply } = incoming
    const authInfo = readAuthInfo(request)
    findScopeChallenge(resolve, messages, authInfo).then((challenge) => {
      if (challenge !== undefined) sendScopeChallenge(request, reply, challenge, authInfo)
      else if (this.#closing !== undefined) reply.send(new SessionNotFoundError())
      else this.#admit(incoming, messages, accepted, options)
    }).catch((error: unknown) => reply.send(error))
  }

  #admit (incoming: Incoming, messages: JSONRPCMessage[], accepted: Accepted, options: PostOptions): void {
    const requests = messages.filter(isRequest)
    if (requests.length === 0) {
      const context = createContext(incoming.request, this.#sdk)
      for (const message of messages) this.#handle(message, context)
      this.#acknowledge(incoming)
      return
    }
    const exchange = this.#createExchange(incoming, accepted, options)
    const calls = requests.map((request) => this.#createCall(request, exchange, incoming.request))
    const context = this.#createCallContext(incoming.request, exchange)
    exchange.begin()
    let next = 0
    for (const message of messages) {
      const call = isRequest(message) ? calls[next++] : undefined
      const own = call === undefined || call.serverId === call.clientId ? message : { ...message, id: call.serverId }
      if (call?.trace === undefined) this.#handle(own, context)
      else call.trace.run(() => this.#handle(own, context))
    }
    // At the end, because the client may have gone already: then there has to be something to cancel.
    incoming.record.onResponseEnd(() => this.#disconnect(exchange))
  }

  #handle (message: JSONRPCMessage, context: MessageContext): void {
    if (isAnswer(message) && message.id !== undefined) this.#asked.delete(message.id)
    this.#options.onClientMessage?.(message)
    const call = this.#findCancelled(message)
    if (call === undefined) {
      this.onmessage?.(message, context)
      return
    }
    this.onmessage?.({ jsonrpc: '2.0', method: CANCELLED, params: { ...readParams(message), requestId: call.serverId } }, context)
    this.#forget(call)
  }

  // Answers a POST without requests, when what follows from it is written.
  #acknowledge ({ reply }: Incoming): void {
    const send = (): void => { reply.code(202).send() }
    const settled = this.#options.barrier?.()
    if (settled === undefined) send()
    else settled.then(send, (error: unknown) => reply.send(error))
  }

  #createExchange ({ request, reply, record }: Incoming, accepted: Accepted, { onOpened }: PostOptions): Exchange {
    const { log, heartbeatInterval, maxBuffered } = this.#options
    const mode = this.#chooseMode(accepted)
    const isPrimed = mode === 'events' && log !== undefined && this.#canPrime(request)
    const outlet = this.#createOutlet(`${this.#mark}${++this.#count}`, mode === 'events')
    const done = record.outlive()
    const exchange = new Exchange({
      reply,
      outlet,
      mode,
      isPrimed,
      isBatch: Array.isArray(request.body),
      stream: { heartbeatInterval, maxBuffered, holdHead: onOpened !== undefined, onCut: (waiting) => logCut(request, waiting) },
      onAnswer: onOpened,
      onSettled: () => {
        this.#exchanges.delete(outlet.streamId)
        done()
      }
    })
    if (log !== undefined) this.#exchanges.set(outlet.streamId, exchange)
    return exchange
  }

  #chooseMode ({ json, events }: Accepted): AnswerMode {
    const { responseMode, log } = this.#options
    if (!events || (json && responseMode === 'json')) return 'json'
    // Only a stream can be resumed.
    return !json || responseMode === 'sse' || log !== undefined ? 'events' : 'auto'
  }

  #createCall (request: JSONRPCRequest, exchange: Exchange, carrier: FastifyRequest): OwnCall {
    const call = { clientId: request.id, serverId: this.#chooseServerId(request.id), exchange, trace: traceRequest(request, carrier) }
    this.#calls.set(call.serverId, call)
    exchange.add(call)
    return call
  }

  // What a server that serves many sessions has kept of one call must not name a call of another session.
  #chooseServerId (clientId: RequestId): RequestId {
    if (this.#options.renamesCalls !== true && !this.#calls.has(clientId)) return clientId
    let serverId: string
    do serverId = `${this.#mark}/${++this.#count}/${clientId}`
    while (this.#calls.has(serverId))
    return serverId
  }

  #createCallContext (request: FastifyRequest, exchange: Exchange): MessageContext {
    const context = createContext(request, this.#sdk)
    if (this.#options.log === undefined || !exchange.takesMessages || !this.#canPrime(request)) return context
    context.closeSSEStream = () => exchange.letGo()
    context.closeStandaloneSSEStream = () => this.endStream()
    return context
  }

  // Whether the client knows events without data, which only give an id: those break clients of earlier revisions.
  #canPrime ({ headers, body }: FastifyRequest): boolean {
    const revision = headers['mcp-protocol-version'] ?? readRequestedRevision(body) ?? DEFAULT_REVISION
    return this.#revisions.includes(String(revision)) && revision >= '2025-11-25'
  }

  // The call that a message cancels. Of several with the same id, the client means the last.
  #findCancelled (message: JSONRPCMessage): OwnCall | undefined {
    if (!('method' in message) || message.method !== CANCELLED || isRequest(message)) return undefined
    const id = readParams(message)['requestId']
    let found: OwnCall | undefined
    for (const call of this.#calls.values()) {
      if ('exchange' in call && call.clientId === id) found = call
    }
    return found
  }

  // Forgets a question that the server has cancelled.
  #forgetQuestion (message: JSONRPCMessage): void {
    const { requestId } = 'method' in message && message.method === CANCELLED ? readParams(message) : {}
    if (isRequestId(requestId)) this.#asked.delete(requestId)
  }

  #forget (call: OwnCall): void {
    this.#calls.delete(call.serverId)
    call.exchange.cancel(call)
  }

  #disconnect (exchange: Exchange): void {
    exchange.disconnect()
    if (!this.#options.cancelOnDisconnect || exchange.isLetGo) return
    for (const call of Array.from(exchange.calls)) {
      this.onmessage?.({ jsonrpc: '2.0', method: CANCELLED, params: { requestId: call.serverId, reason: 'The client has disconnected' } })
      this.#calls.delete(call.serverId)
      exchange.giveUp(call)
    }
  }

  async #findResumption ({ headers }: FastifyRequest): Promise<Resumption | undefined> {
    const lastEventId = headers['last-event-id']
    if (typeof lastEventId !== 'string' || lastEventId === '') return undefined
    const { log } = this.#options
    const resumption = await log?.after(lastEventId)
    // A fresh stream in its place would be the GET stream. It would end the one that is open, whose client would come back and
    // end this one, and so on.
    if (log !== undefined && resumption === undefined && CALL_EVENT.test(lastEventId)) {
      throw forgottenCall()
    }
    return resumption
  }

  #createGetStream ({ request, reply, record }: Incoming): EventStream {
    const { heartbeatInterval, maxBuffered, mayListen } = this.#options
    const stream = new EventStream({
      heartbeatInterval,
      maxBuffered,
      onCut: (waiting) => logCut(request, waiting),
      onHeartbeat: mayListen && (() => endUnless(mayListen(request), stream))
    })
    record.endWith(() => stream.end())
    record.onResponseEnd(() => stream.destroy())
    sendEvents(reply, stream)
    return stream
  }

  #openStandalone (incoming: Incoming): void {
    const { request, record } = incoming
    const stream = this.#createGetStream(incoming)
    this.#standalone.attach(stream)
    record.onResponseEnd(() => this.#standalone.detach(stream))
    if (this.#options.log !== undefined && this.#canPrime(request)) this.#standalone.prime([])
  }

  async #resume (incoming: Incoming, resumption: Resumption): Promise<void> {
    const { request, reply, record } = incoming
    const { streamId } = resumption
    const exchange = this.#exchanges.get(streamId)
    const outlet = streamId === GET_STREAM ? this.#standalone : exchange?.outlet
    record.onResponseEnd(() => {
      if (exchange?.isPending !== true && streamId !== GET_STREAM && reply.raw.writableFinished) this.#options.log?.release(streamId)
    })
    if (outlet === undefined) return this.#sendRest(incoming, resumption)
    const stream = this.#createGetStream(incoming)
    this.#primeAgain(request, stream)
    outlet.resume(stream, resumption).catch(() => stream.destroy())
    record.onResponseEnd(() => outlet.detach(stream))
  }

  // Gives the client the id again with which it came back: those of the SDKs forget it. If the connection broke before there is
  // another id, they would come for a fresh stream, and never get the answer to their call.
  #primeAgain (request: FastifyRequest, stream: EventStream): void {
    const { retryInterval } = this.#options
    if (this.#canPrime(request)) stream.write(formatPriming(String(request.headers['last-event-id']), retryInterval))
  }

  // Sends the rest of a stream to which nothing more will come. Where there is none, the answer is 204, which tells the client of
  // an event stream to stay away. An empty stream would bring the clients of the SDKs back again and again.
  async #sendRest (incoming: Incoming, resumption: Resumption): Promise<void> {
    const { reply } = incoming
    const missed = await readMissed(resumption)
    if (isGone(reply)) return
    if (missed.length === 0 && resumption.pending.length === 0) {
      if (resumption.hasGap === true) throw forgottenCall()
      reply.code(204).send()
      return
    }
    const stream = this.#createGetStream(incoming)
    this.#endAfter(stream, resumption, missed).catch(() => stream.destroy())
  }

  // Sends the rest of a stream whose process has died, and for each request that was still waiting an error. That error is kept as
  // an event: without an id to come back with, a client would come for a fresh stream, which would take the place of its GET stream.
  async #endAfter (stream: EventStream, resumption: Resumption, first: readonly KeptEvent[]): Promise<void> {
    await writeMissed(stream, resumption, first)
    const pending = Array.from(resumption.pending)
    for (const [index, id] of pending.entries()) {
      const data = JSON.stringify(toErrorAnswer(id, -32000, PROCESS_DIED))
      stream.write(formatEvent(data, await this.#options.log?.append(resumption.streamId, data, pending.slice(index + 1))))
    }
    stream.end()
  }

  #createOutlet (streamId: string, isKept = true): Outlet {
    const { log, barrier, retryInterval } = this.#options
    return new Outlet({ streamId, log: isKept ? log : undefined, barrier, retryInterval })
  }
}

function explainUnreachable (exchange: Exchange | undefined, relatedRequestId: RequestId | undefined): string {
  if (exchange !== undefined) return 'it has disconnected, and its stream cannot be resumed'
  return relatedRequestId === undefined
    ? 'it has no GET stream open, and the request is not part of a call (relatedRequestId)'
    : 'it has no GET stream open, and the call is answered with JSON, which holds nothing but the answer'
}

function isInitialize (message: JSONRPCMessage): boolean {
  return 'method' in message && message.method === 'initialize'
}

function readParams (message: JSONRPCMessage): Readonly<Record<string, unknown>> {
  return 'params' in message ? { ...message.params } : {}
}

function readRequestedRevision (body: unknown): string | undefined {
  const [message] = [body].flat()
  if (typeof message !== 'object' || message === null || !('params' in message)) return undefined
  const { params } = message
  return typeof params === 'object' && params !== null && 'protocolVersion' in params ? String(params.protocolVersion) : undefined
}

function forgottenCall (): SessionError {
  return new InvalidRequestError('the call of this Last-Event-ID is over, and what it said is not kept any more')
}

function isGone (reply: FastifyReply): boolean {
  return reply.sent || reply.raw.destroyed
}

function endUnless (mayListen: Promise<boolean>, stream: EventStream): void {
  mayListen.then((may) => { if (!may) stream.end() }, () => stream.end())
}
