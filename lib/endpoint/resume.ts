import type { RequestId } from '@modelcontextprotocol/sdk/types.js'
import type { ResumableEvents } from '../http/session-cluster.js'

export interface Replay {
  readonly events: ResumableEvents
  readonly lastEventId: string
  readonly sessionId: string
  /** Requests of the stream that nobody works on any more. */
  readonly lost: readonly RequestId[]
}

/**
 * The rest of a stream to which nothing more will come. The transport would
 * leave such a stream open for ever.
 */
export async function replayToEnd ({ events, lastEventId, sessionId, lost }: Replay): Promise<Response> {
  let body = ''
  await events.replayEventsAfter(lastEventId, {
    async send (eventId, message) {
      body += `event: message\nid: ${eventId}\ndata: ${JSON.stringify(message)}\n\n`
    }
  })
  for (const id of lost) {
    const answer = { jsonrpc: '2.0', id, error: { code: -32000, message: 'The process that worked on this request has died' } }
    body += `event: message\ndata: ${JSON.stringify(answer)}\n\n`
  }
  return new Response(body, {
    headers: {
      'content-type': 'text/event-stream',
      'cache-control': 'no-cache, no-transform',
      'mcp-session-id': sessionId
    }
  })
}
