import type { Peer } from './directory.js'
import type { NodeLease } from './lease.js'

// Former incarnations, of which requests may still be running.
const MOST_REMEMBERED = 16

/** This node as the others see it: its incarnation and its address. */
export class ThisNode {
  readonly #nodeLease: NodeLease
  readonly #now: () => number
  #joinedAt = -Infinity
  #origin = ''
  // The last incarnations of this process before this one.
  #former: string[] = []

  /**
   * @param url at which the others reach it
   * @param now milliseconds on a clock that never goes back
   */
  constructor (nodeLease: NodeLease, url: () => string, now: () => number = () => performance.now()) {
    this.#nodeLease = nodeLease
    this.#now = now
    nodeLease.on('joined', (_incarnation, previous) => {
      if (previous !== undefined) this.#former = [...this.#former, previous].slice(-MOST_REMEMBERED)
      this.#joinedAt = now()
      this.#origin = new URL(url()).origin
    })
  }

  /** The incarnation of this node. Undefined before the first lease. */
  get incarnation (): string | undefined {
    return this.#nodeLease.incarnation
  }

  /** The secret of the cluster; empty before the first lease. */
  get secret (): string {
    return this.#nodeLease.secret
  }

  /** The secret before this one, while other nodes may still go by it; empty: there is none. */
  get formerSecret (): string {
    return this.#nodeLease.formerSecret
  }

  /** The origin of the URL that it advertises; empty before the first lease. */
  get origin (): string {
    return this.#origin
  }

  /**
   * Whether this node came less than a lease ago. Until then, another node that is said to be at this address has died: its
   * lease is left over. Later only a node that lives can have a lease.
   */
  get isNew (): boolean {
    return this.#now() < this.#joinedAt + this.#nodeLease.lease
  }

  /** Whether this process was that incarnation before: what it was sent then can still be running. */
  wasBefore (incarnation: string): boolean {
    return this.#former.includes(incarnation)
  }

  /** Whether another incarnation advertises the address of this one. */
  isAtSameAddress ({ node, url }: Peer): boolean {
    return node !== this.incarnation && URL.canParse(url) && new URL(url).origin === this.#origin
  }
}
