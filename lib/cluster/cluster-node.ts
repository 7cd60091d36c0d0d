import type { FastifyBaseLogger, FastifyReply, FastifyRequest } from 'fastify'
import { hkdfSync } from 'node:crypto'
import type { Server } from 'node:http'
import type { Readable } from 'node:stream'
import { ClusterUnavailableError, MisdirectedError, OwnerFailedError, type SessionError } from '../base/errors.js'
import { throttle } from '../base/throttle.js'
import type { EventLog, EventLogBounds } from '../http/event-log.js'
import type { SessionCluster, SessionState } from '../http/session-cluster.js'
import type { Stop } from '../observe/listen.js'
import { ParkedSet } from '../observe/parked-set.js'
import type { SessionManager } from '../session/session-manager.js'
import type { Session } from '../session/session.js'
import type { Successor } from '../http/shutdown.js'
import { SessionLostError, NotAcknowledgedError, type JsonObject, type NodeLoad } from './directory.js'
import { Outage } from './outage.js'
import { Outbox } from './outbox.js'
import { Forwarder } from './forwarder.js'
import { HopReceiver } from './hop-receiver.js'
import { OwnedSessions } from './owned-sessions.js'
import { PeerTroubles } from './peer-troubles.js'
import { findLoopbackFault } from './advertise.js'
import type { Warnings } from '../http/warnings.js'
import { NodeLease } from './lease.js'
import { NodeLoads } from './node-loads.js'
import { resolveClusterOptions, type ClusterOptions } from './options.js'
import { OWNER_MEMORY } from './recent-owners.js'
import { RedisAnnouncements } from './redis/announcements.js'
import { RedisMinuteCounts } from './redis/minute-counts.js'
import type { RedisCommands } from './redis/commands.js'
import { RedisDirectory } from './redis/directory.js'
import { RedisEventStore } from './redis/event-store.js'
import { ClusterDirectory, TERMINATED } from './cluster-directory.js'
import { SessionRouter } from './session-router.js'
import { NodeUses } from './session-uses.js'
import { ThisNode } from './this-node.js'
import { toUnavailable } from './unavailable.js'

// How long a request waits for Redis, in milliseconds.
const PATIENCE = 1000
// How long a request may be on its way from one node to another, in milliseconds.
const ON_ITS_WAY = 100
// How much later a node that is busy may act on what it remembers, in milliseconds.
const LATENESS = 400
// When sessions were last used is written so many times per ttl, and at least once in the longest interval, in milliseconds.
const WRITES_PER_TTL = 20
const LONGEST_WRITE_INTERVAL = 60_000
// How often it is logged at most that events are not kept, in milliseconds: every open stream would say it.
const EVENTS_INTERVAL = 60_000

const SHORTAGE = 'Too few replicas of Redis have what it is told for "cluster.waitForReplicas". Until they do, what follows from it ' +
  'is answered with 503'

export interface ClusterNodeOptions {
  sessions: SessionManager
  /** Idle milliseconds after which a session expires; 0: never. */
  ttl: number
  options: ClusterOptions
  /** Finds the URL at which the other nodes reach this one. Asked where the options do not say it. */
  findOwnUrl: () => string
  /** The path at which nodes ask each other. */
  pingPath: string
  log: FastifyBaseLogger
  warnings: Warnings
}

/** @throws TypeError that names the option */
export function createClusterNode ({ sessions, ttl, options, findOwnUrl, pingPath, log, warnings }: ClusterNodeOptions): ClusterNode {
  const { redis, prefix, lease, advertise, dispatcher, balance, waitForReplicas } = resolveClusterOptions(options)
  const interval = Math.min(ttl / WRITES_PER_TTL, LONGEST_WRITE_INTERVAL)
  // The record of a session outlives its ttl by an interval: its last use may not be written yet.
  const directory = new RedisDirectory({
    redis,
    isOwn: true,
    prefix,
    timeout: Math.min(PATIENCE, lease / 3),
    ttl: ttl + interval,
    waitForReplicas,
    onShortage: (shortage) => logShortage(log, shortage),
    onUnreadable: ({ message }, key) => {
      log.error({ key }, `The record of a session cannot be read, for ${message}. To its client the session is gone`)
    }
  })
  const url = (): string => advertise ?? findOwnUrl()
  const nodeLease = new NodeLease({ directory, lease, url })
  const load = (): Pick<NodeLoad, 'held' | 'room' | 'spare'> => ({
    held: sessions.getActiveSessionCount(), room: Math.max(0, sessions.room), spare: sessions.nextToEvict()?.activeRequests === 0
  })
  const loads = new NodeLoads({ directory, nodeLease, load, url, balances: balance })
  const warnOfLoopback = (what: string): void => warnings.warn('FST_WARN_MCP_SESSION_ADVERTISE', what)
  nodeLease.once('joined', () => {
    const fault = findLoopbackFault(url(), redis.options.host)
    if (fault !== undefined) warnOfLoopback(fault)
  })
  const thisNode = new ThisNode(nodeLease, url)
  const forwarder = new Forwarder({ dispatcher, pingPath })
  return new ClusterNode({ sessions, directory, nodeLease, loads, interval, log, warnOfLoopback, thisNode, forwarder })
}

