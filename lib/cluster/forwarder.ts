import type { FastifyReply, FastifyRequest } from 'fastify'
import { Agent, type Dispatcher } from 'undici'
import { traceForward } from '../observe/trace.js'
import type { Peer } from './directory.js'
import { ForwardedAnswer } from './forwarded-answer.js'
import { passOnHeaders } from './hop-headers.js'
import type { HopOutcome } from './hop-outcome.js'
import { signHop } from './hop-signature.js'
import type { KeptBody } from './kept-body.js'

export interface Hop {
  to: Peer
  /** The secret of the cluster. */
  secret: string
  /** The body of the request. */
  body: KeptBody
  /** Gives the owner up: for example, when its lease has lapsed. */
  signal?: AbortSignal | undefined
}

export interface ForwarderOptions {
  /** Makes the connections. Who made it closes it. By default the forwarder has one of its own. */
  dispatcher?: Dispatcher | undefined
  /** Milliseconds until a node that does not take a connection counts as unreachable, without `dispatcher`. Default 1000. */
  connectTimeout?: number
}

/** Passes requests on to other nodes. One per app: it keeps connections open. */
export class Forwarder {
  readonly #dispatcher: Dispatcher
  readonly #own: Dispatcher | undefined
  readonly #running = new Set<ForwardedAnswer>()

  constructor ({ dispatcher, connectTimeout = 1000 }: ForwarderOptions = {}) {
    this.#dispatcher = dispatcher ?? new Agent({ connect: { timeout: connectTimeout } })
    this.#own = dispatcher === undefined ? this.#dispatcher : undefined
  }

  /**
   * Passes a request on, and sends the answer as the reply: a stream both ways. Rejects with a `ForwardError` when the
   * owner may have begun to act on the request before it failed, or when the client has gone away.
   */
  async forward (request: FastifyRequest, reply: FastifyReply, { to, secret, body, signal }: Hop): Promise<HopOutcome> {
    if (signal?.aborted === true) return { kind: 'lost' }
    const { method, originalUrl: url, ip, protocol, host } = request
    const { header, proof } = signHop({ node: to.node, method, url, sessionId: request.headers['mcp-session-id'] }, { ip, protocol, host }, secret)
    const headers = passOnHeaders(request, header)
    const trace = traceForward(() => ({ sessions: request.server.sessionManager, sessionId: String(headers['mcp-session-id']), url: to.url, method, headers }))
    const reader = body.isEmpty ? undefined : body.open()
    const answer = new ForwardedAnswer({ reply, proof, signal, trace, body: reader })
    this.#running.add(answer)
    answer.onOver = () => this.#running.delete(answer)
    // A tool may run for long, and a stream may be quiet: no timeouts here. `signal` ends what is dead.
    const send = (): boolean => this.#dispatcher.dispatch({
      origin: to.url, path: url, method, headers, body: reader ?? null, headersTimeout: 0, bodyTimeout: 0
    }, answer)
    if (trace === undefined) send()
    else trace.run(send)
    return answer.outcome
  }

  /** Ends what still runs, and the connections that are its own. */
  async close (): Promise<void> {
    for (const answer of this.#running) answer.cut()
    await this.#own?.destroy()
  }
}
