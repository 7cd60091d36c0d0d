import type { FastifyReply } from 'fastify'
import type { IncomingHttpHeaders } from 'node:http'
import { Readable } from 'node:stream'
import type { Dispatcher } from 'undici'
import type { ForwardMessage } from '../observe/channels.js'
import type { Trace } from '../observe/trace.js'
import { takeOverHeaders } from './hop-headers.js'
import { ForwardError, type HopOutcome } from './hop-outcome.js'
import { ANSWER_HEADER, readAnswer } from './hop-signature.js'
import { BodyReader, WholeBody } from './kept-body.js'
import { SilenceError, type OpenHop } from './open-hops.js'

type Controller = Dispatcher.DispatchController

// The methods that are idempotent by https://www.rfc-editor.org/rfc/rfc9110#section-9.2.2.
const REPEATABLE: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE'])
// A server answers so before it reads the request, and cannot sign that. The head can be too large for the owner and not for this
// node, because nodes add headers of their own.
const TOO_LARGE_HEAD = 431

export interface ForwardedAnswerOptions {
  /** The name by which both nodes know the hop. */
  readonly id: string
  readonly reply: FastifyReply
  /** What the owner's answer has to bring. */
  readonly proof: string
  readonly signal: AbortSignal | undefined
  /** The body of the request; undefined: it has none. */
  readonly body: WholeBody | BodyReader | undefined
  readonly trace: Trace<ForwardMessage> | undefined
}

/** A request on its way to another node: takes the answer of that node in, and sends it as the reply. */
export class ForwardedAnswer implements Dispatcher.DispatchHandler, OpenHop {
  readonly id: string
  quietSince = performance.now()
  received = 0
  encoding: string | undefined
  /** Settles when the answer has begun, or will never come. Rejects with a `ForwardError`. */
  readonly outcome: Promise<HopOutcome>
  /** Called when nothing more will come. */
  onOver: (() => void) | undefined
  readonly #reply: FastifyReply
  readonly #proof: string
  readonly #signal: AbortSignal | undefined
  readonly #requestBody: WholeBody | BodyReader | undefined
  readonly #trace: Trace<ForwardMessage> | undefined
  #resolve: ((outcome: HopOutcome) => void) | undefined
  #reject: ((error: ForwardError) => void) | undefined
  #controller: Controller | undefined
  // Whether the answer is not for the client, and is thrown away.
  #isIgnored = false
  #isSettled = false
  #isOver = false
  #length = NaN
  #whole: Buffer | undefined
  #body: AnswerBody | undefined

