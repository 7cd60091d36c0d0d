import type { FastifyReply, onRequestHookHandler } from 'fastify'
import { asError } from '../base/safe-call.js'
import { refuse } from './refusal.js'
import type { Authorize } from './options.js'

/**
 * The `onRequest` hook that lets in whom the app lets in. Fastify goes on with a request whose hook has replied and
 * returned nothing, as long as the answer is still on its way through `onSend`. Here that is a refusal like any other.
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

// Only false is a no: hooks return what they like.
async function ask (authorize: () => unknown): Promise<boolean> {
  return await authorize() !== false
}

// The answer has begun when send() is called; `reply.sent` says so only when its last byte is written.
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
