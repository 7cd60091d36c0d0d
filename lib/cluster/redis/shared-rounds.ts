/**
 * Has those who ask the same thing share one answer, which was asked for after each of them came: one that is on its way already
 * may know less than they do.
 */
export class SharedRounds<T> {
  readonly #ask: () => Promise<T>
  #running: Promise<unknown> | undefined
  #next: Promise<T> | undefined

  constructor (ask: () => Promise<T>) {
    this.#ask = ask
  }

  /** Rejects as the round does. */
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
