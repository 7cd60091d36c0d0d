import type { FastifyRequest } from 'fastify'
import type { CallMessage } from '../../observe/channels.js'
import { traceCall, type Trace } from '../../observe/trace.js'
import type { Answer, JSONRPCRequest } from './json-rpc.js'

/** What listeners of the channels hear of a call. */
export class CallTrace {
  readonly #trace: Trace<CallMessage>

  constructor (trace: Trace<CallMessage>) {
    this.#trace = trace
  }

  /** Hands the request to its server. */
  run (handle: () => void): void {
    this.#trace.run(handle)
  }

  answer (answer: Answer): void {
    if ('result' in answer) this.#trace.end({ result: answer.result })
    else this.#trace.end({ error: { code: answer.error.code, message: answer.error.message } })
  }

  cancel (): void {
    this.#trace.end({ error: { code: 'cancelled', message: 'The request has been cancelled' } })
  }
}

/** The trace of a call. Undefined: nobody listens. */
export function traceRequest (
  { id, method, params }: JSONRPCRequest,
  { headers, mcpSession, server }: FastifyRequest
): CallTrace | undefined {
  const trace = traceCall(() => ({ sessions: server.sessionManager, session: mcpSession ?? undefined, method, id, params, headers }))
  return trace && new CallTrace(trace)
}
