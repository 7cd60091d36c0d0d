import type { FastifyReply, FastifyRequest, onSendHookHandler } from 'fastify'
import { Readable } from 'node:stream'
import type { SessionError } from '../base/errors.js'
import type { Reject } from './rejection.js'
import type { SessionCluster } from './session-cluster.js'

export interface WriteBarrierOptions {
  readonly cluster: Pick<SessionCluster, 'barrier'>
  readonly reject: Reject
}

/**
 * The `onSend` hook of a cluster: an answer waits until the next owner of the session would find what it
 * follows from. When that cannot be had, the client is told so instead. Of a stream only the head waits.
 */
export function createWriteBarrier ({ cluster, reject }: WriteBarrierOptions): onSendHookHandler {
  // The answer of a rejection passes here as well, and must not wait again.
  const refused = new WeakSet<FastifyReply>()

  return function holdAnswer (request, reply, payload, done) {
    const settled = refused.has(reply) ? undefined : whenSettled(request)
    if (settled === undefined) {
      done(null, payload)
      return
    }
    settled.then(() => done(null, payload), (error: SessionError) => {
      refused.add(reply)
      if (payload instanceof Readable) payload.destroy()
      reject(request, reply, error)
    })
  }

  function whenSettled (request: FastifyRequest): Promise<void> | undefined {
    const { mcpSession } = request
    // A route that ignores sessions and has one belongs to an endpoint, which waits by itself, event by event.
    if (!mcpSession || request.routeOptions.config.mcpSession === 'ignore') return undefined
    return cluster.barrier(mcpSession)
  }
}
