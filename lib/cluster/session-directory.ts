import type { Session, SessionMetadata, SessionOrigin } from '../session/session.js'
import type { Directory, StoredSession } from './directory.js'
import type { Outbox } from './outbox.js'
import { readOrigin } from './stored-state.js'

/** A session of the cluster, as the directory has it: its times can be a little behind. */
export interface ClusterSession extends SessionOrigin, Pick<Session, 'id' | 'createdAt' | 'lastAccessedAt'> {
  readonly metadata?: Readonly<SessionMetadata> | undefined
}

/** What a node is told when one of its sessions was terminated elsewhere. */
export const TERMINATED = 'terminated'

/**
 * The sessions of the whole cluster, for operators. Every method rejects with a
 * `DirectoryUnavailableError` when Redis does not answer.
 */
export class SessionDirectory {
  readonly #directory: Directory
  readonly #outbox: Outbox
  readonly #closeLocally: (id: string) => boolean

  /** @param closeLocally closes the session if it lives in this process */
  constructor (directory: Directory, outbox: Outbox, closeLocally: (id: string) => boolean) {
    this.#directory = directory
    this.#outbox = outbox
    this.#closeLocally = closeLocally
  }

  /** How many sessions the cluster has. Walks through the keys of Redis, page by page. */
  count (): Promise<number> {
    return this.#directory.count()
  }

  /** All sessions, in no order; one that comes or goes meanwhile may be missing. */
  async * list (): AsyncGenerator<ClusterSession> {
    for await (const stored of this.#directory.list()) yield toClusterSession(stored)
  }

  /**
   * Ends a session wherever it lives, and resolves to whether there was one. From then on no request finds
   * it, but for those that reach its owner within a third of a lease.
   */
  async terminate (id: string): Promise<boolean> {
    const removed = await this.#directory.remove(id)
    const wasLocal = this.#closeLocally(id)
    // It is over whether or not its owner hears of it at once.
    if (!wasLocal && removed?.owner !== undefined) await this.#outbox.tell(removed.owner, { type: TERMINATED, id })
    return removed !== undefined || wasLocal
  }
}

function toClusterSession (stored: StoredSession): ClusterSession {
  const { id, createdAt, lastAccessedAt, metadata } = stored
  return { ...readOrigin(stored), id, createdAt, lastAccessedAt, metadata }
}
