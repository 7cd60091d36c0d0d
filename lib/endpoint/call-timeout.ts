import { errorCodes, type FastifyReply, type FastifyRequest } from 'fastify'
import { onResponseEnd } from '../http/response-end.js'

/**
 * Answers 503 to a call that takes too long or, when its stream has begun, cuts it.
 *
 * Fastify's own timer of a route stops as soon as the body of a POST has been read: its pull request 6725.
 *
 * @param timeout milliseconds
 */
export function limitTime (request: FastifyRequest, reply: FastifyReply, timeout: number): void {
  const timer = setTimeout(function giveUp () {
    if (reply.raw.headersSent) reply.raw.destroy()
    else reply.send(new errorCodes.FST_ERR_HANDLER_TIMEOUT(timeout, request.routeOptions.url))
  }, timeout)
  onResponseEnd(request, reply, () => clearTimeout(timer))
}
