import type { FastifyReply } from 'fastify'
import { setTimeout } from 'node:timers/promises'

/** The replies of an endpoint that are under way. */
export class RunningReplies {
  readonly #calls = new Set<FastifyReply>()
  readonly #streams = new Set<FastifyReply>()

  /** A reply that ends by itself. */
  addCall (reply: FastifyReply): void {
    track(this.#calls, reply)
  }

  /** A reply that stays open until somebody ends it. */
  addStream (reply: FastifyReply): void {
    track(this.#streams, reply)
  }

  /** Resolves when no call is under way, those included that come in meanwhile, or after `timeout` milliseconds. */
  async whenAnswered (timeout: number): Promise<void> {
    const end = performance.now() + timeout
    while (this.#calls.size > 0 && performance.now() < end) await waitFor(this.#calls, end - performance.now())
  }

  /** Resolves when all replies that are under way now have closed, or after `timeout` milliseconds. */
  async whenClosed (timeout: number): Promise<void> {
    await waitFor([...this.#calls, ...this.#streams], timeout)
  }

  /** Cuts off the replies that would stay open. */
  destroyStreams (): void {
    for (const reply of this.#streams) reply.raw.destroy()
  }

  /** Cuts off what is left, for close() waits for every connection. */
  destroy (): void {
    for (const reply of [...this.#calls, ...this.#streams]) reply.raw.destroy()
  }
}

function track (replies: Set<FastifyReply>, reply: FastifyReply): void {
  if (reply.raw.destroyed) return
  replies.add(reply)
  reply.raw.on('close', () => replies.delete(reply))
}

async function waitFor (replies: Iterable<FastifyReply>, timeout: number): Promise<void> {
  const closed = Array.from(replies, ({ raw }) => new Promise<void>((resolve) => {
    if (raw.closed) resolve()
    else raw.on('close', resolve)
  }))
  if (closed.length === 0) return
  const timer = new AbortController()
  await Promise.race([Promise.all(closed), setTimeout(timeout, undefined, { signal: timer.signal })])
  timer.abort()
}
