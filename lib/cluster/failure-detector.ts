import { setMaxListeners } from 'node:events'
import type { Directory, Peer } from './directory.js'
import { startPatience } from '../base/patience.js'

interface Watched {
  readonly peer: Peer
  readonly lost: AbortController
  watchers: number
  endPatience: () => void
  /** Why the last question was not answered. */
  cause: unknown
  isSilent: boolean
  /** Whether the directory has lost its lease: since then only the node itself can say whether it is there. */
  isForgotten: boolean
}

export interface FailureDetectorOptions {
  readonly directory: Pick<Directory, 'peer'>
  /** The lease of the nodes, in milliseconds. */
  readonly lease: number
  /** Whether the directory may have lost the leases of nodes that are there. */
  readonly hasForgotten: () => Promise<boolean>
  /** Asks the node itself. Rejects with the cause when it does not answer. */
  readonly probe: (peer: Peer) => Promise<void>
  /** Called when a node has not answered for a lease, and then at each interval until it does. */
  readonly onSilent: (peer: Peer, cause: unknown) => void
}

// How long after the end of its lease it is noticed at the latest that a node is gone, in milliseconds.
const LONGEST_INTERVAL = 500
// How long the last answers of a node may take to be read, in milliseconds: one that closes gives its lease back right after them.
const LAST_ANSWERS = 100

/**
 * Tells when a node is gone that somebody waits for. A node that stands still keeps its connections, so its lease is looked
 * at. A node whose lease runs may be silent to this one alone, so it is asked as well. Both happen once an interval, however
 * many wait for the node.
 */
export class FailureDetector {
  readonly #options: FailureDetectorOptions
  readonly #interval: number
  readonly #watched = new Map<string, Watched>()
  #isScheduled = false

  constructor (options: FailureDetectorOptions) {
    this.#options = options
    this.#interval = Math.min(options.lease / 10, LONGEST_INTERVAL)
  }

  /** Watches a node: the signal aborts when its lease is over. Call `end` when that does not matter any more. */
  watch (peer: Peer): { signal: AbortSignal, end: () => void } {
    const watched = this.#watched.get(peer.node) ?? this.#start(peer)
    watched.watchers++
    let isOver = false
    // It may be called twice, by the client that goes away and by the request that fails for that, and counts once.
    const end = (): void => {
      if (!isOver) watched.watchers--
      isOver = true
    }
    return { signal: watched.lost.signal, end }
  }

  #start (peer: Peer): Watched {
    const watched: Watched = {
      peer, lost: new AbortController(), watchers: 0, endPatience: () => {}, cause: undefined, isSilent: false, isForgotten: false
    }
    setMaxListeners(0, watched.lost.signal)
    this.#watched.set(peer.node, watched)
    this.#listen(watched)
    if (!this.#isScheduled) this.#schedule()
    return watched
  }

  #end (watched: Watched): void {
    watched.endPatience()
    // Whoever comes later begins to watch anew.
    this.#watched.delete(watched.peer.node)
  }

  // Gives the node a lease to answer, from now on.
  #listen (watched: Watched): void {
    watched.endPatience()
    watched.isSilent = false
    watched.endPatience = startPatience(this.#options.lease, () => {
      watched.isSilent = true
      this.#options.onSilent(watched.peer, watched.cause)
    })
  }

  #schedule (): void {
    this.#isScheduled = true
    const timer = setTimeout(() => this.#check(), this.#interval)
    timer.unref()
  }

  #check (): void {
    for (const watched of this.#watched.values()) {
      if (watched.watchers > 0) this.#ask(watched)
      else this.#end(watched)
    }
    this.#isScheduled = false
    if (this.#watched.size > 0) this.#schedule()
  }

  #ask (watched: Watched): void {
    const { probe, onSilent } = this.#options
    const { peer } = watched
    if (watched.isSilent) onSilent(peer, watched.cause)
    // A directory that does not answer says nothing about the node.
    if (!watched.isForgotten) this.#checkLease(watched).catch(() => {})
    probe(peer).then(() => {
      if (this.#isWatched(watched)) this.#listen(watched)
    }, (cause: unknown) => { watched.cause = cause })
  }

  async #checkLease (watched: Watched): Promise<void> {
    const { directory, hasForgotten } = this.#options
    if (await directory.peer(watched.peer.node) !== undefined) return
    watched.isForgotten = await hasForgotten()
    if (!watched.isForgotten) this.#lose(watched)
  }

  #lose (watched: Watched): void {
    if (this.#isWatched(watched)) this.#end(watched)
    startPatience(LAST_ANSWERS, () => watched.lost.abort())
  }

  #isWatched (watched: Watched): boolean {
    return this.#watched.get(watched.peer.node) === watched
  }
}
