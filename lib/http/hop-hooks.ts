import type { onRequestHookHandler, preParsingHookHandler } from 'fastify'
import type { Reject } from './rejection.js'
import type { SessionRouter } from './session-cluster.js'

export interface HopHookOptions {
  readonly cluster: Pick<SessionRouter, 'receive' | 'replay'>
  readonly reject: Reject
}

/** The `onRequest` hook for what other nodes pass on. The hooks that come after it see who is calling, as the first node did. */
export function createReceiveHook ({ cluster, reject }: HopHookOptions): onRequestHookHandler {
  return function receiveFromNode (request, reply, done) {
    const error = cluster.receive(request, reply)
    if (error === undefined) done()
    else reject(request, reply, error)
  }
}

/** The `preParsing` hook for requests that were sent to another node in vain, and are served here after all. */
export function createReplayHook ({ cluster }: HopHookOptions): preParsingHookHandler {
  return function replayBody (request, _reply, payload, done) {
    done(null, cluster.replay(request) ?? payload)
  }
}
