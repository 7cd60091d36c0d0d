/**
 * Has those who ask the same thing share one answer. The question is always sent after they have asked: an answer that is on
 * its way already may be older than what they know.
 */
export class SharedRounds<T> {
  readonly #ask: () => Promise<T>
  #running: Promise<unknown> | undefined
  #next: Promise<T> | undefined

  constructor (ask: () => Promise<T>) {
    this.#ask = ask
  }

  /** Asks, or joins those who wait for the next round. Rejects as the round does. */
  ask (): Promise<T> {
    this.#next ??= this.#begin()
    return this.#next
  }

  async #begin (): Promise<T> {
    await this.#running
    this.#next = undefined
    const round = this.#ask()
    this.#running = round.catch(() => {})
    return round
  }
}