interface ClusterParts {
  sessions: SessionManager
  directory: RedisDirectory
  nodeLease: NodeLease
  loads: NodeLoads
  thisNode: ThisNode
  forwarder: Forwarder
  /** Milliseconds between two writes of when sessions were last used; 0: never. */
  interval: number
  log: FastifyBaseLogger
  warnOfLoopback: (what: string) => void
}

/** This process as a node of the cluster. */
export class ClusterNode implements SessionCluster, Successor {
  readonly directory: ClusterDirectory
  readonly announcements: RedisAnnouncements
  readonly minuteCounts: RedisMinuteCounts
  readonly uses: NodeUses
  readonly #nodeLease: NodeLease
  readonly #loads: NodeLoads
  readonly #outbox: Outbox
  readonly #ownedSessions: OwnedSessions
  readonly #locator: SessionRouter
  readonly #forwarder: Forwarder
  readonly #receiver: HopReceiver
  readonly #commands: RedisCommands
  readonly #readSecret: () => Promise<string>
  readonly #tellOfEvents: (error: unknown) => void
  readonly #outage: Outage
  readonly #liveness: NodeJS.Timeout | undefined
  readonly #stopListening: Stop

  constructor ({ sessions, directory, nodeLease, loads, thisNode, forwarder, interval, log, warnOfLoopback }: ClusterParts) {
    const onError = (message: string, error: unknown): void => {
      // That replicas are missing is logged once for all writes, by `logShortage`.
      if (!(error instanceof NotAcknowledgedError)) log.warn(error, message)
    }
    const find = (id: string): Session | undefined => sessions.get(id)
    this.#nodeLease = nodeLease
    this.#loads = loads
    this.#commands = directory.commands
    this.#readSecret = async () => (await directory.history()).secret
    this.#tellOfEvents = throttle(EVENTS_INTERVAL, (error) => onError('Events of a session cannot be replayed later', error))
    this.#outbox = new Outbox({ directory, onError })
    this.#ownedSessions = new OwnedSessions({ sessions, directory, nodeLease, outbox: this.#outbox, patience: PATIENCE, onError })
    this.#forwarder = forwarder
    this.#receiver = new HopReceiver(thisNode)
    this.#locator = new SessionRouter({
      directory,
      nodeLease,
      ownedSessions: this.#ownedSessions,
      forwarder,
      receiver: this.#receiver,
      thisNode,
      troubles: new PeerTroubles({ lease: nodeLease.lease, log, warnOfLoopback }),
      loads,
      patience: PATIENCE,
      find
    })
    this.minuteCounts = new RedisMinuteCounts(directory.commands)
    this.announcements = new RedisAnnouncements({ commands: directory.commands, onError })
    this.directory = new ClusterDirectory(directory, this.#outbox, thisNode, (id) => sessions.cleanup(id).success)

    const parked = new ParkedSet()
    this.#stopListening = parked.listen(sessions)
    this.uses = new NodeUses({ directory, nodeLease, sessions, parked })
    nodeLease.on('renewed', () => this.#catchUp())
    nodeLease.on('mail', (messages) => {
      closeTerminated(sessions, messages)
      this.uses.hear(messages)
    })
    this.#outage = new Outage(nodeLease, log, sessions)
    nodeLease.on('joined', (incarnation) => {
      log.info({ url: thisNode.origin, incarnation, lease: nodeLease.lease }, 'This node has joined the cluster')
    })
    if (interval > 0) this.#liveness = this.#startWriting(interval)
  }

  /** What keeps this node from answering for sessions. Undefined: nothing. */
  get trouble (): 'redis-away' | 'no-lease' | undefined {
    if (this.#outage.isOn) return 'redis-away'
    return this.#nodeLease.isValid() ? undefined : 'no-lease'
  }

  /** Asks for a lease. Never rejects. */
  async join (): Promise<void> {
    this.announcements.start()
    await this.#nodeLease.join()
  }

  /** See `Successor`: the shutdown has begun, and no session is to come here any more. */
  begin (): void {
    this.#loads.leave()
  }

  /** See `Successor`: for so long others still pass requests on to this node, without asking who the owner is now. */
  get notice (): number {
    const forgotten = this.#loads.hasOthers ? this.#receiver.servedLast + OWNER_MEMORY + LATENESS : 0
    return Math.max(0, forgotten - performance.now()) + ON_ITS_WAY
  }

  /** Resolves when the directory knows that the sessions which were handed over have no owner. Never rejects. */
  async settle (): Promise<void> {
    await this.#ownedSessions.whenAllLeft()
    // A flush that has failed a moment ago would only fail again, and hold up the shutdown.
    if (!this.#outbox.isFailing) await this.#outbox.flush()
  }

  /** Lets go of what is left, so that the others need not wait for the lease to end. Never rejects. */
  async leave (): Promise<void> {
    clearInterval(this.#liveness)
    this.#stopListening()
    await this.#loads.leave()
    await this.settle()
    await this.announcements.close()
    await this.#nodeLease.leave()
    this.#commands.close()
    await this.#forwarder.close()
  }

  isCurrent (session: Session): boolean {
    return this.#ownedSessions.isCurrent(session)
  }

  locate (
    request: FastifyRequest,
    reply: FastifyReply,
    id: string,
    principal: string | undefined
  ): Promise<Session | SessionError | 'answered'> {
    return this.#locator.locate(request, reply, id, principal)
  }

  /** Has the answers to other nodes signed from now on, so that they can tell that this node has answered. */
  listen (server: Pick<Server, 'prependListener'>): void {
    this.#receiver.listen(server)
  }

  receive (request: FastifyRequest, reply: FastifyReply): SessionError | undefined {
    const received = this.#receiver.receive(request, reply)
    if (received === 'mine') this.#receiver.presentCaller(request)
    return received === 'misdirected' ? new MisdirectedError() : undefined
  }

  isForwarded (request: FastifyRequest): boolean {
    return this.#receiver.isForwarded(request)
  }

  replay (request: FastifyRequest): Readable | undefined {
    return this.#locator.replay(request)
  }

  barrier (session: Session): Promise<void> | undefined {
    if (this.#ownedSessions.isSettled(session)) return undefined
    return this.#ownedSessions.settle(session).catch((error: unknown) => {
      throw error instanceof SessionLostError ? new OwnerFailedError() : toUnavailable(error)
    })
  }

  createEventLog (session: Session, bounds: EventLogBounds): EventLog {
    return new RedisEventStore({
      commands: this.#commands,
      id: session.id,
      bounds,
      epoch: () => this.#ownedSessions.epochOf(session),
      ready: () => this.#ownedSessions.isCurrent(session) ? undefined : this.#ownedSessions.settle(session),
      onUnavailable: this.#tellOfEvents,
      onLost: () => this.#ownedSessions.doubt(session)
    })
  }

  /** 32 bytes that all nodes of the cluster know, and nobody else. Rejects with a `ClusterUnavailableError`. */
  async requestStateKey (): Promise<Uint8Array> {
    const secret = this.#nodeLease.secret || await this.#readSecret().catch(() => { throw new ClusterUnavailableError() })
    return new Uint8Array(hkdfSync('sha256', secret, '', 'fastify-mcp-sessions requestState', 32))
  }

  saveState (session: Session, state: SessionState): void {
    this.#ownedSessions.saveState(session, state)
  }

  readState (session: Session): SessionState | undefined {
    return this.#ownedSessions.readState(session)
  }

  // Writes what could not be written before: during an outage, without a lease, or because Redis has failed once.
  #catchUp (): void {
    this.#ownedSessions.settleAll()
    this.#outbox.flush()
    this.#loads.report().then(() => this.#ownedSessions.letGo(this.#loads.surplus))
  }

  #startWriting (interval: number): NodeJS.Timeout {
    const timer = setInterval(() => { this.#ownedSessions.writeLiveness() }, interval)
    timer.unref()
    return timer
  }
}

// Called once when replicas begin to be missing, and once when they are back.
function logShortage (log: FastifyBaseLogger, shortage: NotAcknowledgedError | undefined): void {
  if (shortage === undefined) log.info('As many replicas of Redis as "cluster.waitForReplicas" asks for have what it is told again')
  else log.error(shortage, SHORTAGE)
}

function closeTerminated (sessions: SessionManager, messages: JsonObject[]): void {
  for (const { type, id } of messages) {
    if (type === TERMINATED && typeof id === 'string') sessions.cleanup(id)
  }
}
