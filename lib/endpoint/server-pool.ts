import type { CreateServerContext } from './options.js'
import { SharedContext, type ConnectableServer, type ServerFactory } from './server-factory.js'
import type { SharedLink } from './shared-link.js'

/** Servers of sessions that have ended or are parked, for sessions to come. They have been closed, and are connected to nothing. */
export class ServerPool {
  readonly #max: number
  readonly #make: () => Promise<ConnectableServer>
  readonly #idle: ConnectableServer[] = []
  #isClosed = false

  /** @param max how many are kept */
  constructor (max: number, makeServer: ServerFactory<CreateServerContext>) {
    this.#max = max
    this.#make = () => makeServer(new SharedContext())
  }

  /** Returns a server that was kept, or a new one. Rejects as `createServer` does. */
  async take (): Promise<ConnectableServer> {
    // The last one that was kept is still in the caches of the processor.
    return this.#idle.pop() ?? this.#make()
  }

  /** Keeps a server, if its session has left nothing in it and there is room. */
  keep (server: ConnectableServer, { hasLeftNothing }: SharedLink): void {
    if (hasLeftNothing && !this.#isClosed && this.#idle.length < this.#max) this.#idle.push(server)
  }

  /** Lets go of all, and keeps no more. */
  close (): void {
    this.#isClosed = true
    this.#idle.length = 0
  }
}
