import { Readable } from 'node:stream'

// How long nothing is said before a comment keeps the connection open, in milliseconds.
const HEARTBEAT = 15_000
// How long a state may wait for its reader, in milliseconds.
const PATIENCE = 30_000
// Until it is asked again who is reading, in milliseconds.
const LIFETIME = 15 * 60_000
const RETRY = 1000

/** What event stream says, and when: a reader that is slow gets the next state, and never a queue of them. */
export class EventStream extends Readable {
  readonly #now: () => number
  readonly #openedAt: number
  #wantsMore = false
  #saidAt: number
  #hasEnded = false

  /** @param now milliseconds on a clock that never goes back */
  constructor (now: () => number = () => performance.now()) {
    super({ highWaterMark: 1 })
    this.#now = now
    this.#openedAt = this.#saidAt = now()
    this.#say(`retry: ${RETRY}\n\n`)
  }

  /** Whether its reader has read all that was said. */
  get wantsMore (): boolean {
    return this.#wantsMore && !this.#hasEnded
  }

  /** @param json without a line break */
  sayState (json: string): void {
    this.#say(`event: state\ndata: ${json}\n\n`)
  }

  /** Keeps the stream open, or puts an end to it: for readers that do not read, and to ask again who they are. */
  lookAfter (): void {
    const silence = this.#now() - this.#saidAt
    if (!this.#wantsMore && silence >= PATIENCE) this.destroy()
    else if (this.#now() - this.#openedAt >= LIFETIME) this.end()
    else if (this.wantsMore && silence >= HEARTBEAT) this.#say(':\n\n')
  }

  end (): void {
    if (this.#hasEnded || this.destroyed) return
    this.#hasEnded = true
    this.push(null)
  }

  override _read (): void {
    this.#wantsMore = true
  }

  #say (text: string): void {
    if (this.#hasEnded || this.destroyed) return
    this.#wantsMore = false
    this.#saidAt = this.#now()
    this.push(text)
  }
}
