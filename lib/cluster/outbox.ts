import { DirectoryUnavailableError, NotAcknowledgedError, type Directory, type JsonObject, type Liveness } from './directory.js'

export interface OutboxOptions {
  directory: Directory
  onError: (message: string, error: unknown) => void
}

const BATCH = 64

/**
 * What the directory has still to be told of sessions that have ended here or
 * are left to others, and messages to other nodes. What Redis does not take
 * stays here for the next flush, so that a session which was closed while Redis
 * was away does not come back.
 */
export class Outbox {
  readonly #directory: Directory
  readonly #onError: OutboxOptions['onError']
  // By id, the epoch under which the session was held.
  readonly #removals = new Map<string, string>()
  // By id, removals of which too few replicas know.
  readonly #shortages = new Map<string, NotAcknowledgedError>()
  readonly #releases = new Map<string, Liveness>()
  readonly #mail = new Set<{ readonly node: string, readonly message: JsonObject }>()
  #flushing: Promise<void> | undefined
  #soon: Promise<void> | undefined
  #isFailing = false

  constructor ({ directory, onError }: OutboxOptions) {
    this.#directory = directory
    this.#onError = onError
  }

  /** Whether the directory did not take what it was told last. */
  get isFailing (): boolean {
    return this.#isFailing
  }

  /** Whether the session is over, and the directory may not know it yet. */
  isOver (id: string): boolean {
    return this.#removals.has(id)
  }

  /** Why the end of the session does not count yet: another node may still serve it. Undefined: it counts, or has not come. */
  failureOf (id: string): DirectoryUnavailableError | undefined {
    if (!this.isOver(id)) return undefined
    return this.#shortages.get(id) ?? new DirectoryUnavailableError('The end of the session is not in the directory yet')
  }

  /** Takes in a session that is over everywhere. Resolves when the directory has been told, or does not answer. */
  remove (id: string, epoch: string): Promise<void> {
    this.#removals.set(id, epoch)
    return this.#flushSoon()
  }

  /** Takes in a session that lives on, on the node that asks for it first. Resolves as `remove` does. */
  release (session: Liveness): Promise<void> {
    this.#releases.set(session.id, session)
    return this.#flushSoon()
  }

  /** Sends a message to a node that may have gone by now. Resolves as `remove` does. */
  tell (node: string, message: JsonObject): Promise<void> {
    this.#mail.add({ node, message })
    return this.#flushSoon()
  }

  /** Tells the directory all that it has not been told. Never rejects. */
  async flush (): Promise<void> {
    while (this.#flushing !== undefined) await this.#flushing
    this.#flushing = this.#flush()
    await this.#flushing
  }

  // Many sessions that end together go in one batch.
  #flushSoon (): Promise<void> {
    this.#soon ??= Promise.resolve().then(() => {
      this.#soon = undefined
      return this.flush()
    })
    return this.#soon
  }

  async #flush (): Promise<void> {
    try {
      await this.#flushReleases()
      await this.#flushRemovals()
      await this.#flushMail()
      this.#isFailing = false
    } catch (error) {
      // Logged once for each outage: it is tried again with every renewal of the lease.
      if (!this.#isFailing) this.#onError('Sessions that have ended are still in the directory; this is tried again', error)
      this.#isFailing = true
    } finally {
      this.#flushing = undefined
    }
  }

  async #flushReleases (): Promise<void> {
    const releases = Array.from(this.#releases.values())
    if (releases.length === 0) return
    await this.#directory.release(releases)
    for (const session of releases) {
      if (this.#releases.get(session.id) === session) this.#releases.delete(session.id)
    }
  }

  async #flushRemovals (): Promise<void> {
    const removals = Array.from(this.#removals)
    for (let start = 0; start < removals.length; start += BATCH) {
      await Promise.all(removals.slice(start, start + BATCH).map(([id, epoch]) => this.#remove(id, epoch)))
    }
  }

  async #flushMail (): Promise<void> {
    await Promise.all(Array.from(this.#mail, async (mail) => {
      await this.#directory.send(mail.node, mail.message)
      this.#mail.delete(mail)
    }))
  }

  async #remove (id: string, epoch: string): Promise<void> {
    try {
      await this.#directory.remove(id, epoch)
      if (this.#removals.get(id) === epoch) this.#removals.delete(id)
      this.#shortages.delete(id)
    } catch (error) {
      if (error instanceof NotAcknowledgedError) this.#shortages.set(id, error)
      throw error
    }
  }
}
