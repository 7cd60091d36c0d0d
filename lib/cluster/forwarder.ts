import { createHmac, timingSafeEqual } from 'node:crypto'
import { EventEmitter } from 'node:events'
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Agent, type Dispatcher } from 'undici'
import type { ForwardMessage } from '../observe/channels.js'
import { traceForward, type Trace } from '../observe/trace.js'
import type { Peer } from './directory.js'

/** How a node shows the owner of a session that it, and not a client, has passed the request on: a signature. */
export const FORWARDED_HEADER = 'mcp-session-forwarded'

/** RFC 9110, section 7.6.1: these belong to one connection. A client's `Expect` was answered by this node. */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection', 'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'proxy-connection', 'te', 'trailer',
  'transfer-encoding', 'upgrade', 'expect'
])

const BODILESS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'DELETE', 'OPTIONS'])

/** The owner failed after it may have begun to act on the request: nobody else may serve it now. */
export class ForwardError extends Error {
  override name = 'ForwardError'

  constructor (message: string, cause?: unknown) {
    super(message, { cause })
  }
}

export interface Hop {
  to: Peer
  /** The secret of the cluster. */
  secret: string
  /** Gives the owner up: for example, when its lease has lapsed. */
  signal?: AbortSignal | undefined
}

export interface ForwarderOptions {
  /** Milliseconds until a node that does not take a connection counts as unreachable. Default 1000. */
  connectTimeout?: number
}

/** Passes requests on to other nodes. One per app: it keeps connections open. */
export class Forwarder {
  readonly #agent: Agent

  constructor ({ connectTimeout = 1000 }: ForwarderOptions = {}) {
    // No timeouts on answers: a tool may run for long, and a stream may be quiet. `signal` ends what is dead.
    this.#agent = new Agent({ headersTimeout: 0, bodyTimeout: 0, connect: { timeout: connectTimeout } })
  }

  /**
   * Passes a request on whose body has not been read, and sends the answer as the reply: a stream both ways.
   *
   * True: the reply has been sent. False: the owner could not be reached, or gave no sign of life before
   * `signal`, and the request is as it was: it may be forwarded again or served here. Rejects with a
   * `ForwardError` when part of the body had been read by then, or when the client has gone away.
   */
  async forward (request: FastifyRequest, reply: FastifyReply, hop: Hop): Promise<boolean> {
    if (hop.signal?.aborted) return false
    const body = new RequestBody(request.raw)
    const hangUp = new HangUp(reply, hop.signal)
    const headers = forwardHeaders(request, hop)
    const trace = traceHop(request, hop, headers)
    const send = (): Promise<Dispatcher.ResponseData> => this.#agent.request({
      origin: hop.to.url,
      path: request.originalUrl,
      method: request.method,
      headers,
      body: body.isEmpty ? null : body,
      signal: hangUp
    })
    let answer: Dispatcher.ResponseData
    try {
      answer = await (trace === undefined ? send() : trace.run(send))
      trace?.end({ statusCode: answer.statusCode })
    } catch (error) {
      trace?.end({ error })
      hangUp.release()
      if (reply.raw.destroyed) throw new ForwardError('The client has gone away', error)
      if (body.wasRead) throw new ForwardError('The node that owns the session failed', error)
      return false
    }
    sendAnswer(reply, answer)
    return true
  }

  /** Ends every connection, with whatever still runs on it. */
  close (): Promise<void> {
    return this.#agent.destroy()
  }
}

/**
 * Whether a node of this cluster has passed the request on to this one. False also for a header without the
 * signature of this very request, as when a client made it up.
 */
export function isForwarded (request: FastifyRequest, { node, secret }: { node: string, secret: string }): boolean {
  const header = request.headers[FORWARDED_HEADER]
  // Before a node has learned the secret, it can trust nobody.
  if (typeof header !== 'string' || secret === '') return false
  const expected = Buffer.from(sign(request, node, secret))
  const given = Buffer.from(header)
  return given.length === expected.length && timingSafeEqual(given, expected)
}

function traceHop ({ method, server, headers: { 'mcp-session-id': id } }: FastifyRequest, { to: { url } }: Hop, headers: IncomingHttpHeaders): Trace<ForwardMessage> | undefined {
  return traceForward(() => ({ sessions: server.sessionManager, sessionId: String(id), url, method, headers }))
}

/** Bound to the request and to the node it is for: of no use for any other. */
function sign ({ method, originalUrl, headers }: FastifyRequest, to: string, secret: string): string {
  const text = JSON.stringify([to, method, originalUrl, headers['mcp-session-id']])
  return createHmac('sha256', secret).update(text).digest('base64url')
}

