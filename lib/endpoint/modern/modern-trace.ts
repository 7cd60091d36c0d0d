import type { CallMessage } from '../../observe/channels.js'
import { traceCall, type Trace } from '../../observe/trace.js'
import { HeardAnswer } from './heard-answer.js'
import { readId, readMethod, readParams } from './modern-body.js'
import { isObject } from '../transport/json-rpc.js'
import type { Incoming } from '../transport/session-transport.js'

/** What listeners hear of a call of 2026-07-28: its answer goes by as bytes, and is heard on its way. */
export interface ModernTrace {
  readonly trace: Trace<CallMessage>
  readonly heard: HeardAnswer
}

/** Undefined: nobody listens, or it asks for nothing. */
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

// Of what has said nothing that could be heard.
function describeEnd ({ reply: { raw: { statusCode, writableEnded } }, record }: Incoming): Partial<CallMessage> {
  if (statusCode >= 400) return { error: { code: statusCode, message: `Answered with ${statusCode}` } }
  // To leave is how a client ends its stream, and how it cancels a call.
  if (writableEnded || record.kind === 'stream') return {}
  return { error: { code: 'cancelled', message: 'The client has gone' } }
}
