import { createHmac, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Agent, type Dispatcher } from 'undici'
import type { Peer } from './directory.js'

/** How a node tells the owner of a session who passes a request on, and for whom. */
export const FORWARDED_HEADER = 'mcp-session-forwarded'

/** RFC 9110, section 7.6.1: these belong to one connection. A client's `Expect` was answered by this node. */
const HOP_BY_HOP = [
  'connection', 'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'proxy-connection', 'te', 'trailer',
  'transfer-encoding', 'upgrade', 'expect'
]

/** The owner failed after it may have begun to act on the request: nobody else may serve it now. */
export class ForwardError extends Error {
  override name = 'ForwardError'

  constructor (message: string, cause?: unknown) {
    super(message, { cause })
  }
}

export interface Forwarded {
  /** The incarnation id of the node that passed the request on. */
  from: string
  /** The principal as that node identified it. */
  principal: string | undefined
}

export interface Hop extends Forwarded {
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
    const body = new RequestBody(request.raw)
    const abort = abortWith(reply, hop.signal)
    let answer: Dispatcher.ResponseData
    try {
      answer = await this.#agent.request({
        origin: hop.to.url,
        path: request.originalUrl,
        method: request.method,
        headers: forwardHeaders(request, hop),
        body: body.isEmpty ? null : body,
        signal: abort.signal
      })
    } catch (error) {
      abort.release()
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
 * Tells whether a node of this cluster has passed the request on. `'invalid'`: it carries the header
 * without a signature for this request to this node, as it does when a client made it up.
 */
export function verifyForwarded (
  request: FastifyRequest, { node, secret }: { node: string, secret: string }
): Forwarded | 'invalid' | undefined {
  const header = request.headers[FORWARDED_HEADER]
  if (header === undefined) return
  const [claims = '', signature = ''] = String(header).split('.')
  const expected = Buffer.from(sign(request, claims, node, secret))
  const given = Buffer.from(signature)
  // Before a node has learned the secret, it can trust nobody.
  if (secret === '' || given.length !== expected.length || !timingSafeEqual(given, expected)) return 'invalid'
  const { from, principal }: Forwarded = JSON.parse(Buffer.from(claims, 'base64url').toString())
  return { from, principal }
}

/** Bound to the request and to the node it is for: of no use for any other. */
function sign (request: FastifyRequest, claims: string, to: string, secret: string): string {
  const { method, originalUrl, headers } = request
  const text = JSON.stringify([claims, to, method, originalUrl, headers['mcp-session-id']])
  return createHmac('sha256', secret).update(text).digest('base64url')
}

function forwardHeaders (request: FastifyRequest, { from, principal, to, secret }: Hop): IncomingHttpHeaders {
  const headers = withoutHopByHop(request.raw.headers)
  const claims = Buffer.from(JSON.stringify({ from, principal })).toString('base64url')
  headers[FORWARDED_HEADER] = `${claims}.${sign(request, claims, to.node, secret)}`
  const address = request.raw.socket.remoteAddress
  headers['x-forwarded-for'] = [headers['x-forwarded-for'], address].filter(Boolean).join(', ')
  return headers
}

function withoutHopByHop (headers: IncomingHttpHeaders): IncomingHttpHeaders {
  const named = [headers.connection].flat().join().toLowerCase().split(',').map(name => name.trim())
  const dropped = new Set([...HOP_BY_HOP, ...named])
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !dropped.has(name)))
}

/** The answer went through the hooks of its own node; what hooks here have set as well is not sent twice. */
function sendAnswer (reply: FastifyReply, { statusCode, headers, body }: Dispatcher.ResponseData): void {
  for (const [name, value] of Object.entries(withoutHopByHop(headers))) {
    const known = new Set([reply.getHeader(name)].flat().map(String))
    // reply.header() appends cookies, and replaces everything else.
    const values = [value].flat().filter(text => text !== undefined)
      .filter(text => name !== 'set-cookie' || !known.has(text))
    if (values.length > 0) reply.header(name, values.length === 1 ? values[0] : values)
  }
  // Otherwise the head of a quiet SSE stream waits for the first event.
  reply.raw.once('pipe', () => reply.raw.flushHeaders())
  reply.code(statusCode).send(body)
}

/** Ends the request to the owner when the client goes away or the owner is given up. */
function abortWith (reply: FastifyReply, signal?: AbortSignal): { signal: AbortSignal, release: () => void } {
  const controller = new AbortController()
  const abort = (): void => controller.abort()
  const release = (): void => {
    reply.raw.off('close', onClose)
    signal?.removeEventListener('abort', abort)
  }
  const onClose = (): void => {
    release()
    if (!reply.raw.writableFinished) abort()
  }
  reply.raw.once('close', onClose)
  signal?.addEventListener('abort', abort, { once: true })
  if (signal?.aborted) abort()
  return { signal: controller.signal, release }
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
    const { 'content-length': length, 'transfer-encoding': encoding } = this.#raw.headers
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
