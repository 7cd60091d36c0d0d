/** Anything that `JSON.stringify` writes and `JSON.parse` reads back unchanged. */
export type JsonObject = Record<string, unknown>

/** A session as every node of the cluster sees it. Times are milliseconds since 1970. */
export interface StoredSession {
  id: string
  /** Who opened it; `undefined` for an anonymous session. */
  principal: string | undefined
  /** The incarnation id of the node that serves it; `undefined` after a hand-over. */
  owner: string | undefined
  /**
   * The fencing token, new with every change of owner. A write that names another epoch than the stored one is
   * refused. It begins with the clock of the store, so that the later one of two can be told, and ends with a random
   * part, so that two histories of a store that was rolled back never come to the same one.
   */
  epoch: string
  createdAt: number
  lastAccessedAt: number
  metadata: JsonObject | undefined
  /** What it takes to rebuild the session elsewhere: the handshake. */
  state: JsonObject | undefined
}

export type NewSession = Omit<StoredSession, 'epoch' | 'owner'> & { owner: string }

/** A node as the others reach it. */
export interface Peer {
  /** Its incarnation id: a node that lost its lease comes back under another one. */
  node: string
  url: string
}

/** A node, and how many sessions it holds and has room for. */
export interface NodeLoad extends Peer {
  held: number
  /** How many more it has room for. Infinity: without limit. */
  room: number
  /** Whether it has an idle session that could go back into the directory to make room. */
  spare: boolean
}

export interface KnownLoad extends NodeLoad {
  /** Milliseconds for which it still counts: what is left of the lease of the node. */
  left: number
}

export interface Located {
  record: StoredSession
  /** The owner, if its lease runs; `undefined`: nobody serves the session and it may be claimed. */
  owner: Peer | undefined
}

/** A session as its owner knows it. */
export interface Held {
  id: string
  epoch: string
}

/** A record as it was when somebody decided to claim it. */
export interface Claimable extends Held {
  owner: string | undefined
}

/** The copy that a node has of a session, when the store may have lost its own. */
export interface Copy {
  /** The epoch at which the node has held the session. */
  epoch: string
  /** Whether nobody can have taken the session since: then whatever the store has instead is older. */
  isCertain: boolean
  /** Whether the store must still have the session: the copy may be stale, and must not bring back one that has ended. */
  mustExist: boolean
}

/** An unbroken life of the data in the store. */
export interface History {
  /** Changes when the store may have lost what it was told last, or all of it. */
  id: string
  /** Milliseconds since the first node asked for it. */
  age: number
  /** Whether it began with an empty store: then all that is there was written since. */
  isFresh: boolean
  /** What the nodes sign their forwarding headers with. */
  secret: string
}

export interface Liveness extends Held {
  /** Milliseconds since 1970 on this machine's clock; the session expires one ttl later. */
  lastAccessedAt: number
  /** To undo a claim: the epoch before it. Until somebody claims the session, copies of other nodes are compared with that one. */
  from?: string | undefined
}

export interface Changes {
  /** Left out: unchanged. `undefined`: removed. */
  metadata?: JsonObject | undefined
  /** Left out: unchanged. `undefined`: removed. */
  state?: JsonObject | undefined
}

/**
 * Where every session of the cluster lives, and which nodes are alive.
 *
 * Every method settles within a bounded time, and rejects with a `DirectoryUnavailableError` when the store
 * cannot answer: that is never the same as "no such session". Where replicas are waited for, the methods that change
 * a session reject with a `NotAcknowledgedError` when too few replicas have the change.
 *
 * A session key and a node's lease need not be readable at one instant (in Redis Cluster they are on
 * different machines). What makes two owners impossible is `claim`, a compare-and-set on the epoch, with
 * this rule: a node whose lease has lapsed comes back under a new incarnation id, and claims each of its
 * sessions again before it serves it.
 */
export interface Directory {
  /** Idle milliseconds after which a record is gone; `0`: never. */
  readonly ttl: number
  /** Whether sessions can be lost while leases are not, and the other way round. */
  readonly isInParts: boolean

  /**
   * Records a new session and returns its epoch, or `undefined` if the id is taken. Its owner may record it again, as long
   * as it is the owner: it may not have got the answer.
   */
  create (session: NewSession): Promise<string | undefined>

  /** The record, and its owner if that is alive. Does not count as use of the session. */
  get (id: string): Promise<Located | undefined>

