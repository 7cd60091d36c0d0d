import type { FastifyReply } from 'fastify'
import { ShuttingDownError } from '../../base/errors.js'
import { asError } from '../../base/safe-call.js'
import type { RequestId } from '../../http/event-log.js'
import type { ResponseMode } from '../options.js'
import { formatEvent } from '../transport/event-format.js'
import { EventStream, sendEvents, setEventHeaders } from '../transport/event-stream.js'
import { toErrorAnswer } from '../transport/json-rpc.js'
import { hasEvents, pipeEvents, sendWebResponse, setHead, type WebAnswerOptions } from './web-response.js'

export interface CallAnswerOptions extends WebAnswerOptions {
  readonly responseMode: Exclude<ResponseMode, 'json'>
  /** The id of the call. */
  readonly id: RequestId
}

/**
 * Answers a call of 2026-07-28 in the same way as a call with a session: if it takes longer than a heartbeat it gets a stream,
 * so that no proxy takes its connection for a dead one.
 */
export async function sendCallAnswer (reply: FastifyReply, answer: Promise<Response>, options: CallAnswerOptions): Promise<void> {
  const response = await withinHeartbeat(answer, options.heartbeatInterval)
  if (response === undefined) return sendLate(reply, answer, options)
  if (options.responseMode === 'auto' || !response.ok || response.body === null || hasEvents(response)) {
    return sendWebResponse(reply, response, options)
  }
  setHead(reply, response)
  setEventHeaders(reply)
  const text = await response.text()
  options.heard?.hearJson(text)
  reply.send(formatEvent(text))
}

// The answer, if it comes before the first heartbeat. Undefined: it is not there yet.
function withinHeartbeat (answer: Promise<Response>, interval: number): Promise<Response | undefined> {
  if (interval === 0) return answer
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, interval, undefined)
    timer.unref()
    answer.finally(() => clearTimeout(timer)).then(resolve, reject)
  })
}

async function sendLate (reply: FastifyReply, answer: Promise<Response>, options: CallAnswerOptions): Promise<void> {
  // The reply may have been sent by somebody else, such as a timeout of the app.
  if (reply.sent) return
  const stream = new EventStream(options)
  sendEvents(reply, stream)
  const send = (text: string): void => {
    options.heard?.hearJson(text)
    stream.write(formatEvent(text))
  }
  try {
    const response = await answer
    if (response.body !== null && hasEvents(response)) {
      const reader = response.body.getReader()
      return await pipeEvents(reply, reader, reader.read(), stream, options.heard)
    }
    send(await response.text())
  } catch (reason) {
    // The status has been sent, so the error handler of the app cannot answer any more.
    const error = asError(reason)
    reply.log[error instanceof ShuttingDownError ? 'info' : 'error'](error, 'A call of a client without a session has failed')
    send(JSON.stringify(toErrorAnswer(options.id, -32000, error.message)))
  }
  stream.end()
}
