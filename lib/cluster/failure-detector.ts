import { setMaxListeners } from 'node:events'
import type { Directory } from './directory.js'
import { startPatience } from '../base/patience.js'

interface Watched {
  readonly lost: AbortController
  watchers: number
}

// How long after the end of its lease a node is missed at the latest, in milliseconds.
const LONGEST_INTERVAL = 500
// A node that closes gives its lease back right after its last answers: time to read them, in milliseconds.
const LAST_ANSWERS = 100

/**
 * Tells when nodes are gone that somebody waits for. One that stands still keeps its connections: only its
 * lease says so. Each node is asked about once an interval, however many wait for it.
 */
export class FailureDetector {
  readonly #directory: Pick<Directory, 'peer'>
  readonly #interval: number
  readonly #watched = new Map<string, Watched>()
  #isScheduled = false

  /** @param lease of the nodes, in milliseconds */
  constructor (directory: Pick<Directory, 'peer'>, lease: number) {
    this.#directory = directory
    this.#interval = Math.min(lease / 10, LONGEST_INTERVAL)
  }

  /** The signal aborts when the lease of the node is over; call `end` when that does not matter any more. */
  watch (node: string): { signal: AbortSignal, end: () => void } {
    const watched = this.#watched.get(node) ?? this.#start(node)
    watched.watchers++
    let isOver = false
    // A client that goes away ends it, and so does the request that failed for it: others still wait.
    const end = (): void => {
      if (!isOver) watched.watchers--
      isOver = true
    }
    return { signal: watched.lost.signal, end }
  }

  #start (node: string): Watched {
    const watched = { lost: new AbortController(), watchers: 0 }
    setMaxListeners(0, watched.lost.signal)
    this.#watched.set(node, watched)
    if (!this.#isScheduled) this.#schedule()
    return watched
  }

  #schedule (): void {
    this.#isScheduled = true
    const timer = setTimeout(() => this.#check(), this.#interval)
    timer.unref()
  }

  #check (): void {
    for (const [node, watched] of this.#watched) {
      if (watched.watchers > 0) this.#ask(node, watched)
      else this.#watched.delete(node)
    }
    this.#isScheduled = false
    if (this.#watched.size > 0) this.#schedule()
  }

  // A directory that does not answer says nothing about the node.
  #ask (node: string, watched: Watched): void {
    this.#directory.peer(node).then((peer) => {
      if (peer !== undefined) return
      // Who comes now waits anew.
      if (this.#watched.get(node) === watched) this.#watched.delete(node)
      startPatience(LAST_ANSWERS, () => watched.lost.abort())
    }, () => {})
  }
}