  /**
   * Makes `node` the owner, if owner and epoch are still what they were. The caller has seen that the owner's lease is
   * over. Returns the record with its new epoch, or `undefined` if another node was first or the session is gone.
   *
   * It also succeeds when `node` has claimed the session already, for it may not have got the answer, and when another
   * node has claimed it since and undone that. The record expires one ttl after `lastAccessedAt`.
   */
  claim (session: Claimable, node: string, lastAccessedAt: number): Promise<StoredSession | undefined>

  /**
   * Brings back, under a new epoch, a session that the store may have lost, unless the store has a later copy. Of several
   * copies the latest stays, as long as none is claimed. Returns the epoch; `undefined`: the copy is of no use.
   */
  recover (session: NewSession, copy: Copy): Promise<string | undefined>

  /**
   * Writes back when sessions were last used. Returns the ids that are lost: gone, or at another epoch.
   * An expired record is never brought back.
   */
  touch (sessions: readonly Liveness[]): Promise<string[]>

  /** False if the session is gone or at another epoch; nothing was written then. */
  update (id: string, epoch: string, changes: Changes): Promise<boolean>

  /**
   * Lets go of sessions so that any node may claim them at once; the records stay, at a new epoch, and
   * expire one ttl after `lastAccessedAt`. Returns the ids that were lost already.
   */
  release (sessions: readonly Liveness[]): Promise<string[]>

  /**
   * Ends a session, and its stored events with it. With `epoch`, only if it is still at that epoch.
   * Returns the record that was removed, so that its owner can be told, or `undefined`.
   */
  remove (id: string, epoch?: string): Promise<StoredSession | undefined>

  /** How many sessions the cluster has, whether somebody serves them or not, and whether or not they can be read. */
  count (): Promise<number>

  /**
   * Every session of the cluster, in no order. A session that comes or goes during the walk may or may not
   * be in it; none comes twice. `onUnreadable` is called for each record that cannot be read, and is left out.
   */
  list (onUnreadable?: () => void): AsyncIterable<StoredSession>

  /** Starts the lease of an incarnation for `lease` milliseconds. False if that id is in use. */
  announce (peer: Peer, lease: number): Promise<boolean>

  /**
   * Extends a lease that has never been interrupted, and takes what lies in the node's mailbox.
   * `undefined`: the lease is over, and so is the incarnation.
   */
  renew (node: string, lease: number): Promise<JsonObject[] | undefined>

  /** Ends a lease and throws its mailbox away. */
  withdraw (node: string): Promise<void>

  /** The node, if its lease runs. Unlike `get`, always asks the store. */
  peer (node: string): Promise<Peer | undefined>

  /**
   * Puts a message in a living node's mailbox, which it reads at its next renewal. False if the node is
   * gone. The mailbox is bounded and drops its oldest messages: it makes things faster, never safe.
   */
  send (node: string, message: JsonObject): Promise<boolean>

  /** Tells the load of a node, which counts for `lease` milliseconds, and returns those that count now. */
  report (load: NodeLoad, lease: number): Promise<NodeLoad[]>

  /** The loads that count now: for operators. */
  loads (): Promise<KnownLoad[]>

  /** Which history this is. The first to ask begins it. */
  history (): Promise<History>
}

/** The directory did not answer in time, or answered with an error: `cause` says which. */
export class DirectoryUnavailableError extends Error {
  override name = 'DirectoryUnavailableError'

  constructor (message: string, cause?: unknown) {
    super(message, { cause })
  }
}

/**
 * The store has made the change, but too few replicas had it in time. It counts as failed, and is undone where that is
 * possible.
 */
export class NotAcknowledgedError extends DirectoryUnavailableError {
  override name = 'NotAcknowledgedError'
  /** What the store has answered. */
  readonly reply: unknown
  /** The session that was removed, if that was the change. */
  removed: StoredSession | undefined

  constructor (message: string, { cause, reply }: { cause?: unknown, reply?: unknown } = {}) {
    super(message, cause)
    this.reply = reply
  }
}

/** Copies of the session are being compared, after a loss of data: soon it is known which one lives on. */
export class SessionRecoveringError extends DirectoryUnavailableError {
  override name = 'SessionRecoveringError'
}

/** The session is gone or belongs to another node: this copy of it may neither answer nor write. */
export class SessionLostError extends Error {
  override name = 'SessionLostError'
}

/** How long a record may live on, in whole milliseconds: at least 1, and `0` for ever. */
export function remainingLife (ttl: number, lastAccessedAt: number, now: number): number {
  if (ttl === 0) return 0
  return Math.max(1, Math.ceil(Math.min(ttl, lastAccessedAt + ttl - now, Number.MAX_SAFE_INTEGER)))
}
