import type { SessionState } from '../http/session-cluster.js'
import { channels, type CloseReason } from '../observe/channels.js'
import type { SessionManager } from '../session/session-manager.js'
import { SessionLimitError } from '../base/errors.js'
import type { Session } from '../session/session.js'
import {
  SessionLostError, SessionRecoveringError, DirectoryUnavailableError, type Changes, type Directory, type NewSession, type StoredSession
} from './directory.js'
import type { NodeLease } from './lease.js'
import type { Outbox } from './outbox.js'
import { OwnedSession, type Claim, type Part, type Phase } from './owned-session.js'
import { readOrigin, toJson, writeState } from './stored-state.js'

const BATCH = 64
// How long a session that has moved to this node is not moved on to balance the nodes, in milliseconds.
const SETTLING_TIME = 60_000

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
 * The sessions that this node owns. Writes to the directory what changes in
 * them here, always under the epoch at which they were claimed, and drops those
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
  // By id, the records of sessions that are being registered here.
  readonly #adopting = new Map<string, StoredSession>()
  // Sessions that this node has ended, and has not lost to another: their last answers may go out.
  readonly #ended = new WeakSet<Session>()
  // Those of them that were left to other nodes.
  readonly #handedOver = new WeakSet<Session>()
  // Whether the directory did not take the last session that was written. That is logged once, and not for each session.
  #isFailing = false
  // By id, because a new session of the same id has to wait until the directory has let go of the last one.
  readonly #leaving = new Map<string, Promise<void>>()

  constructor ({ sessions, directory, nodeLease, outbox, patience, onError }: OwnedSessionsOptions) {
    this.#sessions = sessions
    this.#directory = directory
    this.#nodeLease = nodeLease
    this.#outbox = outbox
    this.#patience = patience
    this.#onError = onError
    sessions.on('created', (session) => this.#hold(session))
    sessions.on('updated', (session) => this.#noteChange(session))
    sessions.on('closed', (session, reason) => this.#drop(session, reason))
  }

  /** Whether this node may answer for the session now. */
  isCurrent (session: Session): boolean {
    const owned = this.#held.get(session)
    return owned !== undefined && this.#isCurrent(owned)
  }

  /** What this node knows of the session; undefined: it does not hold it. */
  phaseOf (session: Session): Phase | undefined {
    return this.#held.get(session)?.phase
  }

  /** Whether nothing of the session waits to be written, and this node may answer for it. */
  isSettled (session: Session): boolean {
    const owned = this.#held.get(session)
    if (owned === undefined) return this.#ended.has(session) && !this.#leaving.has(session.id) && !this.isOver(session.id)
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

  async #whenOver (id: string): Promise<void> {
    await this.whenLeft(id)
    const failure = this.#outbox.failureOf(id)
    if (failure !== undefined) throw failure
  }

  /** What `whenLeft` does, for all sessions. */
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
      return this.#ended.has(session) ? this.#whenOver(session.id) : Promise.reject(new SessionLostError('The session has been closed'))
    }
    if (this.isSettled(session)) return Promise.resolve()
    owned.settling ??= this.#settle(owned)
    // If it has ended here meanwhile, and is not lost, its last answers may go out.
    return owned.settling.catch((error: unknown) => {
      if (error instanceof SessionLostError && this.#ended.has(session)) return this.#whenOver(session.id)
      throw error
    })
  }

  /** Settles all sessions that are not, some at a time, until the directory fails. Never rejects. */
  async settleAll (): Promise<void> {
    const unsettled = Array.from(this.#held.values()).filter(({ session }) => !this.isSettled(session))
    for (let start = 0; start < unsettled.length; start += BATCH) {
      const settled = await Promise.all(unsettled.slice(start, start + BATCH).map((owned) => this.#settleQuietly(owned)))
      if (settled.includes(false)) return
    }
    this.#isFailing = false
  }

  /**
   * Takes over a session that nobody serves. Undefined: not now, for another node was faster, or may still serve it.
   *
   * @throws SessionLimitError when there is no room for it
   */
  async takeOver (record: StoredSession): Promise<Session | undefined> {
    const incarnation = await this.#nodeLease.whenIncarnated(this.#patience)
    if (!this.#nodeLease.isTrustworthy()) return undefined
    // The history that was just found trustworthy. A renewal may bring another one meanwhile.
    const known = this.#nodeLease.history
    // Before it is claimed, because another node may have room where this one has none.
    this.#makeRoom(record.principal)
    const [claimed, history] = await Promise.all([this.#directory.claim(record, incarnation, Date.now()), this.#directory.history()])
    if (claimed === undefined) return undefined
    if (history.id === known) return this.adopt(claimed)
    // The directory has lost data: the record that was claimed may be older than the copy of its owner.
    await this.#outbox.release({ ...claimed, from: record.epoch })
    await this.#nodeLease.hasForgotten(known)
    return undefined
  }

  /**
   * Takes in a session that this node has claimed. When there is no room for it, lets go of it again.
   *
   * @throws SessionLimitError when there is no room for it
   */
  adopt (stored: StoredSession): Session | undefined {
    this.#adopting.set(stored.id, stored)
    try {
      this.#makeRoom(stored.principal)
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

  /**
   * Lets go of sessions that have been idle for a lease, and have not moved for a minute: the next request for each brings
   * it to where there is room for it. Returns how many.
   */
  letGo (most: number): number {
    let count = 0
    for (const owned of this.#held.values()) {
      if (count >= most) break
      if (!this.#mayMove(owned)) continue
      this.#letGoOf(owned)
      count++
    }
    return count
  }

  /**
   * The epoch at which this node holds the session; empty if it does not. A new session is written to the directory first.
   * Rejects as `settle` does.
   */
  async epochOf (session: Session): Promise<string> {
    const owned = this.#held.get(session)
    if (owned?.phase === 'new') await this.settle(session)
    return owned?.epoch ?? ''
  }

  /** Has the directory asked whether the session is still this node's. */
  doubt (session: Session): void {
    const owned = this.#held.get(session)
    if (owned === undefined) return
    owned.doubt()
    this.#settleQuietly(owned)
  }

  /** Keeps what it takes to bring the session back elsewhere. It is written before the next answer. */
  saveState (session: Session, state: SessionState): void {
    const owned = this.#held.get(session)
    if (owned === undefined) return
    owned.state = state
    owned.change('state')
  }

  readState (session: Session): SessionState | undefined {
    return this.#held.get(session)?.state
  }

  /** Writes back when sessions were last used, if that has changed. Never rejects. */
  async writeLiveness (): Promise<void> {
    try {
      await this.#writeUses()
    } catch (error) {
      this.#onError('The last use of sessions could not be written; this is tried again', error)
    }
  }

  async #writeUses (): Promise<void> {
    const used = Array.from(this.#held.values())
      .filter((owned) => this.#isCurrent(owned) && owned.lastUse > owned.writtenAt)
      .map((owned) => ({ owned, liveness: owned.toLiveness() }))
    if (used.length === 0) return
    const lost = new Set(await this.#directory.touch(used.map(({ liveness }) => liveness)))
    for (const { owned, liveness } of used) {
      owned.writtenAt = liveness.lastAccessedAt
      if (lost.has(liveness.id)) this.doubt(owned.session)
    }
  }

  /**
   * Makes room for a session that comes from another node, without ending any: an idle session goes back into the directory,
   * as when this node closes. One that was opened less than a lease ago stays, for its client is still setting it up.
   *
   * @throws SessionLimitError when there is no such session
   */
  #makeRoom (principal: string | undefined): void {
    for (;;) {
      const next = this.#sessions.nextToEvict(principal)
      if (next === undefined) return
      const owned = next === null ? undefined : this.#held.get(next)
      if (owned === undefined || !this.#isSpare(owned)) throw new SessionLimitError()
      this.#letGoOf(owned)
    }
  }

  #isSpare (owned: OwnedSession): boolean {
    const { session } = owned
    return session.activeRequests === 0 && Date.now() - session.createdAt >= this.#nodeLease.lease && this.#isCurrent(owned)
  }

  #mayMove (owned: OwnedSession): boolean {
    const now = Date.now()
    return this.#isSpare(owned) && now - owned.session.lastAccessedAt >= this.#nodeLease.lease && now - owned.movedAt >= SETTLING_TIME
  }

  #letGoOf (owned: OwnedSession): void {
    this.#handedOver.add(owned.session)
    this.#sessions.cleanup(owned.session.id, 'moved')
  }

  #hold (session: Session): void {
    // A listener that was called before this one may have closed it.
    if (this.#sessions.get(session.id) !== session) return
    const stored = this.#adopting.get(session.id)
    const { history } = this.#nodeLease
    const claim = stored?.owner === undefined ? undefined : { epoch: stored.epoch, owner: stored.owner, history }
    const owned = new OwnedSession(session, claim, stored?.state)
    this.#held.set(session, owned)
    // Later, so that an endpoint which has more to say of the session needs one write for both.
    if (claim === undefined) setImmediate(() => this.#settleQuietly(owned))
  }

  #noteChange (session: Session): void {
    const owned = this.#held.get(session)
    if (owned === undefined) return
    owned.change('metadata')
    setImmediate(() => this.#settleQuietly(owned))
  }

  #drop (session: Session, reason: CloseReason): void {
    const owned = this.#held.get(session)
    if (owned === undefined) return
    this.#held.delete(session)
    const livesOn = reason === 'shutdown' || this.#handedOver.has(session)
    if (reason === 'moved' && !livesOn) owned.lose()
    if (!owned.leave()) return
    this.#ended.add(session)
    const { id } = session
    const leaving: Promise<void> = Promise.all([this.#leaving.get(id), this.#leave(owned, livesOn)]).then(() => {
      if (this.#leaving.get(id) === leaving) this.#leaving.delete(id)
    })
    this.#leaving.set(id, leaving)
  }

  async #leave (owned: OwnedSession, livesOn: boolean): Promise<void> {
    await owned.settling?.catch(() => {})
    if (livesOn) await this.#writeLast(owned)
    const { epoch, session: { id } } = owned
    if (epoch === undefined) return
    if (livesOn) await this.#handOver(owned)
    else await this.#outbox.remove(id, epoch)
  }

  async #handOver (owned: OwnedSession): Promise<void> {
    await this.#outbox.release(owned.toLiveness())
    const handedOver = channels['session.handed-over']
    if (handedOver.hasSubscribers) handedOver.publish({ sessions: this.#sessions, session: owned.session })
  }

  // Writes what is not written yet, so that the next owner finds it.
  async #writeLast (owned: OwnedSession): Promise<void> {
    const { incarnation } = this.#nodeLease
    if (owned.isWritten || incarnation === undefined || !this.#nodeLease.isValid()) return
    try {
      if (owned.claim === undefined) await this.#record(owned, incarnation)
      else await this.#write(owned, owned.claim)
    } catch (error) {
      this.#onError('A session is handed over without its latest changes', error)
    }
  }

  #isCurrent (owned: OwnedSession): boolean {
    return owned.isHeldBy(this.#nodeLease.incarnation) && this.#nodeLease.isValid()
  }

  #isSettled (owned: OwnedSession): boolean {
    return owned.isWritten && this.#isCurrent(owned)
  }

  async #settle (owned: OwnedSession): Promise<void> {
    try {
      while (!this.#isSettled(owned)) {
        checkHeld(owned)
        const incarnation = await this.#nodeLease.whenIncarnated(this.#patience)
        await this.#advance(owned, incarnation)
      }
    } catch (error) {
      if (error instanceof SessionLostError && !owned.isOver) this.#sessions.cleanup(owned.session.id, 'moved')
      throw error
    } finally {
      // In the same turn in which nothing was left to write: a later change must not take this promise for its own.
      owned.settling = undefined
    }
  }

  // One step on the way from what the session is to `owned`.
  #advance (owned: OwnedSession, incarnation: string): Promise<void> {
    const { claim } = owned
    if (claim === undefined) return this.#create(owned, incarnation)
    if (owned.isHeldBy(incarnation)) return this.#write(owned, claim)
    if (claim.history !== this.#nodeLease.history) return this.#recover(owned, claim, incarnation)
    return this.#claimAgain(owned, incarnation)
  }

  // Settles a session, and returns whether the directory has answered.
  async #settleQuietly (owned: OwnedSession): Promise<boolean> {
    if (owned.isOver) return true
    try {
      await this.settle(owned.session)
      return true
    } catch (error) {
      // Of a session that is being recovered, it is known only after a lease whose copy lives on.
      if (error instanceof SessionLostError || error instanceof SessionRecoveringError) return true
      if (!this.#isFailing) this.#onError('A session could not be written to the directory; this is tried again', error)
      this.#isFailing = true
      return false
    }
  }

  async #claimAgain (owned: OwnedSession, incarnation: string): Promise<void> {
    const { history } = this.#nodeLease
    if (owned.isOffered && !this.#nodeLease.isHistorySettled()) {
      throw new SessionRecoveringError('Redis has lost data, and other nodes may have a later copy of the session')
    }
    const claimed = await this.#directory.claim(owned.toClaimable(), incarnation, owned.lastUse)
    if (claimed !== undefined) owned.held({ epoch: claimed.epoch, owner: incarnation, history })
    else if (!await this.#nodeLease.hasForgotten(history)) throw new SessionLostError('The session has moved to another node, or is gone')
  }

  // Brings the copy of this node back: the directory may have lost the session, or what it was told of it last.
  async #recover (owned: OwnedSession, { epoch, owner }: Claim, incarnation: string): Promise<void> {
    const { history } = this.#nodeLease
    const isCertain = this.#nodeLease.isCertain(owner)
    const recovered = await this.#undoOnFailure(owned, () => this.#directory.recover(this.#toStored(owned, incarnation), {
      epoch, isCertain, mustExist: this.#nodeLease.hasSlept(owner)
    }))
    if (recovered === undefined) throw new SessionLostError('Another node has a later copy of the session, or this one is stale')
    const claim = { epoch: recovered, owner: incarnation, history }
    if (isCertain) owned.held(claim)
    else owned.offered(claim)
  }

  async #create (owned: OwnedSession, incarnation: string): Promise<void> {
    // A session that has ended must not wait below for its own end.
    checkHeld(owned)
    const { id } = owned.session
    // An earlier session of the same id has to be out of the directory first.
    await this.whenLeft(id)
    if (this.isOver(id)) throw new DirectoryUnavailableError('The last session of that id is still in the directory')
    await this.#record(owned, incarnation)
  }

  async #record (owned: OwnedSession, owner: string): Promise<void> {
    // The history from before it is written: if that changes meanwhile, the session may be lost, and is recovered.
    const { history } = this.#nodeLease
    const epoch = await this.#undoOnFailure(owned, () => this.#directory.create(this.#toStored(owned, owner)))
    if (epoch === undefined) throw new SessionLostError('The id of the session is taken')
    owned.held({ epoch, owner, history })
  }

  async #write (owned: OwnedSession, { epoch }: Claim): Promise<void> {
    const { session } = owned
    await this.#undoOnFailure(owned, async (parts) => {
      const changes: Changes = {}
      if (parts.includes('metadata')) changes.metadata = this.#metadataOf(session)
      if (parts.includes('state')) changes.state = writeState(session, owned.state)
      if (await this.#directory.update(session.id, epoch, changes)) return
      // It is claimed next, which tells whether it is another node's or the directory has lost data.
      owned.doubt()
      owned.putBack(parts)
    })
  }

  // Runs a write of all that has changed. When it fails, those changes count as not written.
  async #undoOnFailure<T> (owned: OwnedSession, write: (parts: readonly Part[]) => Promise<T>): Promise<T> {
    const parts = owned.takeChanges()
    try {
      return await write(parts)
    } catch (error) {
      owned.putBack(parts)
      throw error
    }
  }

  #toStored ({ session, state }: OwnedSession, owner: string): NewSession {
    const { id, principal, createdAt, lastAccessedAt } = session
    return { id, principal, owner, createdAt, lastAccessedAt, metadata: this.#metadataOf(session), state: writeState(session, state) }
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

function checkHeld (owned: OwnedSession): void {
  if (owned.isOver) throw new SessionLostError('The session has been closed')
}
