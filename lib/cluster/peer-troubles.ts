import type { Peer } from './directory.js'
import { isLoopbackUrl } from './advertise.js'

interface Trouble {
  readonly since: number
  requests: number
  lastAt: number
}

type Log = (fields: object, message: string) => void

export interface PeerTroublesOptions {
  /** Of the nodes, in milliseconds. */
  readonly lease: number
  readonly log: { readonly info: Log, readonly error: Log }
  /** Told what makes nodes of other machines unable to reach one. */
  readonly warnOfLoopback: (what: string) => void
  /** Milliseconds on a clock that never goes back. Default `performance.now`. */
  readonly now?: () => number
}

/** The nodes that this one cannot reach, though their leases run. Says so once for each, until it works again. */
export class PeerTroubles {
  readonly #lease: number
  readonly #log: PeerTroublesOptions['log']
  readonly #warnOfLoopback: (what: string) => void
  readonly #now: () => number
  readonly #troubles = new Map<string, Trouble>()
  #hasWarnedOfLoopback = false

  constructor ({ lease, log, warnOfLoopback, now = () => performance.now() }: PeerTroublesOptions) {
    this.#lease = lease
    this.#log = log
    this.#warnOfLoopback = warnOfLoopback
    this.#now = now
  }

  /** Nobody is at the address of the node, or not a node of this cluster. */
  unreachable (peer: Peer, cause: unknown): void {
    if (this.#count(peer)) this.#log.error({ err: cause, node: peer.node, url: peer.url }, 'A node of the cluster cannot be reached at the URL that it advertises (option "cluster.advertise")')
  }

  /** It is there, but what was sent to it is not answered. */
  silent (peer: Peer, cause: unknown): void {
    if (this.#count(peer)) this.#log.error({ err: cause, node: peer.node, url: peer.url }, 'A node of the cluster does not answer this one, though its lease runs: the way between them is broken')
  }

  /** Another node than this one is at its address. */
  misdirected (peer: Peer): void {
    if (this.#count(peer)) this.#log.error({ node: peer.node, url: peer.url }, 'The URL that a node of the cluster advertises leads to another node. Each needs a URL of its own (option "cluster.advertise")')
  }

  /** It has answered. */
  reached ({ node, url }: Peer): void {
    // Most of the time there are none.
    if (this.#troubles.size === 0) return
    const trouble = this.#troubles.get(node)
    if (trouble === undefined) return
    this.#troubles.delete(node)
    this.#log.info({ node, url, attempts: trouble.requests }, 'A node of the cluster that could not be reached answers again')
  }

  /** Whether it has been like this for longer than a node that has died keeps its lease: to wait is of no use. */
  isLasting ({ node }: Peer): boolean {
    const trouble = this.#troubles.get(node)
    return trouble !== undefined && this.#now() - trouble.since > this.#lease
  }

  /** A cluster of several machines, in which one can be reached from its own only. */
  compare (own: string, peer: Peer): void {
    if (this.#hasWarnedOfLoopback || own === '' || isLoopbackUrl(own) === isLoopbackUrl(peer.url)) return
    this.#hasWarnedOfLoopback = true
    this.#warnOfLoopback(`Nodes of this cluster advertise ${own} and ${peer.url}`)
  }

  // Whether it is news.
  #count ({ node }: Peer): boolean {
    const now = this.#now()
    const trouble = this.#troubles.get(node)
    if (trouble !== undefined) {
      trouble.requests++
      trouble.lastAt = now
      return false
    }
    // Those that nobody asks about any more are gone.
    for (const [other, { lastAt }] of this.#troubles) if (now - lastAt > 10 * this.#lease) this.#troubles.delete(other)
    this.#troubles.set(node, { since: now, requests: 1, lastAt: now })
    return true
  }
}
