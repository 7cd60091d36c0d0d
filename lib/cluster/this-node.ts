import type { Peer } from './directory.js'
import type { NodeLease } from './lease.js'

/** This node, as the others see it. */
export class ThisNode {
  readonly #nodeLease: NodeLease
  readonly #now: () => number
  #joinedAt = -Infinity
  #origin = ''

  /**
   * @param url at which the others reach it
   * @param now milliseconds on a clock that never goes back
   */
  constructor (nodeLease: NodeLease, url: () => string, now: () => number = () => performance.now()) {
    this.#nodeLease = nodeLease
    this.#now = now
    nodeLease.on('joined', () => {
      this.#joinedAt = now()
      this.#origin = new URL(url()).origin
    })
  }

  /** Undefined before the first lease. */
  get incarnation (): string | undefined {
    return this.#nodeLease.incarnation
  }

  /** The secret of the cluster; empty before the first lease. */
  get secret (): string {
    return this.#nodeLease.secret
  }

  /** Of the URL that it advertises; empty before the first lease. */
  get origin (): string {
    return this.#origin
  }

  /**
   * Whether the lease of a node that was at this address before can still run: then it has died, for this one is there
   * now. Later only a node that lives can have a lease.
   */
  get isNew (): boolean {
    return this.#now() < this.#joinedAt + this.#nodeLease.lease
  }

  /** Whether another incarnation says that it is where this one is. */
  isAtSameAddress ({ node, url }: Peer): boolean {
    return node !== this.incarnation && URL.canParse(url) && new URL(url).origin === this.#origin
  }
}
