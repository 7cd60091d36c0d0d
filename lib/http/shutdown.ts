import { setTimeout as wait } from 'node:timers/promises'
import type { SessionManager } from '../session/session-manager.js'
import type { Session } from '../session/session.js'

/** Part of the app that has requests to finish before its sessions are closed. */
export interface Drainer {
  /** Ends what has no end of its own, and resolves when nothing runs any more that ran before, or after `timeout` milliseconds. */
  drain (timeout: number): Promise<void>
  /** Resolves when what belonged to closed sessions has been closed too. */
  settle (): Promise<void>
}

/** Part of the app that serves sessions. */
export interface SessionHolder {
  /** Whether the session lives here, so that nothing of it goes on when it is closed. */
  has (session: Session): boolean
  /** How many streams of the session are open that have no end of their own. */
  countStreams (session: Session): number
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
  readonly #drainers: Drainer[] = []
  readonly #holders: SessionHolder[] = []
  #end: Promise<void> | undefined

  constructor (sessions: SessionManager, { drainTimeout, handsOver }: ShutdownOptions) {
    this.handsOver = handsOver
    this.#sessions = sessions
    this.#drainTimeout = drainTimeout
  }

  get hasStarted (): boolean {
    return this.#end !== undefined
  }

  /** @param holder what the drainer drains, if it serves sessions */
  add (drainer: Drainer, holder?: SessionHolder): void {
    this.#drainers.push(drainer)
    if (holder !== undefined) this.#holders.push(holder)
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
    return this.#holders.some((holder) => holder.has(session))
  }

  #countStreams (session: Session): number {
    return this.#holders.reduce((count, holder) => count + holder.countStreams(session), 0)
  }

  async #drain (): Promise<void> {
    await Promise.all(this.#drainers.map((drainer) => drainer.drain(this.#drainTimeout)))
  }

  async #settle (): Promise<void> {
    await Promise.all(this.#drainers.map((drainer) => drainer.settle()))
  }
}
