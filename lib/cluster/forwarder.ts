import type { FastifyReply, FastifyRequest } from 'fastify'
import { randomBytes } from 'node:crypto'
import { Agent, type Dispatcher } from 'undici'
import { traceForward } from '../observe/trace.js'
import type { Peer } from './directory.js'
import { ForwardedAnswer } from './forwarded-answer.js'
import { passOnHeaders } from './hop-headers.js'
import type { HopOutcome } from './hop-outcome.js'
import { HopPing } from './hop-ping.js'
import type { HopReport } from './hop-report.js'
import { FORWARDED_HEADER, HOPS_HEADER, signHop } from './hop-signature.js'
import { WholeBody, type KeptBody } from './kept-body.js'
import { OpenHops, SilenceError } from './open-hops.js'

export interface Hop {
  to: Peer
  /** The secret of the cluster. */
  secret: string
  /** The body of the request. */
  body: KeptBody
  /** Aborts when the owner is given up, such as when its lease is over. */
  signal?: AbortSignal | undefined
  /** Milliseconds in which the owner must say that it has the request. Left out: only `probe` and `giveUp` find out that it is lost. */
  patience?: number | undefined
}

export interface ForwarderOptions {
  /**
   * Makes the connections. Who made it closes it.
   *
   * @default one of the forwarder's own
   */
  dispatcher?: Dispatcher | undefined
  /**
   * Milliseconds until a node that does not take a connection counts as unreachable, without `dispatcher`.
   *
   * @default 1000
   */
  connectTimeout?: number
  /**
   * The path at which nodes ask each other.
   *
   * @default '/'
   */
  pingPath?: string
}

export interface Probe {
  /** The secret of the cluster. */
  secret: string
  /** Milliseconds for which a hop may be missing. The answer to the question may take half as long. */
  patience: number
}

/** Passes requests on to other nodes. One per app: it keeps connections open. */
export class Forwarder {
  readonly #dispatcher: Dispatcher
  readonly #own: Dispatcher | undefined
  readonly #pingPath: string
  readonly #hops = new OpenHops()
  readonly #pings = new Set<HopPing>()
  // What the ids of all hops of this process begin with, so that no other process has the same.
  readonly #name = randomBytes(6).toString('base64url')
  #count = 0

  constructor ({ dispatcher, connectTimeout = 1000, pingPath = '/' }: ForwarderOptions = {}) {
    this.#dispatcher = dispatcher ?? new Agent({ connect: { timeout: connectTimeout } })
    this.#own = dispatcher === undefined ? this.#dispatcher : undefined
    this.#pingPath = pingPath
  }

  /**
   * Passes a request on, and sends the answer as the reply: a stream both ways. Rejects with a `ForwardError` when the
   * owner may have begun to act on the request before it failed, or when the client has gone away.
   */
  async forward (request: FastifyRequest, reply: FastifyReply, { to, secret, body, signal, patience }: Hop): Promise<HopOutcome> {
    if (signal?.aborted === true) return { kind: 'lost' }
    const { method, originalUrl: url, ip, protocol, host } = request
    const id = `${this.#name}${(this.#count++).toString(36)}`
    const sessionId = request.headers['mcp-session-id']
    const { header, proof } = signHop({ node: to.node, method, url, sessionId }, { ip, protocol, host }, secret, id)
    const headers = passOnHeaders(request, header)
    const { sessionManager: sessions } = request.server
    const trace = traceForward(() => ({ sessions, sessionId: String(headers['mcp-session-id']), url: to.url, method, headers }))
    const sent = body.begin()
    const answer = new ForwardedAnswer({ id, reply, proof, signal, trace, body: sent })
    answer.onOver = this.#hops.add(to.node, answer, patience)
    // A tool may run for long, and a stream may be quiet: no timeouts here. `signal` and `probe` end what is dead.
    const send = (): boolean => this.#dispatcher.dispatch({
      origin: to.url,
      path: url,
      method,
      headers,
      body: sent instanceof WholeBody ? sent.data : sent ?? null,
      headersTimeout: 0,
      bodyTimeout: 0
    }, answer)
    if (trace === undefined) send()
    else trace.run(send)
    return answer.outcome
  }

  /**
   * Asks a node whether it is there, and ends the hops to it that are lost: those that it says it does not have, and those of
   * whose answer it has written more than has come. Resolves when it has answered, or cannot be asked for now; rejects with
   * the cause when it does not answer.
   */
  async probe (to: Peer, { secret, patience }: Probe): Promise<void> {
    const asked = performance.now()
    const hops = this.#hops.pick(to.node, asked - patience / 10)
    const report = await this.#ping(to, hops.map(({ id }) => id), { secret, patience: patience / 2 })
    if (report !== undefined) this.#hops.judge(to.node, { hops, report, asked, patience })
  }

  /** Ends those hops to a node that does not answer of which nothing has come for `quietFor` milliseconds. */
  giveUp ({ node }: Peer, quietFor: number, cause: unknown): void {
    this.#hops.cutQuiet(node, performance.now() - quietFor, new SilenceError('The node is silent', cause))
  }

  /** Ends what still runs, and the forwarder's own connections. */
  async close (): Promise<void> {
    const reason = new Error('This node is closing')
    this.#hops.cutAll(reason)
    for (const ping of this.#pings) ping.cut(reason)
    await this.#own?.destroy()
  }

  #ping (to: Peer, ids: readonly string[], { secret, patience }: Probe): Promise<HopReport | undefined> {
    const path = this.#pingPath
    const { header, proof } = signHop({ node: to.node, method: 'GET', url: path, sessionId: undefined }, NOBODY, secret)
    return new Promise((resolve, reject) => {
      const ping = new HopPing({
        proof,
        patience,
        onOver: (outcome) => {
          this.#pings.delete(ping)
          if (outcome instanceof Error) reject(outcome)
          else resolve(outcome)
        }
      })
      this.#pings.add(ping)
      const headers = { [FORWARDED_HEADER]: header, [HOPS_HEADER]: ids.join() }
      const isReady = this.#dispatcher.dispatch({ origin: to.url, path, method: 'GET', headers, headersTimeout: 0, bodyTimeout: 0 }, ping)
      if (isReady) return
      ping.queue()
      this.#hops.wait(to.node)
    })
  }
}

// The caller of a question to another node: it is not passed on for anybody.
const NOBODY = { ip: '', protocol: '', host: '' }
