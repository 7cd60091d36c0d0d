import type { FastifyReply, FastifyRequest } from 'fastify'
import { onResponseOver } from '../session/response-over.js'
import { atMost } from './at-most.js'

/** The replies of an endpoint that are under way. */
export class RunningReplies {
  readonly #replies = new Set<FastifyReply>()
  #onEmpty: (() => void) | undefined

  add (request: FastifyRequest, reply: FastifyReply): void {
    this.#replies.add(reply)
    onResponseOver(request, reply, () => {
      this.#replies.delete(reply)
      if (this.#replies.size === 0) this.#onEmpty?.()
    })
  }

  /** Resolves when no reply is under way, or after `timeout` milliseconds. */
  async whenEmpty (timeout: number): Promise<void> {
    if (this.#replies.size === 0) return
    await atMost(timeout, new Promise<void>((resolve) => { this.#onEmpty = resolve }))
  }

  /** Ends what is left, for close() waits for every connection. */
  destroy (): void {
    for (const reply of this.#replies) reply.raw.destroy()
  }
}
