import type { onRequestHookHandler, onSendHookHandler, preParsingHookHandler } from 'fastify'
import type { Reject } from './rejection.js'
import type { SessionRouter } from './session-cluster.js'

export interface HopHookOptions {
  readonly cluster: Pick<SessionRouter, 'receive' | 'replay' | 'isForwarded'>
  readonly reject: Reject
}

/** The `onRequest` hook for requests that other nodes pass on. The hooks after it see the address and host that the first node saw. */
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

/**
 * The `onSend` hook for answers to requests that other nodes have passed on. Fastify closes the connection after an answer that
 * comes before the end of the request, such as 413. The other node, which is still sending, would see the connection break, and
 * not read the answer.
 */
export function createEarlyAnswerHook ({ cluster }: HopHookOptions): onSendHookHandler {
  return function keepConnection (request, reply, payload, done) {
    if (!request.raw.complete && cluster.isForwarded(request)) reply.removeHeader('connection')
    done(null, payload)
  }
}
