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

// The types of what nodes send to each other's mailboxes. A node of an older version leaves what it does not know unread.
const QUESTION = 'which-are-in-use'
const ANSWER = 'in-use'
// Of sessions in use in one answer, and of those that are parked.
const MOST_TOLD = 500
// Milliseconds, after two leases, for which an answer is good: whoever looks asks anew long before that.
const GRACE = 6000
const IDLE: SessionUse = { inFlight: 0, streams: 0 }

interface Answer {
  readonly at: number
  readonly text: string
  /** Whether those that are not in it are idle. */
  readonly isWhole: boolean
  readonly uses: ReadonlyMap<string, SessionUse>
  /** Whether those that are not among the parked are not parked. */
  readonly hasAllParked: boolean
  readonly parked: ReadonlySet<string>
}

/** Asks other nodes which of their sessions are in use or parked, and tells them of those of this one. Unasked, it says nothing. */
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

  /** What other nodes have sent. */
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
    // Nearly every client keeps a stream open; what waits for an answer is what is looked for.
    const first = [...busy.filter(hasCalls), ...busy.filter((session) => !hasCalls(session))].slice(0, MOST_TOLD)
    const answer = {
      type: ANSWER,
      node: incarnation,
      isWhole: first.length === busy.length,
      uses: first.map(({ id, activeRequests, openStreams }) => [id, activeRequests - openStreams, openStreams]),
      hasAllParked: parked.size <= MOST_TOLD,
      parked: parked.lastIds(MOST_TOLD)
    }
    // Whoever does not get it asks again.
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
