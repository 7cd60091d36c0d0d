import { setTimeout as wait } from 'node:timers/promises'
import type { SessionManager } from './session-manager.js'
import type { Session } from './session.js'

/** Part of the app that has requests to finish before its sessions are closed. */
export interface Drainer {
  /** Ends what has no end of its own, and resolves when nothing runs any more that ran before, or after `timeout` milliseconds. */
  drain (timeout: number): Promise<void>
  /** Whether the session lives here, so that nothing of it goes on when it is closed. */
  has (session: Session): boolean
  /** How many streams of the session are open that have no end of their own. */
  countStreams (session: Session): number
  /** Resolves when what belonged to closed sessions has been closed too. */
  settle (): Promise<void>
}

export interface ShutdownOptions {
  /** Milliseconds. */
  readonly drainTimeout: number
  /** Whether the sessions live on elsewhere. */
  readonly handsOver: boolean
}

// How soon a session is handed over after its last request, in milliseconds.
const HAND_OVER_INTERVAL = 50
// How long other nodes may take to act on what they knew of a session before it was handed over, in milliseconds.
const NOTICE = 100

/** The orderly end of all sessions of this process. */
export class Shutdown {
  readonly handsOver: boolean
  readonly #sessions: SessionManager
  readonly #drainTimeout: number
  readonly #drainers = new Set<Drainer>()
  #end: Promise<void> | undefined

  constructor (sessions: SessionManager, { drainTimeout, handsOver }: ShutdownOptions) {
    this.handsOver = handsOver
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
    this.#end ??= this.handsOver ? this.#handOver() : this.#close()
    return this.#end
  }

  async #close (): Promise<void> {
    await this.#drain()
    this.#sessions.stopTTLCleanup()
    // A request of the app's own routes keeps its session; Fastify waits for it, and what is left is closed after that.
    this.#sessions.clearAll('shutdown', (session) => session.activeRequests === 0 || this.#isDrained(session))
    await this.#settle()
  }

  // What comes in meanwhile is served until the server stops listening; the last sessions are handed over after that.
  async #handOver (): Promise<void> {
    this.#handOverIdle()
    const timer = setInterval(() => this.#handOverIdle(), HAND_OVER_INTERVAL)
    await this.#drainAndSettle()
    // Before the server stops listening: what others had begun to pass on is still on its way here.
    await wait(NOTICE)
    await this.#drainAndSettle()
    clearInterval(timer)
  }

  async #drainAndSettle (): Promise<void> {
    await this.#drain()
    this.#handOverIdle()
    await this.#settle()
  }

  #handOverIdle (): void {
    this.#sessions.clearAll('shutdown', (session) => session.activeRequests <= this.#countStreams(session))
  }

  #isDrained (session: Session): boolean {
    for (const drainer of this.#drainers) if (drainer.has(session)) return true
    return false
  }

  #countStreams (session: Session): number {
    let count = 0
    for (const drainer of this.#drainers) count += drainer.countStreams(session)
    return count
  }

  async #drain (): Promise<void> {
    await Promise.all(Array.from(this.#drainers, (drainer) => drainer.drain(this.#drainTimeout)))
  }

  async #settle (): Promise<void> {
    await Promise.all(Array.from(this.#drainers, (drainer) => drainer.settle()))
  }
}
