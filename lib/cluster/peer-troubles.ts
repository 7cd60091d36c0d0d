import type { Peer } from './directory.js'
import { isLoopbackUrl } from './advertise.js'

interface Trouble {
  readonly since: number
  requests: number
  lastAt: number
}

type Log = (fields: object, message: string) => void

export interface PeerTroublesOptions {
  /** The lease of the nodes, in milliseconds. */
  readonly lease: number
  readonly log: { readonly info: Log, readonly error: Log }
  /** Called when some nodes cannot be reached from other machines, with what they advertise. */
  readonly warnOfLoopback: (what: string) => void
  /**
   * Milliseconds on a clock that never goes back.
   *
   * @default performance.now
   */
  readonly now?: () => number
}

const UNREACHABLE = 'A node of the cluster cannot be reached at the URL that it advertises (option "cluster.advertise")'
const SILENT = 'A node of the cluster does not answer this one, though its lease runs: the way between them is broken'
const BROKEN = 'A node of the cluster has broken off what was passed on to it: it has died, or it does not speak HTTP/1.1 at the ' +
  'URL that it advertises'
const MISDIRECTED = 'The URL that a node of the cluster advertises leads to another node. Each needs a URL of its own ' +
  '(option "cluster.advertise")'

/** The nodes that this one cannot reach, though their leases run. Logs each once, until it can be reached again. */
export class PeerTroubles {
  readonly #lease: number
  readonly #log: PeerTroublesOptions['log']
  readonly #warnOfLoopback: (what: string) => void
  readonly #now: () => number
  readonly #troubles = new Map<string, Trouble>()
  // By node, until when it is not logged again that the node has broken off a request.
  readonly #broken = new Map<string, number>()
  #hasWarnedOfLoopback = false

  constructor ({ lease, log, warnOfLoopback, now = () => performance.now() }: PeerTroublesOptions) {
    this.#lease = lease
    this.#log = log
    this.#warnOfLoopback = warnOfLoopback
    this.#now = now
  }

  /** Is told that nobody is at the URL of a node, or something that is no node of this cluster. */
  unreachable (peer: Peer, cause: unknown): void {
    if (this.#count(peer)) this.#log.error({ err: cause, node: peer.node, url: peer.url }, UNREACHABLE)
  }

  /** Is told that a node is there, and that what was sent to it is not answered. */
  silent (peer: Peer, cause: unknown): void {
    if (this.#count(peer)) this.#log.error({ err: cause, node: peer.node, url: peer.url }, SILENT)
  }

  /** Is told that a node has broken off a request that it may have begun to serve. */
  broken ({ node, url }: Peer, cause: unknown): void {
    const now = this.#now()
    for (const [other, until] of this.#broken) if (until <= now) this.#broken.delete(other)
    if (!this.#broken.has(node)) this.#log.error({ err: cause, node, url }, BROKEN)
    this.#broken.set(node, now + 10 * this.#lease)
  }

  /** Is told that another node is at the URL of a node. */
  misdirected (peer: Peer): void {
    if (this.#count(peer)) this.#log.error({ node: peer.node, url: peer.url }, MISDIRECTED)
  }

  /** Is told that a node has answered. */
  reached ({ node, url }: Peer): void {
    // Most of the time no node is in trouble.
    if (this.#troubles.size === 0) return
    const trouble = this.#troubles.get(node)
    if (trouble === undefined) return
    this.#troubles.delete(node)
    this.#log.info({ node, url, attempts: trouble.requests }, 'A node of the cluster that could not be reached answers again')
  }

  /** Whether a node has been in trouble for longer than a lease: if it had died, its lease would be over, so waiting is of no use. */
  isLasting ({ node }: Peer): boolean {
    const trouble = this.#troubles.get(node)
    return trouble !== undefined && this.#now() - trouble.since > this.#lease
  }

  /** Warns when of two nodes one advertises a loopback URL: then one of them cannot be reached from the other's machine. */
  compare (own: string, peer: Peer): void {
    if (this.#hasWarnedOfLoopback || own === '' || isLoopbackUrl(own) === isLoopbackUrl(peer.url)) return
    this.#hasWarnedOfLoopback = true
    this.#warnOfLoopback(`Nodes of this cluster advertise ${own} and ${peer.url}`)
  }

  // Counts a request that has failed, and returns whether the trouble of that node is new.
  #count ({ node }: Peer): boolean {
    const now = this.#now()
    const trouble = this.#troubles.get(node)
    if (trouble !== undefined) {
      trouble.requests++
      trouble.lastAt = now
      return false
    }
    // Forgets nodes that no request has gone to for long: they are gone.
    for (const [other, { lastAt }] of this.#troubles) if (now - lastAt > 10 * this.#lease) this.#troubles.delete(other)
    this.#troubles.set(node, { since: now, requests: 1, lastAt: now })
    return true
  }
}
