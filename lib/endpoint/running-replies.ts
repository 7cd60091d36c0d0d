import type { FastifyReply } from 'fastify'
import { setTimeout } from 'node:timers/promises'

/** The replies of an endpoint that are under way. */
export class RunningReplies {
  readonly #replies = new Set<FastifyReply>()
  #onEmpty: (() => void) | undefined

  add (reply: FastifyReply): void {
    if (reply.raw.destroyed) return
    this.#replies.add(reply)
    reply.raw.on('close', () => {
      this.#replies.delete(reply)
      if (this.#replies.size === 0) this.#onEmpty?.()
    })
  }

  /** Resolves when no reply is under way, or after `timeout` milliseconds. */
  async whenEmpty (timeout: number): Promise<void> {
    if (this.#replies.size === 0) return
    const timer = new AbortController()
    const empty = new Promise<void>((resolve) => { this.#onEmpty = resolve })
    await Promise.race([empty, setTimeout(timeout, undefined, { signal: timer.signal })])
    timer.abort()
  }

  /** Ends what is left, for close() waits for every connection. */
  destroy (): void {
    for (const reply of this.#replies) reply.raw.destroy()
  }
}
