import type { ConnectableServer } from './server-factory.js'

/** Servers whose sessions have ended or are parked, for sessions to come. They are closed, and so connected to nothing. */
export class ServerPool {
  readonly #max: number
  readonly #idle: ConnectableServer[] = []
  #isClosed = false

  /** @param max how many are kept */
  constructor (max: number) {
    this.#max = max
  }

  take (): ConnectableServer | undefined {
    // The last one, which is still in the caches of the processor.
    return this.#idle.pop()
  }

  /** Keeps a server, if there is room. */
  keep (server: ConnectableServer): void {
    if (!this.#isClosed && this.#idle.length < this.#max) this.#idle.push(server)
  }

  /** Lets go of all, and keeps no more. */
  close (): void {
    this.#isClosed = true
    this.#idle.length = 0
  }
}
