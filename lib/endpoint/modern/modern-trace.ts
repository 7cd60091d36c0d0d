import type { CallMessage } from '../../observe/channels.js'
import { traceCall, type Trace } from '../../observe/trace.js'
import { HeardAnswer } from './heard-answer.js'
import { readId, readMethod, readParams } from './modern-body.js'
import { isObject } from '../transport/json-rpc.js'
import type { Incoming } from '../transport/session-transport.js'

/** What listeners of the channels hear of a call of 2026-07-28. Its answer is read from the bytes that go to the client. */
export interface ModernTrace {
  readonly trace: Trace<CallMessage>
  readonly heard: HeardAnswer
}

/** The trace of a request. Undefined: nobody listens, or it asks for no answer. */
export function traceModern (incoming: Incoming): ModernTrace | undefined {
  const { request: { body, headers, server }, record } = incoming
  const id = readId(body)
  const method = readMethod(body)
  if (id === null || typeof method !== 'string') return undefined
  const params = readParams(body)
  const trace = traceCall(() => ({
    sessions: server.sessionManager, session: undefined, method, id, params: isObject(params) ? params : undefined, headers
  }))
  if (trace === undefined) return undefined
  record.onOver(() => trace.end(describeEnd(incoming)))
  return { trace, heard: new HeardAnswer(id, (outcome) => trace.end(outcome)) }
}

// How a call has ended of whose answer nothing could be read.
function describeEnd ({ reply: { raw: { statusCode, writableEnded } }, record }: Incoming): Partial<CallMessage> {
  if (statusCode >= 400) return { error: { code: statusCode, message: `Answered with ${statusCode}` } }
  // A client ends its stream, and cancels a call, by closing the connection.
  if (writableEnded || record.kind === 'stream') return {}
  return { error: { code: 'cancelled', message: 'The client has gone' } }
}
