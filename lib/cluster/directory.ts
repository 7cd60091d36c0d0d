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
   * The fencing token: grows with every change of owner, and an id used again starts above every epoch it
   * had before. A write that names another epoch than the stored one is refused.
   */
  epoch: number
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

export interface Located {
  record: StoredSession
  /** The owner, if its lease runs; `undefined`: nobody serves the session and it may be claimed. */
  owner: Peer | undefined
}

/** A session as its owner knows it. */
export interface Held {
  id: string
  epoch: number
}

export interface Liveness extends Held {
  /** Milliseconds since 1970 on this machine's clock; the session expires one ttl later. */
  lastAccessedAt: number
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
 * Every method settles within a bounded time and rejects with a `DirectoryUnavailableError` when the store
 * cannot answer: that is never the same as "no such session".
 *
 * A session key and a node's lease need not be readable at one instant (in Redis Cluster they are on
 * different machines). What makes two owners impossible is `claim`, a compare-and-set on the epoch, with
 * this rule: a node whose lease has lapsed comes back under a new incarnation id, and claims each of its
 * sessions again before it serves it.
 */
export interface Directory {
  /** Idle milliseconds after which a record is gone; `0`: never. */
  readonly ttl: number

  /** Records a new session and returns its epoch, or `undefined` if the id is taken. */
  create (session: NewSession): Promise<number | undefined>

  /** The record, and its owner if that is alive. Does not count as use of the session. */
  get (id: string): Promise<Located | undefined>

  /**
   * Makes `node` the owner, if the epoch is still `epoch`. Returns the record with its new epoch, or
   * `undefined` if another node was first or the session is gone. The caller has seen that the owner's
   * lease is over; the record expires one ttl after `lastAccessedAt`.
   */
  claim (id: string, epoch: number, node: string, lastAccessedAt: number): Promise<StoredSession | undefined>

  /**
   * Writes back when sessions were last used. Returns the ids that are lost: gone, or at another epoch.
   * An expired record is never brought back.
   */
  touch (sessions: readonly Liveness[]): Promise<string[]>

  /** False if the session is gone or at another epoch; nothing was written then. */
  update (id: string, epoch: number, changes: Changes): Promise<boolean>

  /**
   * Lets go of sessions so that any node may claim them at once; the records stay, at a new epoch, and
   * expire one ttl after `lastAccessedAt`. Returns the ids that were lost already.
   */
  release (sessions: readonly Liveness[]): Promise<string[]>

  /**
   * Ends a session, and its stored events with it. With `epoch`, only if it is still at that epoch.
   * Returns the record that was removed, so that its owner can be told, or `undefined`.
   */
  remove (id: string, epoch?: number): Promise<StoredSession | undefined>

  /** How many sessions the cluster has. Costs a walk through the keys: for operators, not for requests. */
  count (): Promise<number>

  /**
   * Every session of the cluster, in no order. A session that comes or goes during the walk may or may not
   * be in it; none comes twice.
   */
  list (): AsyncIterable<StoredSession>

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

  /** The secret that the nodes sign their forwarding headers with; the first to ask makes it. */
  secret (): Promise<string>
}

/** The directory did not answer in time, or answered with an error: `cause` says which. */
export class DirectoryUnavailableError extends Error {
  override name = 'DirectoryUnavailableError'

  constructor (message: string, cause?: unknown) {
    super(message, { cause })
  }
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
