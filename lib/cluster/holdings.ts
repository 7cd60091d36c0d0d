import type { SessionState } from '../session/session-cluster.js'
import type { SessionManager } from '../session/session-manager.js'
import type { CloseReason, Session } from '../session/session.js'
import { DirectoryUnavailableError, SessionLostError, type Changes, type Directory, type Liveness, type StoredSession } from './directory.js'
import type { Endings } from './endings.js'
import type { Membership } from './membership.js'
import { readOrigin, toJson, writeState } from './stored-state.js'

/** A session that this node serves, and what the directory knows of it. */
interface Holding {
  readonly session: Session
  /** 0: not in the directory yet. */
  epoch: number
  /** The incarnation of this node that claimed it; undefined: it has to be claimed again. */
  incarnation: string | undefined
  /** The secret of the directory at that time: another one means that the directory has lost its data since. */
  secret: string
  state: SessionState | undefined
  isMetadataDirty: boolean
  isStateDirty: boolean
  /** `lastAccessedAt` as the directory has it. */
  writtenAt: number
  settling: Promise<void> | undefined
}

const BATCH = 64

export interface HoldingsOptions {
  sessions: SessionManager
  directory: Directory
  membership: Membership
  endings: Endings
  /** Milliseconds to wait for a lease before a session counts as unavailable. */
  patience: number
  onError: (message: string, error: unknown) => void
}

/**
 * The sessions that this node owns. Brings what becomes of them here to the
 * directory, always under the epoch at which they were claimed, and drops those
 * that another node has claimed since.
 */
export class Holdings {
  readonly #sessions: SessionManager
  readonly #directory: Directory
  readonly #membership: Membership
  readonly #endings: Endings
  readonly #patience: number
  readonly #onError: HoldingsOptions['onError']
  readonly #held = new Map<Session, Holding>()
  readonly #adopting = new Map<string, StoredSession>()
  // Ended by this node, and not lost to another: what they still have to say may go out.
  readonly #ended = new WeakSet<Session>()
  readonly #leaving = new Set<Promise<void>>()

