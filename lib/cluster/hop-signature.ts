import { timingSafeEqual } from 'node:crypto'
import { createSigner } from './hmac.js'

/** In a request: shows the owner of a session that a node, and not a client, has passed it on. */
export const FORWARDED_HEADER = 'mcp-session-forwarded'
/** In an answer: shows that the owner, and not something else at its address, has given it. It never reaches a client. */
export const ANSWER_HEADER = 'mcp-session-answer'
/** In a question about hops: their ids. In the answer to it: what `formatReport` says of them. Neither ever reaches a client. */
export const HOPS_HEADER = 'mcp-session-hops'

/** Who has sent a request, as seen by the node to which the request came first. */
export interface Caller {
  readonly ip: string
  readonly protocol: string
  readonly host: string
}

/** What a signature is bound to: it is of no use for any other request, nor for another node. */
export interface SignedRequest {
  /** The incarnation that the request is for. */
  readonly node: string
  readonly method: string | undefined
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
  /** What the answer has to bring: only somebody who knows the secret can tell. */
  readonly proof: string
}

export interface VerifiedHop {
  readonly node: string
  /** The name by which both nodes know the hop. Empty for a question about other hops. */
  readonly id: string
  readonly caller: Caller
  readonly proof: string
}

// A signature has 43 characters. The first 22 go along with the request, the others have to come with the answer: 132 and 126 bits.
const HALF = 22

/** @param id the name by which both nodes know the hop */
export function signHop (request: SignedRequest, caller: Caller, secret: string, id = ''): SignedHop {
  const text = JSON.stringify([caller.ip, caller.protocol, caller.host, id])
  const signature = sign(request.node, request, text, secret)
  return { header: `${signature.slice(0, HALF)} ${request.node} ${text}`, proof: signature.slice(HALF) }
}

/** Reads `FORWARDED_HEADER`. Undefined for a header that no node has signed for this very request. */
export function verifyHop (
  header: string | string[] | undefined,
  request: Omit<SignedRequest, 'node'>,
  secret: string
): VerifiedHop | undefined {
  // Before a node has learned the secret, it can trust nobody.
  if (typeof header !== 'string' || secret === '') return undefined
  const nodeEnd = header.indexOf(' ', HALF + 1)
  if (header[HALF] !== ' ' || nodeEnd === -1) return undefined
  const node = header.slice(HALF + 1, nodeEnd)
  const text = header.slice(nodeEnd + 1)
  const signature = sign(node, request, text, secret)
  if (!isSame(header.slice(0, HALF), signature.slice(0, HALF))) return undefined
  const [ip, protocol, host, id = '']: string[] = JSON.parse(text)
  return { node, id, caller: { ip: String(ip), protocol: String(protocol), host: String(host) }, proof: signature.slice(HALF) }
}

/** The value of `ANSWER_HEADER`. */
export function signAnswer (proof: string, state: AnswerState): string {
  return `${proof} ${state}`
}

/** Reads `ANSWER_HEADER`. Undefined for an answer that no node of this cluster has given to this very request. */
export function readAnswer (header: string | string[] | undefined, proof: string): AnswerState | undefined {
  return STATES.find((state) => header === signAnswer(proof, state))
}

const STATES: readonly AnswerState[] = ['served', 'refused', 'misdirected']

// The last signer is kept: the secret of the cluster changes only when Redis has lost its data.
let signer = { secret: '', sign: createSigner('') }

function sign (node: string, { method, url, sessionId }: Omit<SignedRequest, 'node'>, caller: string, secret: string): string {
  if (signer.secret !== secret) signer = { secret, sign: createSigner(secret) }
  return signer.sign(JSON.stringify([node, method, url, sessionId, caller]))
}

// Used again for each comparison, so that none has to be allocated.
const given = Buffer.alloc(HALF)
const wanted = Buffer.alloc(HALF)

function isSame (token: string, signature: string): boolean {
  given.write(token, 'latin1')
  wanted.write(signature, 'latin1')
  return timingSafeEqual(given, wanted)
}
