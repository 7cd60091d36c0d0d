import type { FastifyReply } from 'fastify'
import { asError } from '../../base/safe-call.js'
import type { CallTrace } from './call-trace.js'
import { toErrorAnswer, type Answer, type JSONRPCMessage, type RequestId } from './json-rpc.js'
import type { Outlet } from './outlet.js'
import { PostStream, type PostStreamOptions } from './post-stream.js'

/** A request of the client that is in flight. */
export interface Call {
  /** The id that the client has given it. */
  readonly clientId: RequestId
  /** The id under which the server gets it. It is another one while a call in flight has the client's. */
  readonly serverId: RequestId
  /** Undefined: nobody listens. */
  readonly trace?: CallTrace | undefined
}

/**
 * How a POST is answered. `json`: never with a stream. `events`: always with one. `auto`: with JSON, unless there is
 * something to say before the answer, or it takes long.
 */
export type AnswerMode = 'auto' | 'json' | 'events'

export interface ExchangeOptions {
  readonly reply: FastifyReply
  readonly outlet: Outlet
  readonly mode: AnswerMode
  /** Whether its client can come back for the stream. */
  readonly isPrimed: boolean
  /** Whether its requests came as a batch, be it of only one: in JSON they are answered with a batch then. */
  readonly isBatch: boolean
  readonly stream: PostStreamOptions
  /** Called with the answer of each call before it goes out. */
  readonly onAnswer?: ((answer: Answer) => void) | undefined
  /** Called when all calls are answered or cancelled, and what there is to say of them has been sent. */
  readonly onSettled: () => void
}

const NOT_KEPT = 'The answer was larger than resumable.maxBytes, and has not been kept'
const CANCELLED = 'The request has been cancelled'

/** A POST that carries requests: what it still waits for, and where its answers go. */
export class Exchange {
  readonly outlet: Outlet
  readonly #reply: FastifyReply
  readonly #options: ExchangeOptions
  readonly #calls = new Set<Call>()
  // The answers so far, as JSON. Only while no stream is open.
  readonly #answers: string[] = []
  #stream: PostStream | undefined
  #patience: NodeJS.Timeout | undefined
  #isLetGo = false
  #isGone = false

  constructor (options: ExchangeOptions) {
    this.outlet = options.outlet
    this.#reply = options.reply
    this.#options = options
  }

  /** Whether something is still to be answered. */
  get isPending (): boolean {
    return this.#calls.size > 0
  }

  get calls (): Iterable<Call> {
    return this.#calls
  }

  /** Whether a message on the way to the answer has its place here. */
  get takesMessages (): boolean {
    return this.#options.mode !== 'json'
  }

  /** Whether a message can reach the client, now or when it comes back. */
  get isReachable (): boolean {
    return !this.#isGone || this.outlet.isReachable
  }

  /** Whether its server has ended the stream, so that the client comes back for the answer. */
  get isLetGo (): boolean {
    return this.#isLetGo
  }

  add (call: Call): void {
    this.#calls.add(call)
  }

  /** Is told that all calls have been added. */
  begin (): void {
    const { mode, stream: { heartbeatInterval, holdHead } } = this.#options
    if (mode === 'events') {
      this.#openStream()
    } else if (mode === 'auto' && heartbeatInterval > 0 && !holdHead) {
      this.#patience = setTimeout(() => this.#openStream(), heartbeatInterval)
      this.#patience.unref()
    }
  }

