import { Readable } from 'node:stream'

// After how long a silence a comment keeps the connection open, in milliseconds.
const HEARTBEAT = 15_000
// How long a state may wait for its reader, in milliseconds.
const PATIENCE = 30_000
// How long a stream lives, in milliseconds: after that `authorize` is asked again.
const LIFETIME = 15 * 60_000
// How soon a browser is to come back, in milliseconds.
const RETRY = 1000

/** The stream of states that a page reads. A reader that is slow gets the latest state next, and never a queue of them. */
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

  /** Whether the reader has read all that was sent, and the stream goes on. */
  get wantsMore (): boolean {
    return this.#wantsMore && !this.#hasEnded
  }

  /** @param json without a line break */
  sayState (json: string): void {
    this.#say(`event: state\ndata: ${json}\n\n`)
  }

  /** Is called now and then: keeps the connection open, and ends the stream when its time is over or its reader does not read. */
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
