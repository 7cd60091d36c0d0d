import type { FastifyReply, FastifyRequest } from 'fastify'
import type { IncomingMessage } from 'node:http'
import type { Readable } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import {
  ClusterUnavailableError, MisdirectedError, OwnerFailedError, OwnerUnreachableError, SessionLimitError, SessionNotFoundError,
  type SessionError
} from '../base/errors.js'
import type { Session } from '../session/session.js'
import { DirectoryUnavailableError, SessionLostError, type Directory, type Peer, type StoredSession } from './directory.js'
import type { Forwarder } from './forwarder.js'
import { ForwardError, type HopOutcome } from './hop-outcome.js'
import type { HopReceiver } from './hop-receiver.js'
import { KeptBody } from './kept-body.js'
import type { OwnedSessions } from './owned-sessions.js'
import type { NodeLease } from './lease.js'
import type { NodeLoads } from './node-loads.js'
import { FailureDetector } from './failure-detector.js'
import type { PeerTroubles } from './peer-troubles.js'
import { RecentOwners } from './recent-owners.js'
import type { ThisNode } from './this-node.js'
import { toUnavailable } from './unavailable.js'

// The pause before a request is tried again, in milliseconds. Each further one is twice as long, up to a quarter of the lease,
// because hundreds of requests may wait for one owner.
const SHORTEST_PAUSE = 100
const PAUSES_PER_LEASE = 4
// However late a request is passed on, its owner has this long to say that it has it, in milliseconds: time for a few
// questions. An owner looks for as long for a session that was passed on to it.
const SHORT_PATIENCE = 1000

export interface SessionRouterOptions {
  directory: Directory
  nodeLease: NodeLease
  ownedSessions: OwnedSessions
  forwarder: Pick<Forwarder, 'forward' | 'probe' | 'giveUp'>
  receiver: Pick<HopReceiver, 'isForwarded' | 'refuse'>
  thisNode: ThisNode
  troubles: PeerTroubles
  loads: Pick<NodeLoads, 'findPlace' | 'avoid' | 'isLeaving'>
  /** Milliseconds to wait for this node's lease. */
  patience: number
  /** The session of that id in this process. */
  find: (id: string) => Session | undefined
}

/** One request for a session, however often it is tried. */
interface Visit {
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  readonly id: string
  readonly principal: string | undefined
  /** From when on it is not tried again, on the clock of `performance.now`. */
  readonly deadline: number
  /** Why it has failed so far. */
  error: SessionError
  /** The owner that could not be reached last. */
  unreachable: Peer | undefined
}

type Located = Session | SessionError | 'answered'

/** Finds the owner of a session: has it answer the request, or takes the session over when it is gone. */
export class SessionRouter {
  readonly #directory: Directory
  readonly #nodeLease: NodeLease
  readonly #ownedSessions: OwnedSessions
  readonly #forwarder: SessionRouterOptions['forwarder']
  readonly #receiver: SessionRouterOptions['receiver']
  readonly #thisNode: ThisNode
  readonly #troubles: PeerTroubles
  readonly #loads: SessionRouterOptions['loads']
  readonly #peers: FailureDetector
  readonly #recentOwners = new RecentOwners()
  readonly #patience: number
  readonly #find: (id: string) => Session | undefined
  // By session id: one takeover at a time, however many requests arrive together.
  readonly #takeovers = new Map<string, Promise<Session | SessionError | undefined>>()
  // The bodies of requests that have been passed on.
  readonly #bodies = new WeakMap<IncomingMessage, KeptBody>()

