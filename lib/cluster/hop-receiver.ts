import type { FastifyReply, FastifyRequest } from 'fastify'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { CountedAnswer } from './counted-answer.js'
import { formatReport } from './hop-report.js'
import { ANSWER_HEADER, FORWARDED_HEADER, HOPS_HEADER, signAnswer, verifyHop, type AnswerState, type VerifiedHop } from './hop-signature.js'
import type { ThisNode } from './this-node.js'

type Self = Pick<ThisNode, 'secret' | 'formerSecret' | 'incarnation' | 'isNew' | 'wasBefore'>

/** The requests that other nodes have passed on to this one. */
export class HopReceiver {
  readonly #self: Self
  readonly #hops = new WeakMap<IncomingMessage, VerifiedHop>()
  // Those that are not answered yet, by their ids.
  readonly #open = new Map<string, CountedAnswer>()
  #servedLast = -Infinity

  constructor (self: Self) {
    this.#self = self
  }

  /** When another node was served last, on the clock of `performance.now`. For a while it comes back without asking for the owner. */
  get servedLast (): number {
    return this.#servedLast
  }

  /** Signs the answers to requests of other nodes before Fastify sees them, so that an answer of a hook of the app is signed, too. */
  listen (server: Pick<Server, 'prependListener'>): void {
    server.prependListener('request', (raw, response) => { this.#receive(raw, response, raw.url) })
  }

  /**
   * Whether another node has passed the request on: to this one (`mine`), or to one that is not this (`misdirected`).
   * Undefined: no node has, whatever a client may have made up.
   */
  receive (request: FastifyRequest, reply: FastifyReply): 'mine' | 'misdirected' | undefined {
    // Fastify has more than one server when its host name has several addresses, and only the first is listened to.
    const hop = this.#hops.get(request.raw) ?? this.#receive(request.raw, reply.raw, request.originalUrl)
    if (hop === undefined) return undefined
    return this.#isMine(hop) ? 'mine' : 'misdirected'
  }

  isForwarded (request: FastifyRequest): boolean {
    return request.headers[FORWARDED_HEADER] !== undefined && this.#hops.has(request.raw)
  }

  /** Tells the node that has passed the request on to look for the session elsewhere. */
  refuse ({ raw }: FastifyRequest, reply: FastifyReply): void {
    const hop = this.#hops.get(raw)
    if (hop === undefined || reply.raw.headersSent) return
    this.#open.delete(hop.id)
    answer(reply.raw, hop, 'refused')
  }

  /** Gives the request the address, protocol and host that it had on the first node, whatever the app trusts here. */
  presentCaller (request: FastifyRequest): void {
    const caller = this.#hops.get(request.raw)?.caller
    if (caller === undefined) return
    // Fastify reads them from the connection and the headers, through getters of its prototype.
    Object.defineProperty(request, 'ip', { value: caller.ip, configurable: true, enumerable: true })
    Object.defineProperty(request, 'protocol', { value: caller.protocol, configurable: true, enumerable: true })
    Object.defineProperty(request, 'host', { value: caller.host, configurable: true, enumerable: true })
  }

  #receive (raw: IncomingMessage, response: ServerResponse, url = ''): VerifiedHop | undefined {
    const header = raw.headers[FORWARDED_HEADER]
    if (header === undefined) return undefined
    const { secret, formerSecret } = this.#self
    const request = { method: raw.method, url, sessionId: raw.headers['mcp-session-id'] }
    const hop = verifyHop(header, request, secret) ?? verifyHop(header, request, formerSecret)
    if (hop === undefined) return undefined
    this.#hops.set(raw, hop)
    answer(response, hop, this.#isMine(hop) ? 'served' : 'misdirected')
    const asked = raw.headers[HOPS_HEADER]
    if (typeof asked === 'string') this.#report(response, asked)
    else this.#keep(response, hop)
    return hop
  }

  #keep (response: ServerResponse, { id }: VerifiedHop): void {
    this.#open.set(id, new CountedAnswer(response))
    // A response closes only once, so that on() will do: once() would make a wrapper for every request.
    response.on('close', () => {
      // A request that was refused is not among them any more, and does not count as served.
      if (this.#open.delete(id)) this.#servedLast = performance.now()
    })
  }

  // In the head, so that it is told whatever the hooks of the app do with the question.
  #report (response: ServerResponse, asked: string): void {
    response.setHeader(HOPS_HEADER, formatReport(asked, this.#open))
  }

  // Whether the request is for this node. While this is new, so is one for a node that was here before: that has died.
  #isMine ({ node }: VerifiedHop): boolean {
    return node === this.#self.incarnation || this.#self.isNew || this.#self.wasBefore(node)
  }
}

// On the raw response, so that a reply that the app hijacks is signed as well.
function answer (response: ServerResponse, { proof }: VerifiedHop, state: AnswerState): void {
  response.setHeader(ANSWER_HEADER, signAnswer(proof, state))
}
