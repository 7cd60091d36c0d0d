import type { ListedNode, ListedSession, ListOptions, SessionDirectory } from '../http/session-directory.js'
import { NotAcknowledgedError, type Directory, type StoredSession } from './directory.js'
import type { Outbox } from './outbox.js'
import { readOrigin } from './stored-state.js'
import type { ThisNode } from './this-node.js'

/** The type of the message that tells a node that one of its sessions was terminated elsewhere. */
export const TERMINATED = 'terminated'

/**
 * The sessions of the whole cluster. Every method rejects with a `DirectoryUnavailableError` when Redis does not answer, and
 * `terminate` when too few replicas have it (`cluster.waitForReplicas`).
 */
export class ClusterDirectory implements SessionDirectory {
  readonly #directory: Directory
  readonly #outbox: Outbox
  readonly #thisNode: Pick<ThisNode, 'incarnation'>
  readonly #closeLocally: (id: string) => boolean

  /** @param closeLocally closes the session if it lives in this process */
  constructor (
    directory: Directory,
    outbox: Outbox,
    thisNode: Pick<ThisNode, 'incarnation'>,
    closeLocally: (id: string) => boolean
  ) {
    this.#directory = directory
    this.#outbox = outbox
    this.#thisNode = thisNode
    this.#closeLocally = closeLocally
  }

  /** The incarnation of this node. */
  get node (): string | undefined {
    return this.#thisNode.incarnation
  }

  /** The nodes whose leases run. */
  async nodes (): Promise<ListedNode[]> {
    const loads = await this.#directory.loads()
    return loads.map(({ node, url, left, held }) => ({ id: node, url, lease: left, sessions: held }))
  }

  /** How many sessions the cluster has: those of nodes that have died as well, until they expire. */
  count (): Promise<number> {
    return this.#directory.count()
  }

  /** All sessions that can be read, in no order; one that comes or goes meanwhile may be missing. */
  async * list ({ onUnreadable }: ListOptions = {}): AsyncGenerator<ListedSession> {
    for await (const stored of this.#directory.list(onUnreadable)) yield toListed(stored)
  }

  /**
   * Ends a session wherever it lives, and resolves to whether there was one. From then on no request finds
   * it, but for those that reach its owner within a third of a lease.
   */
  async terminate (id: string): Promise<boolean> {
    try {
      return await this.#close(id, await this.#directory.remove(id))
    } catch (error) {
      // The record is gone all the same, and its owner must know.
      if (error instanceof NotAcknowledgedError) await this.#close(id, error.removed)
      throw error
    }
  }

  async #close (id: string, removed: StoredSession | undefined): Promise<boolean> {
    const wasLocal = this.#closeLocally(id)
    // The record is gone already: the owner is only told so that it need not find out by itself.
    if (!wasLocal && removed?.owner !== undefined) await this.#outbox.tell(removed.owner, { type: TERMINATED, id })
    return removed !== undefined || wasLocal
  }
}

function toListed (stored: StoredSession): ListedSession {
  const { id, createdAt, lastAccessedAt, metadata, owner } = stored
  return { ...readOrigin(stored), id, createdAt, lastAccessedAt, metadata, node: owner }
}
