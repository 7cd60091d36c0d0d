import type { Directory } from './directory.js'

export interface Watch {
  /** Aborts when the lease of the node is over. */
  readonly signal: AbortSignal
  /** Nobody waits for the node any more. */
  end (): void
}

interface Watched {
  readonly lost: Set<AbortController>
  readonly timer: NodeJS.Timeout
}

// How long after the end of its lease a node is missed at the latest, in milliseconds.
const LONGEST_INTERVAL = 500

/**
 * Tells when other nodes are gone that this one waits for. A node that stands still keeps its connections:
 * only its lease tells. It is asked for once for all that wait.
 */
export class PeerWatch {
  readonly #directory: Directory
  readonly #interval: number
  // By incarnation.
  readonly #watched = new Map<string, Watched>()

  /** @param lease of the nodes, in milliseconds */
  constructor (directory: Directory, lease: number) {
    this.#directory = directory
    this.#interval = Math.min(lease / 10, LONGEST_INTERVAL)
  }

  watch (node: string): Watch {
    const watched = this.#watched.get(node) ?? this.#begin(node)
    const lost = new AbortController()
    watched.lost.add(lost)
    return {
      signal: lost.signal,
      end: () => {
        watched.lost.delete(lost)
        if (watched.lost.size === 0) this.#end(node, watched)
      }
    }
  }

  #begin (node: string): Watched {
    let isAsking = false
    const ask = async (): Promise<void> => {
      if (isAsking) return
      isAsking = true
      if (await this.#isGone(node)) {
        this.#end(node, watched)
        for (const lost of watched.lost) lost.abort()
      }
      isAsking = false
    }
    const watched: Watched = { lost: new Set(), timer: setInterval(ask, this.#interval) }
    watched.timer.unref()
    this.#watched.set(node, watched)
    return watched
  }

  // A directory that does not answer says nothing of the node.
  async #isGone (node: string): Promise<boolean> {
    try {
      return await this.#directory.peer(node) === undefined
    } catch {
      return false
    }
  }

  #end (node: string, watched: Watched): void {
    clearInterval(watched.timer)
    if (this.#watched.get(node) === watched) this.#watched.delete(node)
  }
}
