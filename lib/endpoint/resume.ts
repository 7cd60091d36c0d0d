import type { FastifyReply } from 'fastify'
import type { EventBuffer } from './event-buffer.js'

/**
 * Replays the rest of a stream that has had its response. The transport would
 * leave such a stream open for ever.
 */
export async function replayToEnd (events: EventBuffer, lastEventId: string, sessionId: string, reply: FastifyReply): Promise<FastifyReply> {
  let body = ''
  await events.replayEventsAfter(lastEventId, {
    async send (eventId, message) {
      body += `event: message\nid: ${eventId}\ndata: ${JSON.stringify(message)}\n\n`
    }
  })
  return reply
    .header('content-type', 'text/event-stream')
    .header('cache-control', 'no-cache, no-transform')
    .header('mcp-session-id', sessionId)
    .send(Buffer.from(body))
}