  constructor ({ sessions, directory, membership, endings, patience, onError }: HoldingsOptions) {
    this.#sessions = sessions
    this.#directory = directory
    this.#membership = membership
    this.#endings = endings
    this.#patience = patience
    this.#onError = onError
    sessions.on('created', (session) => this.#hold(session))
    sessions.on('updated', (session) => this.#markDirty(session, 'isMetadataDirty'))
    sessions.on('closed', (session, reason) => this.#drop(session, reason))
  }

  /** Whether this node may answer for the session now. */
  isCurrent (session: Session): boolean {
    const holding = this.#held.get(session)
    return holding !== undefined && this.#isCurrent(holding)
  }

  /** Whether nothing of the session waits to be written, and this node may answer for it. */
  isSettled (session: Session): boolean {
    const holding = this.#held.get(session)
    return holding === undefined ? this.#ended.has(session) : this.#isSettled(holding)
  }

  /** Resolves when the sessions that have ended are on their way out of the directory. Never rejects. */
  async whenLeft (): Promise<void> {
    await Promise.all(this.#leaving)
  }

  /**
   * Claims the session again if that is needed, and writes what has changed.
   * Rejects with a `SessionLostError`, after the session was closed (`moved`),
   * or with a `DirectoryUnavailableError`.
   */
  settle (session: Session): Promise<void> {
    const holding = this.#held.get(session)
    if (holding === undefined) return Promise.reject(new SessionLostError('The session has been closed'))
    holding.settling ??= this.#settle(holding).finally(() => { holding.settling = undefined })
    return holding.settling
  }

  /** Settles all sessions, some at a time, after the lease was lost. Never rejects. */
  async settleAll (): Promise<void> {
    const sessions = Array.from(this.#held.keys())
    for (let start = 0; start < sessions.length; start += BATCH) {
      await Promise.all(sessions.slice(start, start + BATCH).map((session) => this.#settleQuietly(session)))
    }
  }

  /** Takes a session in that this node has claimed. */
  adopt (stored: StoredSession): Session | undefined {
    this.#adopting.set(stored.id, stored)
    try {
      this.#sessions.register(stored.id, stored.metadata, readOrigin(stored))
    } finally {
      this.#adopting.delete(stored.id)
    }
    return this.#sessions.get(stored.id)
  }

  /** The epoch at which this node holds the session: 0 if it does not. A new session is written to the directory first. Rejects as `settle` does. */
  async epochOf (session: Session): Promise<number> {
    const holding = this.#held.get(session)
    if (holding?.epoch === 0) await this.settle(session)
    return holding?.epoch ?? 0
  }

  /** Has it checked whether the session is still this node's. */
  doubt (session: Session): void {
    const holding = this.#held.get(session)
    if (holding === undefined) return
    holding.incarnation = undefined
    this.#settleQuietly(session)
  }

  saveState (session: Session, state: SessionState): void {
    const holding = this.#held.get(session)
    if (holding === undefined) return
    holding.state = state
    holding.isStateDirty = true
  }

  readState (session: Session): SessionState | undefined {
    return this.#held.get(session)?.state
  }

  /** Writes back when sessions were last used, if that has changed. Rejects with a `DirectoryUnavailableError`. */
  async writeLiveness (): Promise<void> {
    const holdings = Array.from(this.#held.values()).filter((holding) => this.#isCurrent(holding))
    const used = holdings.map((holding) => ({ holding, liveness: toLiveness(holding) }))
      .filter(({ holding, liveness }) => liveness.lastAccessedAt > holding.writtenAt)
    if (used.length === 0) return
    const lost = new Set(await this.#directory.touch(used.map(({ liveness }) => liveness)))
    for (const { holding, liveness } of used) {
      holding.writtenAt = liveness.lastAccessedAt
      if (lost.has(liveness.id)) this.doubt(holding.session)
    }
  }

  #hold (session: Session): void {
    const stored = this.#adopting.get(session.id)
    this.#held.set(session, {
      session,
      epoch: stored?.epoch ?? 0,
      incarnation: stored?.owner,
      secret: this.#membership.secret,
      state: stored?.state,
      isMetadataDirty: false,
      isStateDirty: false,
      writtenAt: session.lastAccessedAt,
      settling: undefined
    })
    // Later, so that an endpoint which has more to say of the session needs one write for both.
    if (stored === undefined) setImmediate(() => this.#settleQuietly(session))
  }

  #markDirty (session: Session, what: 'isMetadataDirty' | 'isStateDirty'): void {
    const holding = this.#held.get(session)
    if (holding === undefined) return
    holding[what] = true
    setImmediate(() => this.#settleQuietly(session))
  }

  #drop (session: Session, reason: CloseReason): void {
    const holding = this.#held.get(session)
    if (holding === undefined) return
    this.#held.delete(session)
    if (reason === 'moved') return
    this.#ended.add(session)
    const leaving = this.#leave(holding, reason).finally(() => this.#leaving.delete(leaving))
    this.#leaving.add(leaving)
  }

  async #leave (holding: Holding, reason: CloseReason): Promise<void> {
    await holding.settling?.catch(() => {})
    if (holding.epoch === 0) return
    if (reason !== 'shutdown') {
      this.#endings.remove(holding.session.id, holding.epoch)
      return
    }
    // The next owner has to find what this one has not written yet.
    if (holding.isMetadataDirty || holding.isStateDirty) {
      await this.#write(holding).catch((error: unknown) => this.#onError('A session is handed over without its latest changes', error))
    }
    this.#endings.release(toLiveness(holding))
  }

  #isCurrent ({ incarnation }: Holding): boolean {
    return incarnation !== undefined && incarnation === this.#membership.incarnation && this.#membership.isValid()
  }

  #isSettled (holding: Holding): boolean {
    return !holding.isMetadataDirty && !holding.isStateDirty && this.#isCurrent(holding)
  }

  async #settle (holding: Holding): Promise<void> {
    try {
      while (!this.#isSettled(holding)) {
        if (this.#held.get(holding.session) !== holding) throw new SessionLostError('The session has been closed')
        const incarnation = await this.#lease()
        if (holding.incarnation === incarnation) await this.#write(holding)
        else await this.#claim(holding, incarnation)
      }
    } catch (error) {
      if (error instanceof SessionLostError && this.#held.get(holding.session) === holding) {
        this.#sessions.cleanup(holding.session.id, 'moved')
      }
      throw error
    }
  }

  async #settleQuietly (session: Session): Promise<void> {
    if (!this.#held.has(session)) return
    try {
      await this.settle(session)
    } catch (error) {
      if (error instanceof SessionLostError) return
      this.#onError('A session could not be written to the directory; this is tried again', error)
    }
  }

  async #claim (holding: Holding, incarnation: string): Promise<void> {
    const { session, epoch } = holding
    const claimed = epoch === 0 ? undefined : await this.#directory.claim(session.id, epoch, incarnation, toLiveness(holding).lastAccessedAt)
    if (claimed !== undefined) holding.epoch = claimed.epoch
    else await this.#create(holding, incarnation)
    holding.incarnation = incarnation
  }

  // A session that the directory does not know is new to it, or was known before it lost its data. Any other is lost.
  async #create (holding: Holding, owner: string): Promise<void> {
    const { session, epoch } = holding
    const secret = await this.#directory.secret()
    if (epoch !== 0 && secret === holding.secret) throw new SessionLostError('The session has moved to another node, or is gone')
    const { id, principal, createdAt, lastAccessedAt } = session
    holding.isMetadataDirty = holding.isStateDirty = false
    const created = await this.#undoOnFailure(holding, { isMetadataDirty: true, isStateDirty: true }, () => this.#directory.create({
      id, principal, owner, createdAt, lastAccessedAt, metadata: this.#metadataOf(session), state: writeState(session, holding.state)
    }))
    if (created === undefined) throw new SessionLostError('The id of the session is taken')
    holding.epoch = created
    holding.secret = secret
  }

  async #write (holding: Holding): Promise<void> {
    const { session, epoch, isMetadataDirty, isStateDirty } = holding
    const changes: Changes = {}
    if (isMetadataDirty) changes.metadata = this.#metadataOf(session)
    if (isStateDirty) changes.state = writeState(session, holding.state)
    holding.isMetadataDirty = holding.isStateDirty = false
    const written = await this.#undoOnFailure(holding, { isMetadataDirty, isStateDirty }, () => this.#directory.update(session.id, epoch, changes))
    if (written) return
    // Claiming it tells whether it is another node's, or the directory has lost its data.
    Object.assign(holding, { isMetadataDirty, isStateDirty, incarnation: undefined })
  }

  async #undoOnFailure<T> (holding: Holding, before: Partial<Holding>, write: () => Promise<T>): Promise<T> {
    try {
      return await write()
    } catch (error) {
      Object.assign(holding, before)
      throw error
    }
  }

  // The incarnation that holds the lease, waited for a while.
  async #lease (): Promise<string> {
    const membership = this.#membership
    if (!membership.isValid()) await membership.whenValid(this.#patience)
    if (membership.incarnation === undefined || !membership.isValid()) {
      throw new DirectoryUnavailableError('This node has no lease')
    }
    return membership.incarnation
  }

  #metadataOf (session: Session): Changes['metadata'] {
    try {
      return toJson(session.metadata)
    } catch (error) {
      this.#onError('The metadata of a session is not JSON, and will not be there on another node', error)
      return undefined
    }
  }
}

function toLiveness ({ session, epoch }: Holding): Liveness {
  const lastAccessedAt = session.activeRequests > 0 ? Date.now() : session.lastAccessedAt
  return { id: session.id, epoch, lastAccessedAt }
}
