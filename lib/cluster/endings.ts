import type { Directory, Liveness } from './directory.js'

export interface EndingsOptions {
  directory: Directory
  onError: (message: string, error: unknown) => void
}

/**
 * Sessions that have ended here, on their way out of the directory. What Redis
 * does not take stays here for the next flush, so that a session which was
 * closed while Redis was away does not come back.
 */
export class Endings {
  readonly #directory: Directory
  readonly #onError: EndingsOptions['onError']
  // Id to the epoch under which it was held.
  readonly #removals = new Map<string, number>()
  readonly #releases = new Map<string, Liveness>()
  #flushing: Promise<void> | undefined

  constructor ({ directory, onError }: EndingsOptions) {
    this.#directory = directory
    this.#onError = onError
  }

  /** The session is over everywhere. */
  remove (id: string, epoch: number): void {
    this.#removals.set(id, epoch)
    this.#flushSoon()
  }

  /** The session lives on, on the node that asks for it first. */
  release (session: Liveness): void {
    this.#releases.set(session.id, session)
    this.#flushSoon()
  }

  /** Never rejects. */
  async flush (): Promise<void> {
    while (this.#flushing !== undefined) await this.#flushing
    this.#flushing = this.#flush()
    await this.#flushing
    this.#flushing = undefined
  }

  // Many sessions that end together go in one batch.
  #flushSoon (): void {
    if (this.#removals.size + this.#releases.size === 1) queueMicrotask(() => { this.flush() })
  }

  async #flush (): Promise<void> {
    const releases = Array.from(this.#releases.values())
    this.#releases.clear()
    const removals = Array.from(this.#removals)
    this.#removals.clear()
    await Promise.all([
      ...removals.map(([id, epoch]) => this.#attempt(() => this.#directory.remove(id, epoch), () => this.#removals.set(id, epoch))),
      this.#attempt(() => this.#directory.release(releases), () => {
        for (const session of releases) this.#releases.set(session.id, session)
      })
    ])
  }

  async #attempt (write: () => Promise<unknown>, keep: () => void): Promise<void> {
    try {
      await write()
    } catch (error) {
      keep()
      this.#onError('A session that has ended is still in the directory; this is tried again', error)
    }
  }
}
