import type { FastifyReply, onRequestHookHandler } from 'fastify'
import { asError } from '../base/safe-call.js'
import { refuse } from './refusal.js'
import type { Authorize } from './options.js'

/**
 * The `onRequest` hook that asks the app's `authorize`. When a hook has replied and returned nothing, Fastify goes on with the
 * request as long as the answer is on its way through `onSend`. Here to reply is always to refuse.
 */
export function createAuthorization (authorize: Authorize): onRequestHookHandler {
  return function checkAuthorization (request, reply, done) {
    const hasReplied = watchSend(reply)
    const admit = (error?: Error | null): void => {
      if (error != null) done(error)
      else if (!hasReplied()) done()
    }
    if (authorize.length > 2) {
      Reflect.apply(authorize, this, [request, reply, admit])
      return
    }
    ask(() => Reflect.apply(authorize, this, [request, reply])).then((isAllowed) => {
      if (isAllowed || hasReplied()) admit()
      else refuse(reply, 403, 'authorize has turned the request away')
    }, (reason: unknown) => admit(asError(reason)))
  }
}

// Only false is a refusal, because hooks may return anything.
async function ask (authorize: () => unknown): Promise<boolean> {
  return await authorize() !== false
}

// Tells whether send() has been called: `reply.sent` says so only when the last byte is written.
function watchSend (reply: FastifyReply): () => boolean {
  const { send } = reply
  let hasSent = false
  reply.send = function watchedSend (payload) {
    hasSent = true
    return send.call(this, payload)
  }
  return () => {
    reply.send = send
    return hasSent || reply.sent
  }
}
