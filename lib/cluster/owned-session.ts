import type { SessionState } from '../http/session-cluster.js'
import type { Session } from '../session/session.js'
import type { Claimable, Liveness } from './directory.js'

/**
 * - `new`: not in the directory yet
 * - `owned`: in the directory as it is here
 * - `dirty`: owned, and has changes that are not written
 * - `doubtful`: perhaps another node's; it must be claimed again before it may answer
 * - `leaving`: ended here; the directory is told
 * - `lost`: another node's, or gone; this copy may neither answer nor write
 */
export type Phase = 'new' | 'owned' | 'dirty' | 'doubtful' | 'leaving' | 'lost'

/** What makes a session this node's, as the directory has it. */
export interface Claim {
  readonly epoch: string
  /** The incarnation of this node that has claimed it. */
  readonly owner: string
  /** The history of the directory in which the claim was made. */
  readonly history: string
}

export type Part = 'metadata' | 'state'

/*
 *   new ──record──> owned <──write── dirty
 *                   │  ▲               ▲
 *                 doubt └──claim──┐    │ change
 *                   ▼             │    │
 *                doubtful ────────┴────┘        any ──leave──> leaving      any ──lose──> lost
 */

/** A session that this node serves, and what the directory knows of it. */
export class OwnedSession {
  readonly session: Session
  /** What it takes to bring the session back elsewhere. */
  state: SessionState | undefined
  /** When it came from another node, in milliseconds since 1970; -Infinity: it was opened here. */
  readonly movedAt: number
  /** `lastAccessedAt` as the directory has it. */
  writtenAt: number
  /** The write or the claim that is under way. */
  settling: Promise<void> | undefined
  #claim: Claim | undefined
  #isDoubtful = false
  #isOffered = false
  #end: 'leaving' | 'lost' | undefined
  readonly #dirty = new Set<Part>()

  constructor (session: Session, claim?: Claim, state?: SessionState) {
    this.session = session
    this.state = state
    this.writtenAt = session.lastAccessedAt
    this.#claim = claim
    this.movedAt = claim === undefined ? -Infinity : Date.now()
  }

  get phase (): Phase {
    if (this.#end !== undefined) return this.#end
    if (this.#claim === undefined) return 'new'
    if (this.#isDoubtful) return 'doubtful'
    return this.#dirty.size > 0 ? 'dirty' : 'owned'
  }

  get isOver (): boolean {
    return this.#end !== undefined
  }

  /** The claim by which this node has it. Undefined: it is new. */
  get claim (): Claim | undefined {
    return this.#claim
  }

  /** The epoch at which the directory has it; undefined: it is new. */
  get epoch (): string | undefined {
    return this.#claim?.epoch
  }

  /** Whether nothing is left to write. */
  get isWritten (): boolean {
    return this.#claim !== undefined && this.#dirty.size === 0
  }

  /** Whether that incarnation of this node holds it, without a doubt. */
  isHeldBy (incarnation: string | undefined): boolean {
    return this.#claim !== undefined && this.#claim.owner === incarnation && !this.#isDoubtful && !this.isOver
  }

  /** The record by which it can be claimed again. @throws Error when it is new */
  toClaimable (): Claimable {
    const { epoch, owner } = this.#required()
    return { id: this.session.id, epoch, owner }
  }

  /** What the directory is told of its last use. @throws Error when it is new */
  toLiveness (): Liveness {
    return { id: this.session.id, epoch: this.#required().epoch, lastAccessedAt: this.lastUse }
  }

  /** When it was last used: now, while a request of it runs. */
  get lastUse (): number {
    return this.session.activeRequests > 0 ? Date.now() : this.session.lastAccessedAt
  }

  /** Is told that the directory has recorded it, or that it was claimed again. */
  held (claim: Claim): void {
    this.#claim = claim
    this.#isDoubtful = this.#isOffered = false
  }

  /** Is told that the directory has this copy, and compares it with those of others. When that is over, it has to be claimed. */
  offered (claim: Claim): void {
    this.#claim = claim
    this.#isDoubtful = this.#isOffered = true
  }

  /** Whether its copy was offered to the directory, and was not claimed since. */
  get isOffered (): boolean {
    return this.#isOffered
  }

  /** Is told that it may be another node's. A session that is new cannot be, and stays as it is. */
  doubt (): void {
    if (this.#claim !== undefined) this.#isDoubtful = true
  }

  change (part: Part): void {
    this.#dirty.add(part)
  }

  /** The parts that have to be written, which count as written from now on. */
  takeChanges (): Part[] {
    const parts = Array.from(this.#dirty)
    this.#dirty.clear()
    return parts
  }

  /** Is told that these parts could not be written. */
  putBack (parts: readonly Part[]): void {
    for (const part of parts) this.#dirty.add(part)
  }

  /** Is told that it has ended here. False: it is lost, and the directory is not to be told. */
  leave (): boolean {
    this.#end ??= 'leaving'
    return this.#end === 'leaving'
  }

  lose (): void {
    this.#end ??= 'lost'
  }

  #required (): Claim {
    if (this.#claim === undefined) throw new Error('The session is not in the directory yet')
    return this.#claim
  }
}
