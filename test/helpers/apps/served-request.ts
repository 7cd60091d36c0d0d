import Fastify, { type FastifyReply, type FastifyRequest } from 'fastify'
import type { Test } from 'tap'
import { listen } from './app.js'
import { HttpClient, type Answer } from '../clients/http-client.js'
import { until } from '../waiting/until.js'

export interface ServedRequest {
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  /** The response that the client gets. Rejects when the connection breaks before its head is there. */
  readonly answer: Promise<Answer>
}

export interface ServedRequestOptions {
  readonly headers?: Record<string, string>
  /** Called in the handler as well, before anything is awaited there. */
  readonly handle?: (request: FastifyRequest, reply: FastifyReply) => void
}

/** A POST over a real port to an app of its own, which has come in and is not answered yet. */
export async function serveRequest (t: Test, { headers = {}, handle }: ServedRequestOptions = {}): Promise<ServedRequest> {
  const app = Fastify()
  t.teardown(() => app.close())
  const served: Array<{ request: FastifyRequest, reply: FastifyReply }> = []
  app.post('/mcp', (request, reply) => {
    served.push({ request, reply })
    handle?.(request, reply)
  })
  const client = new HttpClient(t, new URL(`http://127.0.0.1:${await listen(app)}/mcp?x=1`))
  const answer = client.post({}, headers)
  // A test need not wait for it: a rejection must not end the process.
  answer.catch(() => {})
  await until(() => served.length > 0, 'the request has come in')
  const [first] = served
  if (first === undefined) throw new Error('No request has come in')
  return { ...first, answer }
}
