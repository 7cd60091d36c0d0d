import type { SessionState } from '../http/session-cluster.js'
import { channels } from '../observe/channels.js'
import type { SessionManager } from '../session/session-manager.js'
import type { CloseReason, Session } from '../session/session.js'
import { DirectoryUnavailableError, SessionLostError, type Changes, type Directory, type Liveness, type StoredSession } from './directory.js'
import type { Outbox } from './outbox.js'
import type { NodeLease } from './lease.js'
import { readOrigin, toJson, writeState } from './stored-state.js'

/** A session that this node serves, and what the directory knows of it. */
interface OwnedSession {
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

export interface OwnedSessionsOptions {
  sessions: SessionManager
  directory: Directory
  nodeLease: NodeLease
  outbox: Outbox
  /** Milliseconds to wait for a lease before a session counts as unavailable. */
  patience: number
  onError: (message: string, error: unknown) => void
}

/**
 * The sessions that this node owns. Brings what becomes of them here to the
 * directory, always under the epoch at which they were claimed, and drops those
 * that another node has claimed since.
 */
export class OwnedSessions {
  readonly #sessions: SessionManager
  readonly #directory: Directory
  readonly #nodeLease: NodeLease
  readonly #outbox: Outbox
  readonly #patience: number
  readonly #onError: OwnedSessionsOptions['onError']
  readonly #held = new Map<Session, OwnedSession>()
  readonly #adopting = new Map<string, StoredSession>()
  // Ended by this node, and not lost to another: what they still have to say may go out.
  readonly #ended = new WeakSet<Session>()
  // By id: an id that is used again has to wait until it is free.
  readonly #leaving = new Map<string, Promise<void>>()