  constructor (options: SessionRouterOptions) {
    const { directory, nodeLease, ownedSessions, forwarder, receiver, thisNode, troubles, loads, patience, find } = options
    this.#directory = directory
    this.#nodeLease = nodeLease
    this.#ownedSessions = ownedSessions
    this.#forwarder = forwarder
    this.#receiver = receiver
    this.#thisNode = thisNode
    this.#troubles = troubles
    this.#loads = loads
    const { lease } = nodeLease
    this.#peers = new FailureDetector({
      directory,
      lease,
      hasForgotten: async () => nodeLease.isRebuilding() || await nodeLease.hasForgotten(),
      probe: (peer) => forwarder.probe(peer, { secret: nodeLease.secret, patience: lease }),
      onSilent (peer, cause) {
        troubles.silent(peer, cause)
        forwarder.giveUp(peer, lease, cause)
      }
    })
    this.#patience = patience
    this.#find = find
  }

  /** See `SessionCluster.locate`. */
  async locate (request: FastifyRequest, reply: FastifyReply, id: string, principal: string | undefined): Promise<Located> {
    const isForwarded = this.#receiver.isForwarded(request)
    // An owner that has died without a word keeps its lease for a while; then its sessions can be taken over.
    const deadline = performance.now() + (isForwarded ? this.#shortPatience : this.#nodeLease.lease + 1000)
    const visit: Visit = { request, reply, id, principal, deadline, error: new ClusterUnavailableError(), unreachable: undefined }
    let pause = SHORTEST_PAUSE
    try {
      do {
        const outcome = await this.#tryOnce(visit)
        if (outcome !== undefined) return outcome
        await this.#pause(visit, pause)
        pause = Math.min(2 * pause, Math.max(this.#nodeLease.lease / PAUSES_PER_LEASE, SHORTEST_PAUSE))
      } while (performance.now() < deadline && !reply.raw.destroyed)
      // A request of another node goes back there: that node knows how much time it has left.
      return isForwarded ? this.#refuse(visit) : visit.error
    } catch (error) {
      if (error instanceof DirectoryUnavailableError) return toUnavailable(error)
      if (error instanceof ForwardError) return new OwnerFailedError()
      throw error
    }
  }

  /** See `SessionCluster.replay`. */
  replay (request: FastifyRequest): Readable | undefined {
    const body = this.#bodies.get(request.raw)
    return body?.isTaken === true ? body.open() : undefined
  }

  // Waits before the next attempt. Ends early when the lease of the owner that could not be reached is over.
  async #pause ({ unreachable }: Visit, pause: number): Promise<void> {
    if (unreachable === undefined) return setTimeout(pause)
    const { signal, end } = this.#peers.watch(unreachable)
    await setTimeout(pause, undefined, { signal }).catch(() => {})
    end()
  }

  // Undefined: it did not work, and may work a little later.
  async #tryOnce (visit: Visit): Promise<Located | undefined> {
    const { id, principal } = visit
    // A session that has just ended here may still be in the directory. The wait also lets Node.js read a body that has come
    // together with the head of the request.
    await this.#ownedSessions.whenLeft(id)
    if (this.#ownedSessions.isOver(id)) return new SessionNotFoundError()
    const session = this.#find(id)
    const local = session === undefined ? undefined : await this.#whenCurrent(session)
    if (local !== undefined) return local.principal === principal ? local : new SessionNotFoundError()
    const answer = await this.#askRecentOwner(visit)
    if (answer !== undefined) return answer
    const located = await this.#directory.get(id)
    if (located === undefined && await this.#isRebuilding()) return undefined
    if (located === undefined || located.record.principal !== principal) return new SessionNotFoundError()
    const { record, owner } = located
    if (owner === undefined || owner.node === this.#nodeLease.incarnation) return this.#takeOver(visit, record)
    if (!this.#thisNode.isAtSameAddress(owner)) return this.#passOnAtFirst(visit, owner)
    // The owner was at this address before this node came: it has died, and its lease need not be waited for.
    if (this.#thisNode.isNew) return this.#takeOver(visit, record)
    this.#troubles.misdirected(owner)
    return new MisdirectedError()
  }

  // Whether a session that is not in the directory may have an owner who has not written it again yet, because the directory
  // has lost data. With that it has lost the lease of this node, too, unless the lease is in another part of the directory.
  async #isRebuilding (): Promise<boolean> {
    const { incarnation } = this.#nodeLease
    if (incarnation === undefined) return false
    if (this.#directory.isInParts) await this.#nodeLease.hasForgotten()
    return this.#nodeLease.isRebuilding() || await this.#directory.peer(incarnation) === undefined
  }

  // The session, if it is still this node's.
  async #whenCurrent (session: Session): Promise<Session | undefined> {
    if (!this.#ownedSessions.isCurrent(session)) await this.#ownedSessions.settle(session).catch(ignoreLoss)
    return this.#ownedSessions.isCurrent(session) ? session : undefined
  }

  // Undefined: no owner is remembered, or it does not own the session any more. Then the directory is asked.
  async #askRecentOwner (visit: Visit): Promise<Located | undefined> {
    const { id, principal, request } = visit
    // After a loss of data the owner may not know the new secret of the cluster yet. It does when the directory has its sessions
    // again, so the directory is asked.
    if (this.#receiver.isForwarded(request) || this.#nodeLease.isRebuilding()) return undefined
    const owner = this.#recentOwners.find(id, principal)
    if (owner === undefined) return undefined
    this.#recentOwners.forget(id)
    return this.#passOn(visit, owner)
  }

  // Passes a request on to a node that may never have answered this one.
  #passOnAtFirst (visit: Visit, owner: Peer): Promise<Located | undefined> {
    this.#troubles.compare(this.#thisNode.origin, owner)
    return this.#passOn(visit, owner)
  }

  async #passOn (visit: Visit, owner: Peer): Promise<Located | undefined> {
    const { id, principal, request } = visit
    // What was passed on once is never passed on again.
    if (this.#receiver.isForwarded(request)) return this.#refuse(visit)
    const body = this.#bodies.get(request.raw) ?? new KeptBody(request.raw)
    this.#bodies.set(request.raw, body)
    const outcome = await this.#forward(visit, owner, body).catch((error: unknown) => this.#throwBroken(visit, owner, error))
    switch (outcome.kind) {
      case 'answered':
        this.#troubles.reached(owner)
        this.#recentOwners.note(id, principal, owner)
        return 'answered'
      case 'misdirected':
        this.#troubles.misdirected(owner)
        return new MisdirectedError()
      case 'stranger':
        this.#troubles.unreachable(owner, outcome.cause)
        visit.unreachable = owner
        // It may have acted on a request whose body it has got.
        visit.error = unreachable(body)
        return body.wasRead || this.#troubles.isLasting(owner) ? visit.error : undefined
      case 'unreachable':
        this.#troubles.unreachable(owner, outcome.cause)
        visit.unreachable = owner
        visit.error = new OwnerUnreachableError('Try again later')
        return this.#troubles.isLasting(owner) ? visit.error : undefined
      case 'silent':
        this.#troubles.silent(owner, outcome.cause)
        // Not tried again: it has taken long already, and the owner may be at work on it.
        return unreachable(body)
      default:
        return body.isWhole ? undefined : new ClusterUnavailableError()
    }
  }

  // Has the node that passed the request on look for the session anew.
  #refuse ({ request, reply }: Visit): SessionError {
    this.#receiver.refuse(request, reply)
    return new ClusterUnavailableError()
  }

  async #forward ({ request, reply, deadline }: Visit, to: Peer, body: KeptBody): Promise<HopOutcome> {
    // Without a lease this node may not know the secret of the cluster.
    if (!this.#nodeLease.isValid()) await this.#nodeLease.whenIncarnated(this.#patience)
    // A reply that is closed already would not say so again, below.
    if (reply.raw.destroyed) throw new ForwardError('The client has gone away')
    const { signal, end } = this.#peers.watch(to)
    reply.raw.on('close', end)
    let answered = false
    try {
      const { secret } = this.#nodeLease
      const patience = this.#patienceUntil(deadline)
      const outcome = await this.#forwarder.forward(request, reply, { to, secret, body, signal, patience })
      answered = outcome.kind === 'answered'
      return outcome
    } finally {
      if (!answered) {
        reply.raw.off('close', end)
        end()
      }
    }
  }

  #throwBroken ({ reply }: Visit, owner: Peer, error: unknown): never {
    // Not when the client has gone away: then that is why the request was broken off.
    if (error instanceof ForwardError && !reply.raw.destroyed) this.#troubles.broken(owner, error)
    throw error
  }

  // How long the owner has to say that it has the request. Undefined: there is time for the detector to find out that it is silent.
  #patienceUntil (deadline: number): number | undefined {
    const { lease } = this.#nodeLease
    const left = deadline - performance.now()
    return left < lease ? Math.max(left, this.#shortPatience) : undefined
  }

  get #shortPatience (): number {
    return Math.min(this.#nodeLease.lease / 2, SHORT_PATIENCE)
  }

  async #takeOver (visit: Visit, record: StoredSession): Promise<Located | undefined> {
    // The session may have come here while the directory was asked: this node must not claim it from itself.
    if (!this.#takeovers.has(record.id) && this.#find(record.id) !== undefined) return this.#tryOnce(visit)
    // This node closes: one that stays should take it.
    if (this.#loads.isLeaving && this.#receiver.isForwarded(visit.request)) return this.#refuse(visit)
    const elsewhere = this.#findPlace(visit)
    if (elsewhere !== undefined) return this.#leaveTo(visit, elsewhere)
    const taken = await this.#claimOnce(record)
    // If it is not current, the lease under which it was claimed is over already.
    if (taken === undefined || taken instanceof Error || this.#ownedSessions.isCurrent(taken)) return taken
    return undefined
  }

  // Another node with which the session is better off. None for a request that another node has passed on to this one.
  #findPlace ({ id, request }: Visit): Peer | undefined {
    if (this.#takeovers.has(id) || this.#receiver.isForwarded(request)) return undefined
    const place = this.#loads.findPlace()
    return place === undefined || this.#thisNode.isAtSameAddress(place) ? undefined : place
  }

  // Leaves the session to another node. If that cannot be reached, or is full by now, this node takes another way at once.
  async #leaveTo (visit: Visit, place: Peer): Promise<Located | undefined> {
    const outcome = await this.#passOnAtFirst(visit, place)
    if (outcome === 'answered') return outcome
    this.#loads.avoid(place)
    // A node that has read the request may have acted on it.
    return this.#bodies.get(visit.request.raw)?.wasRead === true ? outcome : undefined
  }

  #claimOnce (record: StoredSession): Promise<Session | SessionError | undefined> {
    const running = this.#takeovers.get(record.id)
    if (running !== undefined) return running
    const takeover = this.#claim(record).finally(() => this.#takeovers.delete(record.id))
    this.#takeovers.set(record.id, takeover)
    return takeover
  }

  // Undefined: it did not work, and may work a little later.
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

function unreachable ({ wasRead }: KeptBody): SessionError {
  return new OwnerUnreachableError(wasRead ? 'The request may or may not have been carried out' : 'Try again later')
}