  answer (call: Call, answer: Answer): void | Promise<void> {
    this.#calls.delete(call)
    const { own, data } = this.#serialize(call, answer)
    this.#options.onAnswer?.(own)
    if (this.#stream !== undefined) this.#emitAnswer(call, data)
    else this.#answers.push(data)
    const sent = this.#finishIfOver()
    call.trace?.answer(own)
    return sent
  }

  /** Sends a message on the way to the answer. */
  say (message: JSONRPCMessage): void | Promise<void> {
    this.#openStream()
    return this.outlet.emit(JSON.stringify(message), this.#pending())
  }

  /** Ends a call that the client has cancelled. Nothing is said about it, unless the client takes nothing but JSON. */
  cancel (call: Call): void | Promise<void> {
    return this.#drop(call, () => this.outlet.note(this.#pending()))
  }

  /** Ends a call whose client has gone without a word. Should that come back, it is told, and need not wait for an answer. */
  giveUp (call: Call): void | Promise<void> {
    return this.#drop(call, () => this.#emitAnswer(call, toCancelled(call)))
  }

  /** Ends the stream before the answer: its client comes back for it. */
  letGo (): void {
    this.#openStream()
    this.#isLetGo = true
    this.outlet.end()
  }

  /** Is told that the response is over, and with it this connection. The calls go on. */
  disconnect (): void {
    clearTimeout(this.#patience)
    this.#isGone = true
    if (this.#stream === undefined) return
    this.#stream.destroy()
    this.outlet.detach(this.#stream)
    if (!this.isPending && this.#reply.raw.writableFinished) this.outlet.release()
  }

  #drop (call: Call, note: () => void): void | Promise<void> {
    if (!this.#calls.delete(call)) return
    if (this.#options.mode === 'json') this.#answers.push(toCancelled(call))
    else note()
    call.trace?.cancel()
    return this.#finishIfOver()
  }

  // What a tool returns need not fit into JSON, such as a BigInt or an object that holds itself. Its client must not wait in vain.
  #serialize ({ clientId }: Call, answer: Answer): { readonly own: Answer, readonly data: string } {
    const own = answer.id === clientId ? answer : { ...answer, id: clientId }
    try {
      return { own, data: JSON.stringify(own) }
    } catch (reason) {
      const error = asError(reason)
      this.#reply.log.error(error, 'The answer to a call is not JSON, and has not been sent')
      const instead = toErrorAnswer(clientId, -32603, `The answer is not JSON: ${error.message}`)
      return { own: instead, data: JSON.stringify(instead) }
    }
  }

  // If it cannot go out, the outlet ends the stream with the reason.
  #emitAnswer (call: Call, data: string): void {
    const shorten = (): string => JSON.stringify(toErrorAnswer(call.clientId, -32000, NOT_KEPT))
    this.outlet.emit(data, this.#pending(), shorten)?.catch(() => {})
  }

  #pending (): RequestId[] {
    return Array.from(this.#calls, ({ clientId }) => clientId)
  }

  #openStream (): void {
    clearTimeout(this.#patience)
    if (this.#stream !== undefined || this.#isGone) return
    this.#stream = new PostStream(this.#reply, this.#options.stream)
    this.outlet.attach(this.#stream)
    if (this.#options.isPrimed) this.outlet.prime(this.#pending())
    for (const answer of this.#answers.splice(0)) this.outlet.emit(answer, this.#pending())?.catch(() => {})
  }

  #finishIfOver (): void | Promise<void> {
    if (this.isPending) return
    clearTimeout(this.#patience)
    const sent = this.#sendRest()
    if (sent instanceof Promise) return sent.finally(this.#options.onSettled)
    this.#options.onSettled()
  }

  #sendRest (): void | Promise<void> {
    if (this.#answers.length > 0) return this.outlet.pass(() => this.#sendJson(), (error) => this.#sendError(error))
    this.#openStream()
    return this.outlet.finish()
  }

  #sendJson (): void {
    const { raw } = this.#reply
    if (this.#reply.sent || raw.destroyed) return
    const answers = this.#answers
    this.#reply.header('content-type', 'application/json; charset=utf-8')
    this.#reply.send(this.#options.isBatch ? `[${answers.join()}]` : answers[0])
  }

  #sendError (error: Error): void {
    if (!this.#reply.sent) this.#reply.send(error)
  }
}

function toCancelled ({ clientId }: Call): string {
  return JSON.stringify(toErrorAnswer(clientId, -32000, CANCELLED))
}
