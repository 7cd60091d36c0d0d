import Fastify from 'fastify'
import type { Test } from 'tap'
import { asError } from '../../../lib/base/safe-call.js'
import { readMessages, toErrorAnswer, type JSONRPCMessage, type RequestId } from '../../../lib/endpoint/transport/json-rpc.js'
import { SessionTransport, type Incoming, type PostOptions, type SessionTransportOptions } from '../../../lib/endpoint/transport/session-transport.js'
import { decorateWithRecord, ReplyTracker, type ReplyKind } from '../../../lib/http/reply-tracker.js'
import { listen } from './app.js'
import { HttpClient, REVISION } from '../clients/http-client.js'
import { captureLog } from '../observe/log-lines.js'
import { until } from '../waiting/until.js'

/** What a server has got from its transport. */
export interface Received {
  readonly message: JSONRPCMessage
  readonly context: Readonly<Record<string, unknown>>
}

export interface TransportStage {
  readonly transport: SessionTransport
  readonly client: HttpClient
  readonly received: Received[]
  /** The requests that have come in, with what they are answered by. */
  readonly incoming: Incoming[]
  /** What pino has written. */
  readonly log: string[]
  /** The options of the next requests. */
  postOptions: PostOptions
  /** Waits for a message of this method, and takes it out of what has been received. */
  take (method: string): Promise<Received & { readonly id: RequestId }>
  /** Answers a request. */
  answer (id: RequestId, text: string): Promise<void>
  notify (text: string, relatedRequestId?: RequestId): Promise<void>
}

/** A transport behind routes of its own, over a real port, whose server is the test. */
export async function stageTransport (t: Test, options: Partial<SessionTransportOptions> = {}): Promise<TransportStage> {
  const transport = new SessionTransport({
    responseMode: 'auto', heartbeatInterval: 0, maxBuffered: 1_000_000, cancelOnDisconnect: false, retryInterval: 500, ...options
  })
  const received: Received[] = []
  transport.onmessage = (message, context) => { received.push({ message, context: { ...context } }) }
  const { lines, stream } = captureLog()
  const app = Fastify({ logger: { stream } })
  t.teardown(() => app.close())
  t.teardown(() => transport.close())
  decorateWithRecord(app)
  const replies = new ReplyTracker({ acquire: () => undefined, holdStream: () => () => {}, release () {} })
  const incoming: Incoming[] = []
  for (const [method, kind] of [['POST', 'call'], ['GET', 'stream']] as const satisfies ReadonlyArray<readonly [string, ReplyKind]>) {
    app.route({
      method,
      url: '/mcp',
      handler (request, reply) {
        const one = { request, reply, record: replies.begin(request, reply, kind) }
        incoming.push(one)
        if (method === 'POST') transport.post(one, stage.postOptions)
        else transport.openStream(one).catch((error: unknown) => reply.send(asError(error)))
      }
    })
  }
  const client = new HttpClient(t, new URL(`http://127.0.0.1:${await listen(app)}/mcp`))
  client.headers = { 'mcp-protocol-version': REVISION }

  const stage: TransportStage = {
    transport,
    client,
    received,
    incoming,
    log: lines,
    postOptions: {},
    async take (method) {
      const find = (): number => received.findIndex(({ message }) => 'method' in message && message.method === method)
      await until(() => find() !== -1, `the server gets ${method}`)
      const [taken] = received.splice(find(), 1)
      if (taken === undefined) throw new Error('It was there')
      return { ...taken, id: 'id' in taken.message ? taken.message.id ?? '' : '' }
    },
    async answer (id, text) {
      await transport.send({ jsonrpc: '2.0', id, result: { text } })
    },
    async notify (text, relatedRequestId) {
      await transport.send(news(text), relatedRequestId === undefined ? undefined : { relatedRequestId })
    }
  }
  return stage
}

export function news (text: string): JSONRPCMessage {
  return { jsonrpc: '2.0', method: 'notifications/message', params: { level: 'info', data: text } }
}

export function result (id: RequestId, text: string): object {
  return { jsonrpc: '2.0', id, result: { text } }
}

/** An error answer, as a client sees it. */
export function failure (id: RequestId, code: number, message: string): object {
  return toErrorAnswer(id, code, message)
}

/** One message, as it comes over the wire. */
export function parse (message: object): JSONRPCMessage {
  const [read] = readMessages(JSON.parse(JSON.stringify(message)))
  if (read === undefined) throw new Error('It is no message')
  return read
}
