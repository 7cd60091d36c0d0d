import type { PluginContext } from '../http/plugin-context.js'
import type { Drainer } from '../http/shutdown.js'
import { atMost } from '../base/at-most.js'
import type { SessionRuntimes } from './session-runtimes.js'
import type { ModernRequests } from './modern.js'
import type { RunningReplies } from '../http/running-replies.js'

// How long close() waits for last answers to reach their clients, and for the app's servers to close.
const SETTLE_TIMEOUT = 1000
// How soon a stream ends that was opened after its session was handed over, in milliseconds.
const STREAM_END_INTERVAL = 50

export interface EndpointDrainerOptions {
  readonly live: SessionRuntimes
  readonly modern: ModernRequests
  readonly running: RunningReplies
  readonly context: PluginContext
}

/** What an endpoint does when the app closes. */
export class EndpointDrainer implements Drainer {
  readonly #live: SessionRuntimes
  readonly #modern: ModernRequests
  readonly #running: RunningReplies
  readonly #context: PluginContext
  #streamEnd: NodeJS.Timeout | undefined

  constructor ({ live, modern, running, context }: EndpointDrainerOptions) {
    this.#live = live
    this.#modern = modern
    this.#running = running
    this.#context = context
  }

  async drain (timeout: number): Promise<void> {
    // The streams of sessions that are handed over end with them: each has to find its session elsewhere.
    if (!this.#context.shutdown.handsOver) this.#live.endStreams()
    this.#modern.endStreams()
    await this.#running.whenAnswered(timeout)
  }

  async settle (): Promise<void> {
    this.#live.endStreams()
    if (this.#context.shutdown.handsOver) {
      this.#endLatecomers()
      return
    }
    await atMost(SETTLE_TIMEOUT, this.#live.settle())
    await this.#running.whenClosed(SETTLE_TIMEOUT)
    this.#running.destroy()
  }

  // The server has yet to stop listening, and what comes in meanwhile to be answered.
  #endLatecomers (): void {
    if (this.#streamEnd !== undefined) return
    this.#streamEnd = setInterval(() => this.#live.endStreams(), STREAM_END_INTERVAL)
    this.#streamEnd.unref()
    const timer = setTimeout(() => {
      clearInterval(this.#streamEnd)
      this.#running.destroy()
    }, this.#context.drainTimeout)
    timer.unref()
  }
}
