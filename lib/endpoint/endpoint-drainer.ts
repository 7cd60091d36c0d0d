import type { SessionLayer } from '../session/session-layer.js'
import type { Drainer } from '../session/shutdown.js'
import { atMost } from '../session/at-most.js'
import type { LiveSessions } from './live-sessions.js'
import type { ModernRequests } from './modern.js'
import type { RunningReplies } from '../session/running-replies.js'

// How long close() waits for last answers to reach their clients, and for the app's servers to close.
const SETTLE_TIMEOUT = 1000

export interface EndpointDrainerOptions {
  readonly live: LiveSessions
  readonly modern: ModernRequests
  readonly running: RunningReplies
  readonly layer: SessionLayer
}

/** What an endpoint does when the app closes. */
export class EndpointDrainer implements Drainer {
  readonly #live: LiveSessions
  readonly #modern: ModernRequests
  readonly #running: RunningReplies
  readonly #layer: SessionLayer

  constructor ({ live, modern, running, layer }: EndpointDrainerOptions) {
    this.#live = live
    this.#modern = modern
    this.#running = running
    this.#layer = layer
  }

  async drain (timeout: number): Promise<void> {
    // The streams of sessions that are handed over end with them: each has to find its session elsewhere.
    if (!this.#layer.shutdown.handsOver) this.#live.endStreams()
    this.#modern.endStreams()
    await this.#running.whenAnswered(timeout)
  }

  async settle (): Promise<void> {
    this.#live.endStreams()
    if (this.#layer.shutdown.handsOver) {
      // The server has yet to stop listening, and what came in meanwhile to be answered.
      setTimeout(() => this.#running.destroy(), this.#layer.drainTimeout).unref()
      return
    }
    await atMost(SETTLE_TIMEOUT, this.#live.settle())
    await this.#running.whenClosed(SETTLE_TIMEOUT)
    this.#running.destroy()
  }
}
