import { errorCodes, type FastifyReply, type FastifyRequest } from 'fastify'
import { onResponseEnd } from '../http/response-end.js'

/**
 * Answers 503 to a call that takes too long. If its stream has begun, cuts the stream.
 *
 * Fastify's own `handlerTimeout` will not do: in a POST its timer stops as soon as the body has been read (its pull request
 * 6725).
 *
 * @param timeout milliseconds
 */
export function limitTime (request: FastifyRequest, reply: FastifyReply, timeout: number): void {
  const timer = setTimeout(function giveUp () {
    if (reply.raw.headersSent) cut(request, reply, timeout)
    else reply.send(new errorCodes.FST_ERR_HANDLER_TIMEOUT(timeout, request.routeOptions.url))
  }, timeout)
  onResponseEnd(request, reply, () => clearTimeout(timer))
}

// Fastify says no more than that a stream has closed too early.
function cut ({ log }: FastifyRequest, { raw }: FastifyReply, timeout: number): void {
  log.warn({ timeout }, 'The stream of a call was cut off: it took longer than the option handlerTimeout')
  raw.destroy()
}
