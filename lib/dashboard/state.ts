import type { ClusterView } from './cluster-view.js'
import { INTERVAL, type History, type HistoryBucket } from './history.js'
import type { NodeRow } from './known-nodes.js'
import type { LiveSessions, Totals } from './live-sessions.js'
import type { TableQuery } from './query.js'
import { tabulate, type SessionTable } from './session-table.js'
import type { ShownSession } from './shown-session.js'

/** All that the page shows, as it is answered in JSON. */
export interface DashboardState {
  /** Milliseconds since the epoch. */
  readonly at: number
  /** The id of the node that says so; empty without a cluster. */
  readonly node: string
  /** The numbers of this node alone. */
  readonly totals: Totals
  /** The sessions of all nodes that the query has found. */
  readonly sessions: SessionTable
  /** The last hour of this node alone. */
  readonly history: {
    /** The length of a bucket, in milliseconds. */
    readonly interval: number
    /** The oldest first; the last one is the running minute. */
    readonly buckets: readonly HistoryBucket[]
  }
  /** The nodes of the cluster; empty without one. */
  readonly nodes: readonly NodeRow[]
}

/** What there is to show at one moment. */
export interface Look {
  /** A text that changes with each change, but not with the time that goes by. */
  readonly fingerprint: string
  make (query: TableQuery): DashboardState
}

export interface StatesOptions {
  readonly live: LiveSessions
  readonly history: History
  /** Undefined: all sessions live here. */
  readonly cluster: ClusterView | undefined
}

/** What there is to show, for each query. */
export class States {
  readonly #live: LiveSessions
  readonly #history: History
  readonly #cluster: ClusterView | undefined
  readonly #now: () => number

  constructor ({ live, history, cluster }: StatesOptions, now: () => number = Date.now) {
    this.#live = live
    this.#history = history
    this.#cluster = cluster
    this.#now = now
  }

  look (): Look {
    const { totals, fingerprint } = this.#live.look()
    return {
      fingerprint: [fingerprint, this.#history.since, this.#cluster?.version].join(),
      make: (query) => this.#make(query, totals)
    }
  }

  /** The id of a session that is shown under this hash. */
  find (hash: string): string | undefined {
    for (const session of this.#all()) if (session.hash === hash) return session.id
    return undefined
  }

  #make (query: TableQuery, totals: Totals): DashboardState {
    const now = this.#now()
    const { node } = this.#live
    return {
      at: now,
      node,
      totals,
      sessions: tabulate(this.#all(), query, now),
      history: { interval: INTERVAL, buckets: this.#history.buckets },
      nodes: this.#cluster?.nodes.rows(node, totals.sessions, now) ?? []
    }
  }

  // A session that lives here is shown once, even if the directory, which can be behind, still has it on another node.
  * #all (): Generator<ShownSession & { readonly id: string }> {
    yield * this.#live
    for (const session of this.#cluster?.sessions ?? []) if (!this.#live.has(session.id)) yield session
  }
}
