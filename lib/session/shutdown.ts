import type { SessionManager } from './session-manager.js'

/** Part of the app that has requests to finish before its sessions are closed. */
export interface Drainer {
  /** Ends what has no end of its own, and resolves when nothing runs any more or `timeout` milliseconds have passed. */
  drain (timeout: number): Promise<void>
  /** Resolves when what belonged to closed sessions has been closed too. */
  settle (): Promise<void>
}

/** The orderly end of all sessions. */
export class Shutdown {
  readonly #sessions: SessionManager
  readonly #drainTimeout: number
  readonly #drainers = new Set<Drainer>()
  #end: Promise<void> | undefined

  /** @param drainTimeout milliseconds */
  constructor (sessions: SessionManager, drainTimeout: number) {
    this.#sessions = sessions
    this.#drainTimeout = drainTimeout
  }

  get hasStarted (): boolean {
    return this.#end !== undefined
  }

  add (drainer: Drainer): void {
    this.#drainers.add(drainer)
  }

  /** Lets running requests finish, then closes all sessions. Once, however often it is called. */
  run (): Promise<void> {
    this.#end ??= this.#run()
    return this.#end
  }

  async #run (): Promise<void> {
    const drainers = Array.from(this.#drainers)
    await Promise.all(drainers.map((drainer) => drainer.drain(this.#drainTimeout)))
    this.#sessions.stopTTLCleanup()
    this.#sessions.clearAll('shutdown')
    await Promise.all(drainers.map((drainer) => drainer.settle()))
  }
}