  constructor ({ id, reply, proof, signal, body, trace }: ForwardedAnswerOptions) {
    this.id = id
    this.#reply = reply
    this.#proof = proof
    this.#signal = signal
    this.#requestBody = body
    this.#trace = trace
    this.outcome = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    reply.raw.on('close', this.#onClose)
    signal?.addEventListener('abort', this.#onLost)
  }

  /** Ends the hop, however far it has come. */
  cut (reason: Error): void {
    if (this.#controller !== undefined) this.#controller.abort(reason)
    else this.#fail(reason)
  }

  onRequestStart (controller: Controller): void {
    this.#controller = controller
    if (this.#isOver) controller.abort(new Error('The request was cut off before there was a connection'))
    else if (this.#requestBody instanceof WholeBody) this.#requestBody.send()
  }

  onResponseStart (controller: Controller, status: number, headers: IncomingHttpHeaders): void {
    this.quietSince = performance.now()
    if (status < 200) return
    this.#trace?.end({ statusCode: status })
    const state = readAnswer(headers[ANSWER_HEADER], this.#proof)
    if (state === 'served' || status === TOO_LARGE_HEAD) {
      this.#begin(status, headers)
      return
    }
    this.#isIgnored = true
    // The body is kept for the node that is asked next, which gets it from the beginning.
    if (this.#requestBody instanceof BodyReader) this.#requestBody.destroy()
    if (state !== undefined) {
      this.#settle({ kind: state })
      return
    }
    this.#settle({ kind: 'stranger', cause: new Error(`What answers there is no node of this cluster: it says ${status}`) })
    controller.abort(new Error('The answer is not wanted'))
  }

  onResponseData (controller: Controller, chunk: Buffer): void {
    if (this.#isIgnored) return
    this.quietSince = performance.now()
    this.received += chunk.length
    // Most answers come in one chunk, which costs less to send than a stream.
    if (this.#body === undefined && chunk.length === this.#length) this.#whole = chunk
    else if (!this.#open(controller).push(chunk)) this.#pause(controller)
  }

  // While the client does not take more, nothing is expected of the owner.
  #pause (controller: Controller): void {
    this.quietSince = Infinity
    controller.pause()
  }

  readonly #resume = (): void => {
    this.quietSince = performance.now()
    this.#controller?.resume()
  }

  onResponseEnd (controller: Controller): void {
    // As a stream, even though it is empty: of anything else Fastify would set the content-length, which here is that of GET.
    if (this.#reply.request.method === 'HEAD' && !this.#isIgnored) this.#open(controller)
    if (this.#body !== undefined) this.#body.push(null)
    else if (!this.#isIgnored) this.#send(this.#whole)
    this.#end()
  }

  onResponseError (_controller: Controller | undefined, error: Error): void {
    if (this.#body === undefined) this.#fail(error)
    else this.#body.destroy(error)
    this.#end()
  }

  readonly #onClose = (): void => {
    if (!this.#reply.raw.writableFinished) this.cut(new Error('The client has gone away'))
  }

  readonly #onLost = (): void => { this.cut(new Error('The lease of the node that owns the session is over')) }

  #begin (status: number, headers: IncomingHttpHeaders): void {
    if (this.#requestBody instanceof WholeBody) this.#requestBody.drop()
    // Somebody here may have answered meanwhile, such as a timeout.
    if (this.#reply.sent) {
      this.#isIgnored = true
      this.cut(new Error('The request was answered here'))
      return
    }
    takeOverHeaders(this.#reply, headers)
    this.encoding = String(headers['content-encoding'] ?? '')
    this.#reply.code(status)
    this.#length = Number(headers['content-length'] ?? NaN)
    process.nextTick(this.#openLate)
  }

  // Sends the head of a stream that says nothing yet, which would otherwise wait for the first event.
  readonly #openLate = (): void => {
    if (this.#isOver || this.#body !== undefined || this.#whole !== undefined || this.#controller === undefined) return
    const { raw } = this.#reply
    raw.once('pipe', () => raw.flushHeaders())
    this.#open(this.#controller)
  }

  #open (controller: Controller): AnswerBody {
    if (this.#body !== undefined) return this.#body
    this.#body = new AnswerBody(controller, this.#resume)
    this.#send(this.#body)
    return this.#body
  }

  #send (payload: Readable | Buffer | undefined): void {
    this.#reply.send(payload)
    this.#settle({ kind: 'answered' })
  }

  #fail (cause: Error): void {
    this.#trace?.end({ error: cause })
    if (this.#reply.raw.destroyed) this.#refuse(new ForwardError('The client has gone away', cause))
    else if (cause instanceof SilenceError) this.#settle({ kind: 'silent', cause })
    else if (this.#mayHaveBegun()) this.#refuse(new ForwardError('The node that owns the session failed', cause))
    else this.#settle(this.#signal?.aborted === true ? { kind: 'lost' } : { kind: 'unreachable', cause })
    this.#end()
  }

  // Whether the owner may have begun to act on the request. A body says so: it has been read, or not. A request without one may
  // have gone out with its head, which matters unless its method may be carried out twice.
  #mayHaveBegun (): boolean {
    if (this.#requestBody !== undefined) return this.#requestBody.wasRead
    return this.#controller !== undefined && !REPEATABLE.has(this.#reply.request.method)
  }

  #settle (outcome: HopOutcome): void {
    this.#isSettled = true
    this.#resolve?.(outcome)
  }

  #refuse (error: ForwardError): void {
    if (this.#requestBody instanceof WholeBody) this.#requestBody.drop()
    if (!this.#isSettled) this.#reject?.(error)
    this.#isSettled = true
  }

  #end (): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#reply.raw.off('close', this.#onClose)
    this.#signal?.removeEventListener('abort', this.#onLost)
    this.onOver?.()
  }
}

/** The body of an answer, read no faster than the client takes it. */
class AnswerBody extends Readable {
  readonly #controller: Controller
  readonly #resume: () => void

  constructor (controller: Controller, resume: () => void) {
    super()
    this.#controller = controller
    this.#resume = resume
  }

  override _read (): void {
    this.#resume()
  }

  override _destroy (error: Error | null, done: (error: Error | null) => void): void {
    if (!this.readableEnded) this.#controller.abort(error ?? new Error('Nobody reads the answer'))
    done(error)
  }
}
