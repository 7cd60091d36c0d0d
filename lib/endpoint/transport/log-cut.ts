import type { FastifyRequest } from 'fastify'
import { channels } from '../../observe/channels.js'

/** Says that the stream of this request was cut off, with so many bytes waiting for its client. */
export function logCut (request: FastifyRequest, waiting: number): void {
  const cut = channels['stream.cut']
  if (cut.hasSubscribers) cut.publish({ sessions: request.server.sessionManager, session: request.mcpSession ?? undefined, bytes: waiting })
  request.log.warn({ waiting }, 'A stream was cut off: its client reads too slowly or not at all, see the option maxBuffered')
}
