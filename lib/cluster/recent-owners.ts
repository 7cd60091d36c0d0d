import type { Peer } from './directory.js'

interface RecentOwner {
  readonly owner: Peer
  /** The principal to which the session belongs. */
  readonly principal: string | undefined
  readonly until: number
}

/** How long an owner is not asked for again, in milliseconds. */
export const OWNER_MEMORY = 1000
const MOST_REMEMBERED = 10_000

/**
 * Which nodes have just answered for which sessions, so that the directory need not be asked for each request. It may be out
 * of date: a node refuses requests for sessions that it does not own any more.
 */
export class RecentOwners {
  // In the order of the time until which they are remembered.
  readonly #owners = new Map<string, RecentOwner>()

  note (id: string, principal: string | undefined, owner: Peer): void {
    const now = performance.now()
    this.#owners.delete(id)
    this.#owners.set(id, { owner, principal, until: now + OWNER_MEMORY })
    for (const [oldest, { until }] of this.#owners) {
      if (until > now && this.#owners.size <= MOST_REMEMBERED) break
      this.#owners.delete(oldest)
    }
  }

  /** The owner, if the session belongs to the principal. Undefined: ask the directory. */
  find (id: string, principal: string | undefined): Peer | undefined {
    const recent = this.#owners.get(id)
    return recent !== undefined && recent.principal === principal && recent.until > performance.now() ? recent.owner : undefined
  }

  forget (id: string): void {
    this.#owners.delete(id)
  }
}
