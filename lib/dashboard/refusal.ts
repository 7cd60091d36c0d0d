import type { FastifyReply } from 'fastify'
import { STATUS_CODES } from 'node:http'

/** Answers with what is wrong, as a string: response serializers of the app are for its own bodies. */
export function refuse (reply: FastifyReply, status: number, message: string): FastifyReply {
  return reply.code(status).headers({ 'content-type': 'application/json; charset=utf-8', 'cache-control': 'no-store' })
    .send(JSON.stringify({ error: STATUS_CODES[status], message }))
}
