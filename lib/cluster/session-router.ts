import type { FastifyReply, FastifyRequest } from 'fastify'
import { setTimeout } from 'node:timers/promises'
import { ClusterUnavailableError, OwnerFailedError, SessionLimitError, SessionNotFoundError, type SessionError } from '../base/errors.js'
import type { Session } from '../session/session.js'
import { DirectoryUnavailableError, SessionLostError, type Directory, type Peer, type StoredSession } from './directory.js'
import { ForwardError, type Forwarder } from './forwarder.js'
import type { OwnedSessions } from './owned-sessions.js'
import type { NodeLease } from './lease.js'
import { FailureDetector } from './failure-detector.js'

// How often an owner that cannot be reached is tried again, in milliseconds.
const RETRY_INTERVAL = 100

export interface SessionRouterOptions {
  directory: Directory
  nodeLease: NodeLease
  ownedSessions: OwnedSessions
  forwarder: Forwarder
  /** Milliseconds to wait for this node's lease. */
  patience: number
  /** The session of that id in this process. */
  find: (id: string) => Session | undefined
}

/** Finds the owner of a session: has it answer the request, or takes the session over when it is gone. */
export class SessionRouter {
  readonly #directory: Directory
  readonly #nodeLease: NodeLease
  readonly #ownedSessions: OwnedSessions
  readonly #forwarder: Forwarder
  readonly #peers: FailureDetector
  readonly #patience: number
  readonly #find: (id: string) => Session | undefined
  // One at a time for each session, however many requests arrive together.
  readonly #takeovers = new Map<string, Promise<Session | SessionError | undefined>>()

  constructor ({ directory, nodeLease, ownedSessions, forwarder, patience, find }: SessionRouterOptions) {
    this.#directory = directory
    this.#nodeLease = nodeLease
    this.#ownedSessions = ownedSessions
    this.#forwarder = forwarder
    this.#peers = new FailureDetector(directory, nodeLease.lease)
    this.#patience = patience
    this.#find = find
  }

  /** See `SessionCluster.locate`. */
  async locate (request: FastifyRequest, reply: FastifyReply, id: string, principal: string | undefined): Promise<Session | SessionError | 'answered'> {
    // An owner that has died without a word keeps its lease for a while; then its sessions can be taken over.
    const deadline = performance.now() + this.#nodeLease.lease + 1000
    try {
      do {
        const outcome = await this.#tryOnce(request, reply, id, principal)
        if (outcome !== undefined) return outcome
        await setTimeout(RETRY_INTERVAL)
      } while (performance.now() < deadline && !reply.raw.destroyed)
      return new ClusterUnavailableError()
    } catch (error) {
      if (error instanceof DirectoryUnavailableError) return new ClusterUnavailableError()
      if (error instanceof ForwardError) return new OwnerFailedError()
      throw error
    }
  }

  // Undefined: not now, but perhaps a little later.
  async #tryOnce (request: FastifyRequest, reply: FastifyReply, id: string, principal: string | undefined): Promise<Session | SessionError | 'answered' | undefined> {
    // What has just ended here may still be in the directory.
    await this.#ownedSessions.whenLeft(id)
    if (this.#ownedSessions.isOver(id)) return new SessionNotFoundError()
    const local = await this.#findLocal(id)
    if (local !== undefined) return local.principal === principal ? local : new SessionNotFoundError()
    const located = await this.#directory.get(id)
    if (located === undefined && await this.#isRebuilding()) return undefined
    if (located === undefined || located.record.principal !== principal) return new SessionNotFoundError()
    const { owner } = located
    if (owner !== undefined && owner.node !== this.#nodeLease.incarnation) {
      return await this.#forward(request, reply, owner) ? 'answered' : undefined
    }
    // It may have come here while the directory was asked: it must not be claimed from ourselves.
    if (!this.#takeovers.has(id) && this.#find(id) !== undefined) return this.#tryOnce(request, reply, id, principal)
    const taken = await this.#takeOver(located.record)
    // The lease under which it was claimed can be over already.
    if (taken === undefined || taken instanceof Error || this.#ownedSessions.isCurrent(taken)) return taken
    return undefined
  }

  // A directory that has lost its data has lost the lease of this node too. Until the owners have written their
  // sessions again, one that is not in there need not be gone.
  async #isRebuilding (): Promise<boolean> {
    const { incarnation } = this.#nodeLease
    if (incarnation === undefined) return false
    return this.#nodeLease.isRebuilding() || await this.#directory.peer(incarnation) === undefined
  }

  // A copy that is here counts if it is still ours.
  async #findLocal (id: string): Promise<Session | undefined> {
    const session = this.#find(id)
    if (session === undefined) return undefined
    if (!this.#ownedSessions.isCurrent(session)) await this.#ownedSessions.settle(session).catch(ignoreLoss)
    return this.#ownedSessions.isCurrent(session) ? session : undefined
  }

  async #forward (request: FastifyRequest, reply: FastifyReply, to: Peer): Promise<boolean> {
    // Before that, it may not know the secret.
    await this.#nodeLease.whenIncarnated(this.#patience)
    // It would never close again.
    if (reply.raw.destroyed) throw new ForwardError('The client has gone away')
    const { signal, end } = this.#peers.watch(to.node)
    reply.raw.on('close', end)
    let answered = false
    try {
      answered = await this.#forwarder.forward(request, reply, { to, secret: this.#nodeLease.secret, signal })
      return answered
    } finally {
      if (!answered) {
        reply.raw.off('close', end)
        end()
      }
    }
  }

  #takeOver (record: StoredSession): Promise<Session | SessionError | undefined> {
    const running = this.#takeovers.get(record.id)
    if (running !== undefined) return running
    const takeover = this.#claim(record).finally(() => this.#takeovers.delete(record.id))
    this.#takeovers.set(record.id, takeover)
    return takeover
  }

  // Undefined: not now.
  async #claim (record: StoredSession): Promise<Session | SessionError | undefined> {
    try {
      return await this.#ownedSessions.takeOver(record)
    } catch (error) {
      if (error instanceof SessionLimitError) return error
      throw error
    }
  }
}

function ignoreLoss (error: unknown): void {
  if (!(error instanceof SessionLostError)) throw error
}
