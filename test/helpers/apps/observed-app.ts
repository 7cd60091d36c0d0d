import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import cors from '@fastify/cors'
import { acceptedContent, inputRequired, McpServer, type CallToolResult } from '@modelcontextprotocol/server'
import type { Test } from 'tap'
import { z } from 'zod'
import mcpSessions, { mcpEndpoint } from '../../../index.js'
import { createDeferred } from '../waiting/deferred.js'
import { portOf } from './app.js'

/** A request that has come from a client. */
export interface Seen {
  readonly http: string
  /** The method in JSON-RPC. Undefined for a body that is no message, or was refused unread. */
  method?: string
  readonly sessionId: string | undefined
}

/** An app that writes down what its client sends. */
export interface ObservedApp {
  readonly url: string
  readonly seen: Seen[]
  /** The era of each server that has been made. */
  readonly eras: Array<'legacy' | 'modern'>
  /** Ends all sessions without telling their clients, and returns the ids. */
  forget (): Set<string>
  /** Lets the tool `steps` end, which waits for this after it has told of progress. */
  finishSteps (): void
}

export async function buildObservedApp (t: Test, form: 'plain' | 'modern'): Promise<ObservedApp> {
  const app = Fastify()
  const eras: Array<'legacy' | 'modern'> = []
  const finished = createDeferred()
  t.teardown(() => app.close())
  await app.register(cors, { origin: true, methods: ['GET', 'POST', 'DELETE'], exposedHeaders: ['mcp-session-id'] })
  const seen = observe(app)
  await app.register(mcpSessions, { drainTimeout: 100 })
  function createServer ({ era }: { era: 'legacy' | 'modern' }): McpServer {
    eras.push(era)
    return buildServer(finished.promise)
  }
  await app.register(mcpEndpoint, form === 'modern' ? { createServer, modern: true } : { createServer })
  await app.listen({ port: 0, host: '127.0.0.1' })
  return {
    url: `http://127.0.0.1:${portOf(app)}/mcp`,
    seen,
    eras,
    forget () {
      const ids = new Set(app.sessionManager.list().map(({ id }) => id))
      app.sessionManager.clearAll()
      return ids
    },
    finishSteps: finished.resolve
  }
}

function observe (app: FastifyInstance): Seen[] {
  const seen: Seen[] = []
  const ofRequest = new WeakMap<FastifyRequest, Seen>()
  app.addHook('onRequest', async function seeRequest (request) {
    const { method: http, headers: { 'mcp-session-id': sessionId } } = request
    if (http === 'OPTIONS') return
    const one: Seen = { http, sessionId: typeof sessionId === 'string' ? sessionId : undefined }
    ofRequest.set(request, one)
    seen.push(one)
  })
  app.addHook('preHandler', async function seeMethod (request) {
    const { method } = Object(request.body)
    const one = ofRequest.get(request)
    if (one !== undefined && typeof method === 'string') one.method = method
  })
  return seen
}

const NAME_FORM = inputRequired.elicit({ message: 'Your name?', requestedSchema: z.object({ name: z.string() }) })

// The answer waits until the client has heard of progress: a client may drop what comes in one piece with the answer.
function buildServer (finished: Promise<void>): McpServer {
  const server = new McpServer({ name: 'tools', version: '1.0.0' })
  server.registerTool('echo', { description: 'Says it again', inputSchema: z.object({ text: z.string() }) }, ({ text }) => answer(text))
  server.registerTool('steps', { description: 'Has something to say on the way' }, async ({ mcpReq: { _meta, notify } }) => {
    const progressToken = _meta?.progressToken
    if (progressToken !== undefined) {
      await notify({ method: 'notifications/progress', params: { progressToken, progress: 1, total: 2 } })
      await finished
    }
    return answer('done')
  })
  server.registerTool('ask', { description: 'Asks the user' }, ({ mcpReq }) => {
    const accepted = acceptedContent(mcpReq.inputResponses, 'name', z.object({ name: z.string() }))
    return accepted === undefined ? inputRequired({ inputRequests: { name: NAME_FORM } }) : answer(`Hello, ${accepted.name}!`)
  })
  return server
}

function answer (text: string): CallToolResult {
  return { content: [{ type: 'text', text }] }
}