  constructor ({ sessions, directory, nodeLease, outbox, patience, onError }: OwnedSessionsOptions) {
    this.#sessions = sessions
    this.#directory = directory
    this.#nodeLease = nodeLease
    this.#outbox = outbox
    this.#patience = patience
    this.#onError = onError
    sessions.on('created', (session) => this.#hold(session))
    sessions.on('updated', (session) => this.#markDirty(session, 'isMetadataDirty'))
    sessions.on('closed', (session, reason) => this.#drop(session, reason))
  }

  /** Whether this node may answer for the session now. */
  isCurrent (session: Session): boolean {
    const owned = this.#held.get(session)
    return owned !== undefined && this.#isCurrent(owned)
  }

  /** Whether nothing of the session waits to be written, and this node may answer for it. */
  isSettled (session: Session): boolean {
    const owned = this.#held.get(session)
    if (owned === undefined) return this.#ended.has(session) && !this.#leaving.has(session.id)
    // What is being written counts as not written yet.
    return owned.settling === undefined && this.#isSettled(owned)
  }

  /** Whether a session of that id has ended here, and the directory may not know it yet. */
  isOver (id: string): boolean {
    return this.#outbox.isOver(id)
  }

  /** Resolves when the directory has been told that the session has ended, or does not answer. Never rejects. */
  async whenLeft (id: string): Promise<void> {
    await this.#leaving.get(id)
  }

  /** The same for all sessions. */
  async whenAllLeft (): Promise<void> {
    await Promise.all(this.#leaving.values())
  }

  /**
   * Claims the session again if that is needed, and writes what has changed.
   * Rejects with a `SessionLostError`, after the session was closed (`moved`),
   * or with a `DirectoryUnavailableError`.
   */
  settle (session: Session): Promise<void> {
    const owned = this.#held.get(session)
    if (owned === undefined) {
      return this.#ended.has(session) ? this.whenLeft(session.id) : Promise.reject(new SessionLostError('The session has been closed'))
    }
    if (this.isSettled(session)) return Promise.resolve()
    owned.settling ??= this.#settle(owned)
    return owned.settling
  }

  /** Settles all sessions that are not, some at a time, until the directory fails. Never rejects. */
  async settleAll (): Promise<void> {
    const sessions = Array.from(this.#held.keys()).filter((session) => !this.isSettled(session))
    for (let start = 0; start < sessions.length; start += BATCH) {
      const settled = await Promise.all(sessions.slice(start, start + BATCH).map((session) => this.#settleQuietly(session)))
      if (settled.includes(false)) return
    }
  }

  /**
   * Takes a session in that this node has claimed, or lets go of it again.
   *
   * @throws SessionLimitError when there is no room for it
   */
  adopt (stored: StoredSession): Session | undefined {
    this.#adopting.set(stored.id, stored)
    try {
      this.#sessions.register(stored.id, stored.metadata, readOrigin(stored))
    } catch (error) {
      this.#outbox.release(stored)
      throw error
    } finally {
      this.#adopting.delete(stored.id)
    }
    const session = this.#sessions.get(stored.id)
    const takenOver = channels['session.taken-over']
    if (session !== undefined && takenOver.hasSubscribers) takenOver.publish({ sessions: this.#sessions, session })
    return session
  }

  /** The epoch at which this node holds the session: 0 if it does not. A new session is written to the directory first. Rejects as `settle` does. */
  async epochOf (session: Session): Promise<number> {
    const owned = this.#held.get(session)
    if (owned?.epoch === 0) await this.settle(session)
    return owned?.epoch ?? 0
  }

  /** Has it checked whether the session is still this node's. */
  doubt (session: Session): void {
    const owned = this.#held.get(session)
    if (owned === undefined) return
    owned.incarnation = undefined
    this.#settleQuietly(session)
  }

  saveState (session: Session, state: SessionState): void {
    const owned = this.#held.get(session)
    if (owned === undefined) return
    owned.state = state
    owned.isStateDirty = true
  }

  readState (session: Session): SessionState | undefined {
    return this.#held.get(session)?.state
  }

  /** Writes back when sessions were last used, if that has changed. Rejects with a `DirectoryUnavailableError`. */
  async writeLiveness (): Promise<void> {
    const ownedSessions = Array.from(this.#held.values()).filter((owned) => this.#isCurrent(owned))
    const used = ownedSessions.map((owned) => ({ owned, liveness: toLiveness(owned) }))
      .filter(({ owned, liveness }) => liveness.lastAccessedAt > owned.writtenAt)
    if (used.length === 0) return
    const lost = new Set(await this.#directory.touch(used.map(({ liveness }) => liveness)))
    for (const { owned, liveness } of used) {
      owned.writtenAt = liveness.lastAccessedAt
      if (lost.has(liveness.id)) this.doubt(owned.session)
    }
  }

  #hold (session: Session): void {
    // A listener that was called before this one may have closed it.
    if (this.#sessions.get(session.id) !== session) return
    const stored = this.#adopting.get(session.id)
    this.#held.set(session, {
      session,
      epoch: stored?.epoch ?? 0,
      incarnation: stored?.owner,
      secret: this.#nodeLease.secret,
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
    const owned = this.#held.get(session)
    if (owned === undefined) return
    owned[what] = true
    setImmediate(() => this.#settleQuietly(session))
  }

  #drop (session: Session, reason: CloseReason): void {
    const owned = this.#held.get(session)
    if (owned === undefined) return
    this.#held.delete(session)
    if (reason === 'moved') return
    this.#ended.add(session)
    const { id } = session
    const leaving: Promise<void> = Promise.all([this.#leaving.get(id), this.#leave(owned, reason)]).then(() => {
      if (this.#leaving.get(id) === leaving) this.#leaving.delete(id)
    })
    this.#leaving.set(id, leaving)
  }

  async #leave (owned: OwnedSession, reason: CloseReason): Promise<void> {
    await owned.settling?.catch(() => {})
    if (reason === 'shutdown') await this.#writeLast(owned)
    if (owned.epoch === 0) return
    if (reason === 'shutdown') await this.#handOver(owned)
    else await this.#outbox.remove(owned.session.id, owned.epoch)
  }

  async #handOver (owned: OwnedSession): Promise<void> {
    await this.#outbox.release(toLiveness(owned))
    const handedOver = channels['session.handed-over']
    if (handedOver.hasSubscribers) handedOver.publish({ sessions: this.#sessions, session: owned.session })
  }

  // The next owner has to find what this one has not written yet.
  async #writeLast (owned: OwnedSession): Promise<void> {
    const { incarnation } = this.#nodeLease
    if (this.#isWritten(owned) || incarnation === undefined || !this.#nodeLease.isValid()) return
    try {
      if (owned.epoch === 0) await this.#record(owned, incarnation)
      else await this.#write(owned)
    } catch (error) {
      this.#onError('A session is handed over without its latest changes', error)
    }
  }

  #isCurrent ({ incarnation }: OwnedSession): boolean {
    return incarnation !== undefined && incarnation === this.#nodeLease.incarnation && this.#nodeLease.isValid()
  }

  #isSettled (owned: OwnedSession): boolean {
    return this.#isWritten(owned) && this.#isCurrent(owned)
  }

  #isWritten ({ epoch, isMetadataDirty, isStateDirty }: OwnedSession): boolean {
    return epoch !== 0 && !isMetadataDirty && !isStateDirty
  }

  async #settle (owned: OwnedSession): Promise<void> {
    try {
      while (!this.#isSettled(owned)) {
        this.#checkHeld(owned)
        const incarnation = await this.#nodeLease.whenIncarnated(this.#patience)
        if (owned.incarnation === incarnation) await this.#write(owned)
        else await this.#claim(owned, incarnation)
      }
    } catch (error) {
      if (error instanceof SessionLostError && this.#held.get(owned.session) === owned) {
        this.#sessions.cleanup(owned.session.id, 'moved')
      }
      throw error
    } finally {
      // Here and not a turn later, when what has changed meanwhile would be taken for written.
      owned.settling = undefined
    }
  }

  #checkHeld (owned: OwnedSession): void {
    if (this.#held.get(owned.session) !== owned) throw new SessionLostError('The session has been closed')
  }

  // False: the directory does not answer.
  async #settleQuietly (session: Session): Promise<boolean> {
    if (!this.#held.has(session)) return true
    try {
      await this.settle(session)
      return true
    } catch (error) {
      if (error instanceof SessionLostError) return true
      this.#onError('A session could not be written to the directory; this is tried again', error)
      return false
    }
  }

  async #claim (owned: OwnedSession, incarnation: string): Promise<void> {
    const { session, epoch } = owned
    const claimed = epoch === 0 ? undefined : await this.#directory.claim(session.id, epoch, incarnation, toLiveness(owned).lastAccessedAt)
    if (claimed !== undefined) owned.epoch = claimed.epoch
    else await this.#create(owned, incarnation)
    owned.incarnation = incarnation
  }

  // A session that the directory does not know is new to it, or was known before it lost its data. Any other is lost.
  async #create (owned: OwnedSession, owner: string): Promise<void> {
    const { session: { id }, epoch } = owned
    if (epoch !== 0 && await this.#directory.secret() === owned.secret) {
      throw new SessionLostError('The session has moved to another node, or is gone')
    }
    this.#checkHeld(owned)
    // One that had the same id goes first.
    await this.whenLeft(id)
    if (this.isOver(id)) throw new DirectoryUnavailableError('The last session of that id is still in the directory')
    await this.#record(owned, owner)
  }

  async #record (owned: OwnedSession, owner: string): Promise<void> {
    const { session } = owned
    // Before the session: what is lost in between counts as lost after it.
    const secret = await this.#directory.secret()
    const { id, principal, createdAt, lastAccessedAt } = session
    owned.isMetadataDirty = owned.isStateDirty = false
    const created = await this.#undoOnFailure(owned, { isMetadataDirty: true, isStateDirty: true }, () => this.#directory.create({
      id, principal, owner, createdAt, lastAccessedAt, metadata: this.#metadataOf(session), state: writeState(session, owned.state)
    }))
    if (created === undefined) throw new SessionLostError('The id of the session is taken')
    owned.epoch = created
    owned.secret = secret
  }

  async #write (owned: OwnedSession): Promise<void> {
    const { session, epoch, isMetadataDirty, isStateDirty } = owned
    const changes: Changes = {}
    if (isMetadataDirty) changes.metadata = this.#metadataOf(session)
    if (isStateDirty) changes.state = writeState(session, owned.state)
    owned.isMetadataDirty = owned.isStateDirty = false
    const written = await this.#undoOnFailure(owned, { isMetadataDirty, isStateDirty }, () => this.#directory.update(session.id, epoch, changes))
    if (written) return
    // Claiming it tells whether it is another node's, or the directory has lost its data.
    Object.assign(owned, { isMetadataDirty, isStateDirty, incarnation: undefined })
  }

  async #undoOnFailure<T> (owned: OwnedSession, before: Partial<OwnedSession>, write: () => Promise<T>): Promise<T> {
    try {
      return await write()
    } catch (error) {
      Object.assign(owned, before)
      throw error
    }
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

function toLiveness ({ session, epoch }: OwnedSession): Liveness {
  const lastAccessedAt = session.activeRequests > 0 ? Date.now() : session.lastAccessedAt
  return { id: session.id, epoch, lastAccessedAt }
}
