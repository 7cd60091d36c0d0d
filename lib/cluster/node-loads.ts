import type { Directory, NodeLoad, Peer } from './directory.js'
import type { NodeLease } from './lease.js'

export interface NodeLoadsOptions {
  directory: Pick<Directory, 'report'>
  nodeLease: NodeLease
  /** The load of this node, now. */
  load: () => Pick<NodeLoad, 'held' | 'room' | 'spare'>
  /** The URL of this node. */
  url: () => string
  /** Whether sessions go to nodes that hold less than their share, and not only to those that have room. */
  balances: boolean
  /**
   * Milliseconds on a clock that never goes back.
   *
   * @default performance.now
   */
  now?: () => number
}

// A node has too many sessions when it holds more than its share times this, plus a few.
const TOLERANCE = 1.2
const FEW = 2
// It lets go of an eighth of what is above its share at a time.
const PART = 8

/** How many sessions each node holds and has room for: the nodes tell each other with every renewal of the lease. */
export class NodeLoads {
  readonly #options: NodeLoadsOptions
  readonly #now: () => number
  // The other nodes, with those sessions counted in that were sent to them since they told.
  #others: NodeLoad[] = []
  #knownUntil = -Infinity
  readonly #avoided = new Map<string, number>()
  #leaving: Promise<void> | undefined
  #reporting: Promise<void> | undefined

  constructor (options: NodeLoadsOptions) {
    this.#options = options
    this.#now = options.now ?? (() => performance.now())
  }

  /** Tells the others, and hears from them. Never rejects. */
  report (): Promise<void> {
    this.#reporting ??= this.#report().finally(() => { this.#reporting = undefined })
    return this.#reporting
  }

  /** Whether there are other nodes, as far as this one has heard. */
  get hasOthers (): boolean {
    return this.#living().length > 0
  }

  /** Whether this node takes no more sessions, because it closes. */
  get isLeaving (): boolean {
    return this.#leaving !== undefined
  }

  /** Tells the others that this node takes no more sessions. Never rejects. */
  leave (): Promise<void> {
    this.#leaving ??= this.#leave()
    return this.#leaving
  }

  /** How many sessions this node should let go of now, so that little by little all nodes hold the same number. */
  get surplus (): number {
    const { held } = this.#options.load()
    const share = this.#share(held)
    if (!this.#options.balances || this.isLeaving || held <= share * TOLERANCE + FEW) return 0
    return Math.ceil((held - share) / PART)
  }

  /** The node to which a session that nobody serves should go. Undefined: this one. */
  findPlace (): Peer | undefined {
    const { held, room, spare } = this.#options.load()
    const others = this.#living().filter(({ node }) => !this.#isAvoided(node))
    const free = emptiest(others.filter((other) => other.room > 0))
    if (free !== undefined) {
      const hasTooMany = this.#options.balances && held > this.#share(held) * TOLERANCE + FEW && free.held < held
      return this.isLeaving || room === 0 || hasTooMany ? send(free) : undefined
    }
    if (!this.isLeaving && (room > 0 || spare)) return undefined
    const next = emptiest(others.filter((other) => other.spare))
    return next && send(next)
  }

  /** Sends nothing to a node for a lease: it could not be reached, or would not take the session. */
  avoid ({ node }: Peer): void {
    this.#avoided.set(node, this.#now() + this.#options.nodeLease.lease)
  }

  async #leave (): Promise<void> {
    await this.#reporting
    await this.report()
  }

  async #report (): Promise<void> {
    const { directory, nodeLease: { incarnation, lease }, load, url } = this.#options
    if (incarnation === undefined) return
    const asked = this.#now()
    try {
      const all = await directory.report({ node: incarnation, url: url(), ...load() }, this.isLeaving ? 0 : lease)
      this.#others = all.filter(({ node }) => node !== incarnation)
      this.#knownUntil = asked + this.#options.nodeLease.lease
      for (const [node, until] of this.#avoided) if (until <= asked) this.#avoided.delete(node)
    } catch {
      // An outage is logged by the lease, which is renewed at the same time. Until it is over, what is known grows old.
    }
  }

  #living (): NodeLoad[] {
    return this.#now() < this.#knownUntil ? this.#others : []
  }

  #share (held: number): number {
    const others = this.#living()
    return others.reduce((sum, other) => sum + other.held, held) / (others.length + 1)
  }

  #isAvoided (node: string): boolean {
    return (this.#avoided.get(node) ?? -Infinity) > this.#now()
  }
}

function emptiest (loads: readonly NodeLoad[]): NodeLoad | undefined {
  return loads.reduce<NodeLoad | undefined>((best, load) => best === undefined || load.held < best.held ? load : best, undefined)
}

// Counts a session that goes to a node now: that node tells of it only later.
function send (load: NodeLoad): Peer {
  load.held++
  load.room = Math.max(0, load.room - 1)
  return { node: load.node, url: load.url }
}
