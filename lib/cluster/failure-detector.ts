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
}

export interface FailureDetectorOptions {
  readonly directory: Pick<Directory, 'peer'>
  /** Of the nodes, in milliseconds. */
  readonly lease: number
  /** Asks the node itself. Rejects with the cause when it does not answer. */
  readonly probe: (peer: Peer) => Promise<void>
  /** Called again and again, once a node has not answered for a lease, until it does. */
  readonly onSilent: (peer: Peer, cause: unknown) => void
}

// How long after the end of its lease a node is missed at the latest, in milliseconds.
const LONGEST_INTERVAL = 500
// A node that closes gives its lease back right after its last answers: time to read them, in milliseconds.
const LAST_ANSWERS = 100

/**
 * Tells when nodes are gone that somebody waits for. One that stands still keeps its connections: only its
 * lease says so. And one whose lease runs can have become silent to this node alone: so it is asked, too.
 * Both once an interval, however many wait for it.
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

  /** The signal aborts when the lease of the node is over; call `end` when that does not matter any more. */
  watch (peer: Peer): { signal: AbortSignal, end: () => void } {
    const watched = this.#watched.get(peer.node) ?? this.#start(peer)
    watched.watchers++
    let isOver = false
    // A client that goes away ends it, and so does the request that failed for it: others still wait.
    const end = (): void => {
      if (!isOver) watched.watchers--
      isOver = true
    }
    return { signal: watched.lost.signal, end }
  }

  #start (peer: Peer): Watched {
    const watched: Watched = { peer, lost: new AbortController(), watchers: 0, endPatience: () => {}, cause: undefined, isSilent: false }
    setMaxListeners(0, watched.lost.signal)
    this.#watched.set(peer.node, watched)
    this.#listen(watched)
    if (!this.#isScheduled) this.#schedule()
    return watched
  }

  #end (watched: Watched): void {
    watched.endPatience()
    // Who comes now waits anew.
    this.#watched.delete(watched.peer.node)
  }

  // From now on it has a lease to answer.
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
    const { directory, probe, onSilent } = this.#options
    const { peer } = watched
    if (watched.isSilent) onSilent(peer, watched.cause)
    // A directory that does not answer says nothing about the node.
    directory.peer(peer.node).then((known) => {
      if (known === undefined) this.#lose(watched)
    }, () => {})
    probe(peer).then(() => {
      if (this.#isWatched(watched)) this.#listen(watched)
    }, (cause: unknown) => { watched.cause = cause })
  }

  #lose (watched: Watched): void {
    if (this.#isWatched(watched)) this.#end(watched)
    startPatience(LAST_ANSWERS, () => watched.lost.abort())
  }

  #isWatched (watched: Watched): boolean {
    return this.#watched.get(watched.peer.node) === watched
  }
}
