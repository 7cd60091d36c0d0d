import { atMost } from '../base/at-most.js'
import type { SessionUses } from '../http/session-cluster.js'
import type { SessionDirectory } from '../http/session-directory.js'
import { KnownNodes } from './known-nodes.js'
import { DistantSession } from './shown-session.js'

export interface ClusterViewOptions {
  readonly directory: SessionDirectory
  readonly uses: SessionUses
  /**
   * Milliseconds since the epoch.
   *
   * @default Date.now
   */
  readonly now?: () => number
  /** The CPU time of this process, in milliseconds. Another one is for tests. */
  readonly cpuTime?: () => number
}

// How often the directory is asked at most, in milliseconds.
const NODES_INTERVAL = 2000
const SESSIONS_INTERVAL = 3000
// The most that reading all sessions may take on average, as a part of a core.
const SHARE = 0.01
// How long an answer waits for what other nodes have, in milliseconds.
const PATIENCE = 2000

/** The other nodes of the cluster, and their sessions, as the directory has them. Asks for them only while somebody looks. */
export class ClusterView {
  readonly #directory: SessionDirectory
  readonly #uses: SessionUses
  readonly #now: () => number
  readonly #cpuTime: () => number
  readonly #nodes = new KnownNodes()
  #sessions: DistantSession[] = []
  #sessionsDue = -Infinity
  #nodesDue = -Infinity
  #refreshing: Promise<void> | undefined
  #timer: NodeJS.Timeout | undefined
  #version = 0

  constructor ({ directory, uses, now = Date.now, cpuTime = readCpuTime }: ClusterViewOptions) {
    this.#directory = directory
    this.#uses = uses
    this.#now = now
    this.#cpuTime = cpuTime
  }

  get nodes (): KnownNodes {
    return this.#nodes
  }

  get sessions (): readonly DistantSession[] {
    return this.#sessions
  }

  /** Changes with each change. */
  get version (): number {
    // The sum does, because both parts only grow.
    return this.#version + this.#uses.version
  }

  /** Keeps what is known up to date, from now on. */
  watch (): void {
    if (this.#timer !== undefined) return
    this.#timer = setInterval(() => { this.refresh() }, NODES_INTERVAL / 2)
    this.#timer.unref()
    this.#nodesDue = -Infinity
    this.refresh()
  }

  /** Forgets what is known, when nobody looks any more. */
  unwatch (): void {
    clearInterval(this.#timer)
    this.#timer = undefined
    this.#sessions = []
    this.#sessionsDue = -Infinity
    this.#nodesDue = -Infinity
    this.#nodes.forget()
    this.#uses.forget()
  }

  /**
   * Asks for what is not known, or has grown old, and waits for two seconds at most. Never rejects: where there is no answer,
   * what is known stays.
   */
  async refresh (): Promise<void> {
    this.#refreshing ??= this.#refresh().finally(() => { this.#refreshing = undefined })
    await atMost(PATIENCE, this.#refreshing)
  }

  /** Asks for the sessions even if that was done a moment ago. Never rejects, and waits for two seconds at most. */
  async reread (): Promise<void> {
    await atMost(PATIENCE, this.#refreshing ?? Promise.resolve())
    this.#sessionsDue = -Infinity
    await this.refresh()
  }

  /** Takes out a session that has ended, without asking the directory. */
  drop (id: string): void {
    this.#sessions = this.#sessions.filter((session) => session.id !== id)
    this.#version++
  }

  async #refresh (): Promise<void> {
    // What has failed is tried again next time, and an outage is logged by the lease.
    await Promise.allSettled([this.#learnNodes(), this.#readSessions()])
  }

  async #learnNodes (): Promise<void> {
    if (this.#now() < this.#nodesDue) return
    const nodes = await this.#directory.nodes()
    this.#nodes.learn(nodes, this.#now())
    this.#nodesDue = this.#now() + NODES_INTERVAL
    this.#version++
    // Only while a page is open: the answers come later, too late for a single look.
    if (this.#timer !== undefined) await this.#uses.ask(nodes.map(({ id }) => id))
  }

  async #readSessions (): Promise<void> {
    if (this.#now() < this.#sessionsDue) return
    const began = this.#cpuTime()
    const sessions: DistantSession[] = []
    for await (const session of this.#directory.list()) {
      if (session.node === undefined || session.node !== this.#directory.node) sessions.push(new DistantSession(session, this.#uses))
    }
    this.#sessions = sessions
    this.#sessionsDue = this.#now() + Math.max(SESSIONS_INTERVAL, (this.#cpuTime() - began) / SHARE)
    this.#version++
  }
}

function readCpuTime (): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}