function forwardHeaders (request: FastifyRequest, { to, secret }: Hop): IncomingHttpHeaders {
  const { headers, socket } = request.raw
  const dropped = hopByHop(headers)
  const forwarded: IncomingHttpHeaders = {}
  for (const name in headers) {
    // Nodes speak HTTP/1.1 with each other, which has no pseudo headers.
    if (!dropped.has(name) && !name.startsWith(':')) forwarded[name] = headers[name]
  }
  if (request.raw.httpVersionMajor > 1) forwarded.host = request.host
  forwarded[FORWARDED_HEADER] = sign(request, to.node, secret)
  forwarded['x-forwarded-for'] = [headers['x-forwarded-for'], socket.remoteAddress].filter(Boolean).join(', ')
  return forwarded
}

/** The names of the headers that are not passed on: `connection` can add some. */
function hopByHop ({ connection }: IncomingHttpHeaders): ReadonlySet<string> {
  if (connection === undefined || connection === 'keep-alive' || connection === 'close') return HOP_BY_HOP
  const named = String(connection).toLowerCase().split(',').map(name => name.trim())
  return new Set([...HOP_BY_HOP, ...named])
}

/** The answer went through the hooks of its own node; what hooks here have set as well is not sent twice. */
function sendAnswer (reply: FastifyReply, { statusCode, headers, body }: Dispatcher.ResponseData): void {
  const dropped = hopByHop(headers)
  for (const name in headers) {
    if (name === 'set-cookie') addCookies(reply, headers[name])
    else if (!dropped.has(name)) reply.header(name, headers[name])
  }
  reply.code(statusCode)
  const { readableLength } = body
  // Most answers are here at once, and then cost less in one piece.
  if (readableLength > 0 && readableLength === Number(headers['content-length'])) {
    reply.send(body.read())
    return
  }
  // Otherwise the head of a quiet SSE stream waits for the first event.
  if (readableLength === 0) reply.raw.once('pipe', () => reply.raw.flushHeaders())
  reply.send(body)
}

// reply.header() replaces all other headers, but adds to these.
function addCookies (reply: FastifyReply, cookies: string | string[] | undefined): void {
  const known = new Set([reply.getHeader('set-cookie')].flat())
  const added = [cookies].flat().filter(cookie => !known.has(cookie))
  if (added.length > 0) reply.header('set-cookie', added)
}

/**
 * Ends the request to the owner when the client goes away or the owner is given up. undici takes an emitter
 * for its signal, which costs a fraction of an AbortController.
 */
class HangUp extends EventEmitter {
  readonly #reply: FastifyReply
  readonly #signal: AbortSignal | undefined
  readonly #onAbort = (): void => { this.emit('abort') }
  readonly #onClose = (): void => {
    this.release()
    if (!this.#reply.raw.writableFinished) this.emit('abort')
  }

  constructor (reply: FastifyReply, signal: AbortSignal | undefined) {
    super()
    this.#reply = reply
    this.#signal = signal
    reply.raw.on('close', this.#onClose)
    signal?.addEventListener('abort', this.#onAbort)
  }

  release (): void {
    this.#reply.raw.off('close', this.#onClose)
    this.#signal?.removeEventListener('abort', this.#onAbort)
  }
}

/**
 * The body of the client's request, which stays unread until there is a connection to send it on: undici
 * reads from a stream only then. Unlike a pipe or an iterator, the end of this stream leaves the request
 * open, so that the client can still get an answer.
 */
class RequestBody extends Readable {
  wasRead = false
  readonly #raw: IncomingMessage
  readonly #onData = (chunk: Uint8Array): void => { if (!this.push(chunk)) this.#raw.pause() }
  readonly #onEnd = (): void => { this.push(null) }

  constructor (raw: IncomingMessage) {
    super()
    this.#raw = raw
  }

  get isEmpty (): boolean {
    const { headers: { 'content-length': length, 'transfer-encoding': encoding }, httpVersionMajor, method = '' } = this.#raw
    // HTTP/2 need not say ahead that there is a body.
    if (httpVersionMajor > 1 && length === undefined) return BODILESS.has(method)
    return encoding === undefined && Number(length ?? 0) === 0
  }

  override _read (): void {
    if (!this.wasRead) this.#raw.on('data', this.#onData).once('end', this.#onEnd)
    this.wasRead = true
    this.#raw.resume()
  }

  override _destroy (error: Error | null, done: (error: Error | null) => void): void {
    this.#raw.off('data', this.#onData).off('end', this.#onEnd)
    done(error)
  }
}
