import type { ListedNode } from '../http/session-directory.js'

/** A node of the cluster, as it is shown. */
export interface NodeRow {
  /** Another one after each start, and after a lease that was lost. */
  readonly id: string
  /** Where the other nodes reach it. */
  readonly url: string
  /** Whether it is the node that says so. */
  readonly self: boolean
  /** Milliseconds that its lease runs on; 0: it is over. */
  readonly lease: number
  /** How many sessions it holds. */
  readonly sessions: number
}

interface KnownNode extends ListedNode {
  /** When its lease is over, in milliseconds since the epoch. */
  readonly until: number
}

// For how long a node that has died is shown, in milliseconds.
const REMEMBERED = 60_000

/** The nodes of the cluster, those included whose leases ran out a moment ago. */
export class KnownNodes {
  readonly #nodes = new Map<string, KnownNode>()

  /** Is given what the directory says now. */
  learn (listed: readonly ListedNode[], now: number): void {
    const living = new Set(listed.map(({ id }) => id))
    for (const { id, until } of this.#nodes.values()) {
      // A node that closes in good order gives its lease back before it is over.
      const hasLeft = !living.has(id) && until > now
      if (hasLeft || until + REMEMBERED < now) this.#nodes.delete(id)
    }
    for (const node of listed) this.#nodes.set(node.id, { ...node, until: now + node.lease })
  }

  forget (): void {
    this.#nodes.clear()
  }

  /**
   * @param self the id of this node
   * @param sessions how many it has now: the directory can be a little behind
   */
  rows (self: string, sessions: number, now: number): NodeRow[] {
    return Array.from(this.#nodes.values(), (node) => ({
      id: node.id,
      url: node.url,
      self: node.id === self,
      lease: Math.max(0, Math.round(node.until - now)),
      sessions: node.id === self ? sessions : node.sessions
    })).toSorted((one, other) => one.url < other.url ? -1 : 1)
  }
}
