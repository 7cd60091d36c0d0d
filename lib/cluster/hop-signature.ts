import { createHmac, timingSafeEqual } from 'node:crypto'

/** How a node shows the owner of a session that it, and not a client, has passed the request on. */
export const FORWARDED_HEADER = 'mcp-session-forwarded'
/** How the owner shows that it, and not something else at its address, has answered. It never reaches a client. */
export const ANSWER_HEADER = 'mcp-session-answer'

/** In a question about hops: their ids. In the answer: what `formatReport` says of them. Neither ever reaches a client. */
export const HOPS_HEADER = 'mcp-session-hops'

/** Who has sent a request, as the node knows it to which the request came first. */
export interface Caller {
  readonly ip: string
  readonly protocol: string
  readonly host: string
}

/** What a signature is bound to: it is of no use for any other request, nor for another node. */
export interface SignedRequest {
  /** The incarnation that the request is for. */
  readonly node: string
  readonly method: string
  readonly url: string
  readonly sessionId: string | string[] | undefined
}

/**
 * `refused`: the node that answers does not serve the session, and has done nothing.
 * `misdirected`: the same, and it is not the node that the request was for.
 */
export type AnswerState = 'served' | 'refused' | 'misdirected'

export interface SignedHop {
  /** The value of `FORWARDED_HEADER`. */
  readonly header: string
  /** What only who knows the secret can answer to it. */
  readonly proof: string
}

export interface VerifiedHop {
  readonly node: string
  /** Empty for a question about others. */
  readonly id: string
  readonly caller: Caller
  readonly proof: string
}

// Of the 43 characters of the signature, which one half asks for and the other answers: 132 and 126 bits.
const HALF = 22

/** @param id by which both nodes know the hop */
export function signHop (request: SignedRequest, caller: Caller, secret: string, id = ''): SignedHop {
  const text = JSON.stringify([caller.ip, caller.protocol, caller.host, id])
  const signature = sign(request, text, secret)
  return { header: `${signature.slice(0, HALF)} ${request.node} ${text}`, proof: signature.slice(HALF) }
}

/** Undefined for a header that no node has signed for this very request. */
export function verifyHop (header: string | string[] | undefined, request: Omit<SignedRequest, 'node'>, secret: string): VerifiedHop | undefined {
  // Before a node has learned the secret, it can trust nobody.
  if (typeof header !== 'string' || secret === '') return undefined
  const [token = '', node = ''] = header.split(' ', 2)
  const text = header.slice(token.length + node.length + 2)
  const signature = sign({ ...request, node }, text, secret)
  const given = Buffer.from(token)
  if (given.length !== HALF || !timingSafeEqual(given, Buffer.from(signature.slice(0, HALF)))) return undefined
  const [ip, protocol, host, id = '']: string[] = JSON.parse(text)
  return { node, id, caller: { ip: String(ip), protocol: String(protocol), host: String(host) }, proof: signature.slice(HALF) }
}

/** The value of `ANSWER_HEADER`. */
export function signAnswer (proof: string, state: AnswerState): string {
  return `${proof} ${state}`
}

/** Undefined for an answer that is not the one of a node of this cluster to this very request. */
export function readAnswer (header: string | string[] | undefined, proof: string): AnswerState | undefined {
  return STATES.find((state) => header === signAnswer(proof, state))
}

const STATES: readonly AnswerState[] = ['served', 'refused', 'misdirected']

function sign ({ node, method, url, sessionId }: SignedRequest, caller: string, secret: string): string {
  return createHmac('sha256', secret).update(JSON.stringify([node, method, url, sessionId, caller])).digest('base64url')
}
