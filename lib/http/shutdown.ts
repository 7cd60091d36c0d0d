import { setTimeout as wait } from 'node:timers/promises'
import { atMost } from '../base/at-most.js'
import type { SessionManager } from '../session/session-manager.js'
import type { Session } from '../session/session.js'
import type { Connections } from './connections.js'
import type { ReplyTracker } from './reply-tracker.js'

/** Part of the app that has something to do when sessions have been closed. */
export interface SessionFollower {
  /** Resolves when all of it is done. Never rejects. */
  settle (): Promise<void>
}

/** Who goes on with the sessions. */
export interface Successor extends SessionFollower {
  /** Is told that the shutdown has begun: from now on sessions only leave. */
  begin (): void
  /** Milliseconds for which others may still come here, by what they knew of a session before it was handed over. */
  readonly notice: number
}

export interface ShutdownOptions {
  readonly sessions: SessionManager
  readonly replies: ReplyTracker
  readonly connections: Connections
  /** Milliseconds. */
  readonly drainTimeout: number
  /** Tells the other processes which sessions they can go on with. Undefined: the sessions end with this one. */
  readonly successor: Successor | undefined
}

// How often sessions that have become idle, and streams that have come late, are looked for, in milliseconds.
const INTERVAL = 50
// How long last answers may take to reach their clients, and MCP servers to close, in milliseconds.
const LAST_WORDS = 1000

/** The orderly end of all sessions of this process, and of what would keep its server from closing. */
export class Shutdown {
  readonly #sessions: SessionManager
  readonly #replies: ReplyTracker
  readonly #connections: Connections
  readonly #drainTimeout: number
  readonly #successor: Successor | undefined
  readonly #followers: SessionFollower[] = []
  #end: Promise<void> | undefined
  #timer: NodeJS.Timeout | undefined
  // When the time of running requests is over, as performance.now() tells it.
  #deadline = Infinity
  #isDrained = false

  constructor ({ sessions, replies, connections, drainTimeout, successor }: ShutdownOptions) {
    this.#sessions = sessions
    this.#replies = replies
    this.#connections = connections
    this.#drainTimeout = drainTimeout
    this.#successor = successor
  }

  get hasStarted (): boolean {
    return this.#end !== undefined
  }

  /** Whether the sessions live on elsewhere. */
  get handsOver (): boolean {
    return this.#successor !== undefined
  }

  add (follower: SessionFollower): void {
    this.#followers.push(follower)
  }

  /**
   * Lets running requests finish, then closes all sessions. Once, however often it is called. Until `finish()`
   * is called, what comes late is ended, and a second after `drainTimeout` every connection.
   */
  run (): Promise<void> {
    this.#end ??= this.#run()
    return this.#end
  }

  /** When the server has closed: closes the sessions that were still in use, or have come since. */
  async finish (): Promise<void> {
    clearInterval(this.#timer)
    this.#sessions.stopTTLCleanup()
    // An app that has failed to boot never came to run(): its followers still have to settle.
    if (this.hasStarted && this.#sessions.getActiveSessionCount() === 0) return
    this.#sessions.clearAll('shutdown')
    await atMost(LAST_WORDS, this.#settle())
  }

  async #run (): Promise<void> {
    this.#deadline = performance.now() + this.#drainTimeout
    this.#timer = setInterval(() => this.#lookAfter(), INTERVAL)
    this.#timer.unref()
    await (this.#successor === undefined ? this.#close() : this.#handOver(this.#successor))
    await this.#sayGoodbye()
  }

  async #close (): Promise<void> {
    this.#isDrained = true
    this.#replies.endStreams()
    await this.#drain()
    this.#sessions.stopTTLCleanup()
    // A request of the app's own routes keeps its session; Fastify waits for it, and what is left is closed after that.
    this.#closeUnused()
  }

  // What comes in meanwhile is served until the server stops listening; the last sessions are handed over after that.
  async #handOver (successor: Successor): Promise<void> {
    successor.begin()
    this.#closeUnused()
    // Streams with a session end when that is handed over, and not before: their clients then find it elsewhere.
    this.#replies.endStreams(({ session }) => session === undefined)
    await this.#drain()
    this.#isDrained = true
    this.#lookAfter()
    await successor.settle()
    // The server goes on listening: what others had begun to pass on is still on its way here.
    await wait(successor.notice)
    await this.#drain()
    this.#lookAfter()
    await successor.settle()
  }

  #lookAfter (): void {
    if (this.handsOver) this.#closeUnused()
    if (this.#isDrained) this.#replies.endStreams()
    if (performance.now() >= this.#deadline + LAST_WORDS) this.#connections.destroy()
    else this.#connections.endUnused()
  }

  // After the deadline all sessions are closed, in use or not.
  #closeUnused (): void {
    const isOver = performance.now() >= this.#deadline
    const expected = this.#replies.expected()
    this.#sessions.clearAll('shutdown', (session) => isOver || isUnused(session, expected))
  }

  async #drain (): Promise<void> {
    await this.#replies.whenAnswered(Math.max(0, this.#deadline - performance.now()))
  }

  async #sayGoodbye (): Promise<void> {
    await Promise.all([atMost(LAST_WORDS, this.#settle()), this.#replies.whenOver(LAST_WORDS)])
    this.#replies.destroyStreams()
  }

  async #settle (): Promise<void> {
    await Promise.all(this.#followers.map((follower) => follower.settle()))
  }
}

// A stream that only the server ends is no reason to keep a session.
function isUnused (session: Session, expected: ReadonlySet<Session>): boolean {
  return session.activeRequests <= session.openStreams && !expected.has(session)
}
