import type { FastifyReply, FastifyRequest } from 'fastify'
import { onResponseEnd } from './response-end.js'
import { atMost } from '../base/at-most.js'

/** Each with the promise of its end. */
type Replies = Map<FastifyReply, Promise<void>>

/** The replies of an endpoint that are under way. */
export class RunningReplies {
  readonly #calls: Replies = new Map()
  readonly #streams: Replies = new Map()

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
    while (this.#calls.size > 0 && performance.now() < end) await whenOver(this.#calls.values(), end - performance.now())
  }

  /** Resolves when all replies that are under way now are over, or after `timeout` milliseconds. */
  async whenClosed (timeout: number): Promise<void> {
    await whenOver([...this.#calls.values(), ...this.#streams.values()], timeout)
  }

  /** Cuts off the replies that would stay open. */
  destroyStreams (): void {
    for (const reply of this.#streams.keys()) reply.raw.destroy()
  }

  /** Cuts off what is left, for close() waits for every connection. */
  destroy (): void {
    for (const reply of [...this.#calls.keys(), ...this.#streams.keys()]) reply.raw.destroy()
  }
}

function track (replies: Replies, request: FastifyRequest, reply: FastifyReply): void {
  const over = new Promise<void>((resolve) => { onResponseEnd(request, reply, resolve) })
  replies.set(reply, over)
  over.then(() => { replies.delete(reply) })
}

async function whenOver (replies: Iterable<Promise<void>>, timeout: number): Promise<void> {
  await atMost(timeout, Promise.all(replies))
}
