import type { SessionManager } from '../session/session-manager.js'
import type { Session, SessionMetadata, SessionOrigin } from '../session/session.js'

/** A session as a directory has it: in a cluster its times can be a little behind. */
export interface ListedSession extends SessionOrigin, Pick<Session, 'id' | 'createdAt' | 'lastAccessedAt'> {
  readonly metadata?: Readonly<SessionMetadata> | undefined
  /** The id of the node that serves it. Undefined: none does now, or there is no cluster. */
  readonly node?: string | undefined
}

/** A node of the cluster, as it told of itself when it last renewed its lease. */
export interface ListedNode {
  /** Another one after each start, and after a lease that was lost. */
  readonly id: string
  /** Where the other nodes reach it. */
  readonly url: string
  /** Milliseconds that its lease runs on. */
  readonly lease: number
  /** How many sessions it holds. */
  readonly sessions: number
}

/** What becomes of sessions that cannot be listed. */
export interface ListOptions {
  /** Called for each session whose record cannot be read; it is left out. The log says which and why. */
  readonly onUnreadable?: (() => void) | undefined
}

/** All sessions, on all nodes of a cluster, for operators. In a cluster every method rejects when Redis does not answer. */
export interface SessionDirectory {
  /** How many sessions there are. */
  count (): Promise<number>
  /** All sessions, in no order; one that comes or goes meanwhile may be missing. */
  list (options?: ListOptions): AsyncIterable<ListedSession>
  /**
   * Ends a session wherever it lives, and resolves to whether there was one. From then on no request finds it, but in a
   * cluster for those that reach its owner within a third of a lease.
   */
  terminate (id: string): Promise<boolean>
  /** The id of this node. Undefined without a cluster, and before it has joined. */
  readonly node: string | undefined
  /** The nodes whose leases run; without a cluster there are none. */
  nodes (): Promise<ListedNode[]>
}

/** The directory of a process that is on its own. */
export class LocalSessionDirectory implements SessionDirectory {
  readonly node = undefined
  readonly #sessions: SessionManager

  constructor (sessions: SessionManager) {
    this.#sessions = sessions
  }

  async count (): Promise<number> {
    return this.#sessions.getActiveSessionCount()
  }

  async * list (): AsyncGenerator<ListedSession> {
    for (const { id, createdAt, lastAccessedAt, metadata, principal, clientInfo, protocolVersion } of this.#sessions.list()) {
      yield { id, createdAt, lastAccessedAt, metadata, principal, clientInfo, protocolVersion }
    }
  }

  async terminate (id: string): Promise<boolean> {
    return this.#sessions.cleanup(id).success
  }

  async nodes (): Promise<ListedNode[]> {
    return []
  }
}
