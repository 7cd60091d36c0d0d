import type { FastifyReply, FastifyRequest } from 'fastify'
import { onResponseOver } from './response-over.js'
import { atMost } from './at-most.js'

interface Running {
  readonly reply: FastifyReply
  readonly over: Promise<void>
}

/** The replies of an endpoint that are under way. */
export class RunningReplies {
  readonly #calls = new Set<Running>()
  readonly #streams = new Set<Running>()

  /** A reply that ends by itself. */
  addCall (request: FastifyRequest, reply: FastifyReply): void {
    track(this.#calls, request, reply)
  }

  /** A reply that stays open until somebody ends it. */
  addStream (request: FastifyRequest, reply: FastifyReply): void {
    track(this.#streams, request, reply)
  }

  /** Resolves when no call is under way, those included that come in meanwhile, or after `timeout` milliseconds. */
  async whenAnswered (timeout: number): Promise<void> {
    const end = performance.now() + timeout
    while (this.#calls.size > 0 && performance.now() < end) await whenOver(this.#calls, end - performance.now())
  }

  /** Resolves when all replies that are under way now are over, or after `timeout` milliseconds. */
  async whenClosed (timeout: number): Promise<void> {
    await whenOver([...this.#calls, ...this.#streams], timeout)
  }

  /** Cuts off the replies that would stay open. */
  destroyStreams (): void {
    for (const { reply } of this.#streams) reply.raw.destroy()
  }

  /** Cuts off what is left, for close() waits for every connection. */
  destroy (): void {
    for (const { reply } of [...this.#calls, ...this.#streams]) reply.raw.destroy()
  }
}

function track (set: Set<Running>, request: FastifyRequest, reply: FastifyReply): void {
  let resolve = (): void => {}
  const running: Running = { reply, over: new Promise((_resolve) => { resolve = _resolve }) }
  set.add(running)
  onResponseOver(request, reply, () => {
    set.delete(running)
    resolve()
  })
}

async function whenOver (replies: Iterable<Running>, timeout: number): Promise<void> {
  await atMost(timeout, Promise.all(Array.from(replies, ({ over }) => over)))
}
