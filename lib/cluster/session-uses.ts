import type { SessionUse, SessionUses } from '../http/session-cluster.js'
import type { ParkedSet } from '../observe/parked-set.js'
import type { SessionManager } from '../session/session-manager.js'
import type { Session } from '../session/session.js'
import type { Directory, JsonObject } from './directory.js'
import type { NodeLease } from './lease.js'

export interface NodeUsesOptions {
  readonly directory: Pick<Directory, 'send'>
  readonly nodeLease: Pick<NodeLease, 'incarnation' | 'lease'>
  readonly sessions: Pick<SessionManager, 'list'>
  readonly parked: Pick<ParkedSet, 'size' | 'lastIds'>
  /** Milliseconds on a clock that never goes back. */
  readonly now?: () => number
}

// The types of messages between the mailboxes of nodes. A node of an older version ignores the types that it does not know.
const QUESTION = 'which-are-in-use'
const ANSWER = 'in-use'
// How many sessions in use are in one answer at most, and how many that are parked.
const MOST_TOLD = 500
// An answer is good for two leases and this, in milliseconds: whoever still looks has asked again long before that.
const GRACE = 6000
const IDLE: SessionUse = { inFlight: 0, streams: 0 }

interface Answer {
  readonly at: number
  readonly text: string
  /** Whether all sessions in use are in it, so that all others are idle. */
  readonly isWhole: boolean
  readonly uses: ReadonlyMap<string, SessionUse>
  /** Whether all parked sessions are in it, so that no other is parked. */
  readonly hasAllParked: boolean
  readonly parked: ReadonlySet<string>
}

/** Asks other nodes which of their sessions are in use or parked, and answers the same question about the sessions of this node. */
export class NodeUses implements SessionUses {
  version = 0
  readonly #options: NodeUsesOptions
  readonly #now: () => number
  readonly #asked = new Set<string>()
  readonly #answers = new Map<string, Answer>()

  constructor (options: NodeUsesOptions) {
    this.#options = options
    this.#now = options.now ?? (() => performance.now())
  }

  async ask (nodes: readonly string[]): Promise<void> {
    const { directory, nodeLease: { incarnation } } = this.#options
    if (incarnation === undefined) return
    const others = nodes.filter((node) => node !== incarnation)
    for (const node of this.#asked) if (!others.includes(node)) this.#drop(node)
    for (const node of others) this.#asked.add(node)
    await Promise.allSettled(others.map((node) => directory.send(node, { type: QUESTION, node: incarnation })))
  }

  useOf (node: string, id: string): SessionUse | undefined {
    const answer = this.#lastAnswer(node)
    return answer?.uses.get(id) ?? (answer?.isWhole ? IDLE : undefined)
  }

  isParked (node: string, id: string): boolean | undefined {
    const answer = this.#lastAnswer(node)
    if (answer?.parked.has(id)) return true
    return answer?.hasAllParked ? false : undefined
  }

  forget (): void {
    this.#asked.clear()
    this.#answers.clear()
  }

  /** Is given what other nodes have sent to this one. */
  hear (messages: readonly JsonObject[]): void {
    const askers = new Set<string>()
    for (const message of messages) {
      const { type, node } = message
      if (typeof node !== 'string') continue
      if (type === QUESTION) askers.add(node)
      if (type === ANSWER && this.#asked.has(node)) this.#learn(node, message)
    }
    if (askers.size > 0) this.#tell(askers)
  }

  #lastAnswer (node: string): Answer | undefined {
    const answer = this.#answers.get(node)
    return answer !== undefined && this.#now() <= answer.at + 2 * this.#options.nodeLease.lease + GRACE ? answer : undefined
  }

  #tell (askers: ReadonlySet<string>): void {
    const { directory, nodeLease: { incarnation }, sessions, parked } = this.#options
    if (incarnation === undefined) return
    const busy = sessions.list().filter(({ activeRequests }) => activeRequests > 0)
    // Sessions with calls first: nearly every client keeps a stream open, so that says little.
    const first = [...busy.filter(hasCalls), ...busy.filter((session) => !hasCalls(session))].slice(0, MOST_TOLD)
    const answer = {
      type: ANSWER,
      node: incarnation,
      isWhole: first.length === busy.length,
      uses: first.map(({ id, activeRequests, openStreams }) => [id, activeRequests - openStreams, openStreams]),
      hasAllParked: parked.size <= MOST_TOLD,
      parked: parked.lastIds(MOST_TOLD)
    }
    // A node that does not get it asks again.
    for (const node of askers) directory.send(node, answer).catch(() => {})
  }

  // A node of an older version says nothing of parked sessions.
  #learn (node: string, { isWhole, uses, hasAllParked, parked }: JsonObject): void {
    const text = JSON.stringify([isWhole, uses, hasAllParked, parked])
    if (text !== this.#answers.get(node)?.text) this.version++
    this.#answers.set(node, {
      at: this.#now(),
      text,
      isWhole: isWhole === true,
      uses: toUses(uses),
      hasAllParked: hasAllParked === true,
      parked: new Set(Array.isArray(parked) ? parked.filter((id) => typeof id === 'string') : [])
    })
  }

  #drop (node: string): void {
    this.#asked.delete(node)
    this.#answers.delete(node)
  }
}

function hasCalls ({ activeRequests, openStreams }: Session): boolean {
  return activeRequests > openStreams
}

function toUses (value: unknown): Map<string, SessionUse> {
  const uses = new Map<string, SessionUse>()
  for (const entry of Array.isArray(value) ? value : []) {
    const [id, inFlight, streams]: unknown[] = Array.isArray(entry) ? entry : []
    if (typeof id === 'string' && typeof inFlight === 'number' && typeof streams === 'number') uses.set(id, { inFlight, streams })
  }
  return uses
}
