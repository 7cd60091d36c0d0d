import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import Fastify, { type FastifyInstance, type FastifyServerOptions, type LightMyRequestResponse } from 'fastify'
import type { Test } from 'tap'
import mcpSessions, { mcpEndpoint, type McpSessionsOptions } from '../../../index.js'
import type { CreateServerContext, SessionEndpointOptions } from '../../../lib/endpoint/options.js'
import { captureLog } from '../observe/log-lines.js'

/** An MCP server that counts how often it is closed. */
export class CountedServer extends McpServer {
  closed = 0

  constructor () {
    super({ name: 'counted', version: '1.0.0' })
    this.registerTool('echo', { description: 'Answers at once' }, () => ({ content: [{ type: 'text', text: 'hello' }] }))
  }

  override async close (): Promise<void> {
    this.closed++
    await super.close()
  }
}

export interface Stage {
  readonly app: FastifyInstance
  readonly servers: CountedServer[]
  readonly contexts: CreateServerContext[]
  /** The reasons for which sessions have ended, in order. */
  readonly ends: string[]
  /** What pino has written. */
  readonly log: string[]
  /** Makes a server that is counted. */
  createServer (context: CreateServerContext): CountedServer
}

export interface StageOptions {
  readonly sessions?: McpSessionsOptions
  readonly endpoint?: Partial<SessionEndpointOptions>
  readonly server?: FastifyServerOptions
  /** Runs before anything is registered. */
  readonly before?: (app: FastifyInstance) => void
  /** Adds to each server. */
  readonly equip?: (server: CountedServer, context: CreateServerContext) => void
  /** Mounts the endpoint; by default, at the root. */
  readonly mount?: (app: FastifyInstance, options: SessionEndpointOptions) => unknown
}

/** An app with an endpoint whose servers are counted; it is closed when the test is over. */
export async function stageEndpoint (t: Test, options: StageOptions = {}): Promise<Stage> {
  const { lines, stream } = captureLog()
  const app: FastifyInstance = Fastify({ logger: { level: 'trace', stream }, ...options.server })
  const servers: CountedServer[] = []
  const contexts: CreateServerContext[] = []
  const ends: string[] = []
  t.teardown(() => app.close())

  function createServer (context: CreateServerContext): CountedServer {
    const server = new CountedServer()
    options.equip?.(server, context)
    servers.push(server)
    contexts.push(context)
    return server
  }

  options.before?.(app)
  await app.register(mcpSessions, { drainTimeout: 0, ...options.sessions })
  app.sessionManager.on('closed', (_session, reason) => { ends.push(reason) })
  const endpoint = { createServer, ...options.endpoint }
  if (options.mount === undefined) await app.register(mcpEndpoint, endpoint)
  else await options.mount(app, endpoint)
  return { app, servers, contexts, ends, log: lines, createServer }
}

export type Headers = Record<string, string | string[]>

export const ACCEPT_BOTH = 'application/json, text/event-stream'

export const INITIALIZE_PARAMS = {
  protocolVersion: '2025-11-25',
  capabilities: {},
  clientInfo: { name: 'test client', version: '1.2.3' }
}

export function rpc (method: string, params: object = {}, id: number | string = 1): object {
  return { jsonrpc: '2.0', id, method, params }
}

export const INITIALIZE = rpc('initialize', INITIALIZE_PARAMS)

export interface PostOptions {
  readonly url?: string
  readonly headers?: Headers
}

/** Sends a body, as JSON unless it is a string, under the headers that every client sends. */
export async function post (app: FastifyInstance, body: unknown, { url = '/mcp', headers }: PostOptions = {}): Promise<LightMyRequestResponse> {
  return app.inject({
    method: 'POST',
    url,
    headers: { accept: ACCEPT_BOTH, 'content-type': 'application/json', ...headers },
    ...(body !== undefined && { payload: typeof body === 'string' ? body : JSON.stringify(body) })
  })
}

/** Opens a session and returns its id. */
export async function open (app: FastifyInstance, options: PostOptions = {}): Promise<string> {
  const response = await post(app, INITIALIZE, options)
  const id = response.headers['mcp-session-id']
  if (response.statusCode !== 200 || typeof id !== 'string') throw new Error(`No session: ${response.statusCode} ${response.body}`)
  return id
}

export async function callTool (app: FastifyInstance, sessionId: string, name: string, { url, headers }: PostOptions = {}): Promise<LightMyRequestResponse> {
  return post(app, rpc('tools/call', { name, arguments: {} }, 7), {
    ...(url !== undefined && { url }),
    headers: { 'mcp-session-id': sessionId, ...headers }
  })
}

/** The messages of an event stream. */
export function parseEvents (body: string): unknown[] {
  return body.split('\n').filter((line) => line.startsWith('data: {')).map((line) => JSON.parse(line.slice('data: '.length)))
}

/** What a response says in JSON-RPC, be it JSON or an event stream of one message. */
export function parseMessage (response: LightMyRequestResponse): unknown {
  const isStream = String(response.headers['content-type']).startsWith('text/event-stream')
  return isStream ? parseEvents(response.body)[0] : response.json()
}

const CODES: ReadonlyArray<readonly [beginning: string, code: string]> = [
  ['Bad Request: Mcp-Session-Id header is required', 'ID_MISSING'],
  ['Bad Request: Mcp-Session-Id header must', 'ID_MALFORMED'],
  ['Session not found (HTTP 404)', 'NOT_FOUND'],
  ['Too many sessions', 'LIMIT'],
  ['Forbidden: ', 'FORBIDDEN_ORIGIN'],
  ['Parse error: ', 'PARSE'],
  ['Invalid Request: ', 'INVALID_REQUEST'],
  ['Not Acceptable: ', 'NOT_ACCEPTABLE'],
  ['Method not allowed', 'METHOD_NOT_ALLOWED']
]

/** The body of a rejection. */
export function rejection (code: number, message: string): object {
  const [, name = message] = CODES.find(([beginning]) => message.startsWith(beginning)) ?? []
  return { jsonrpc: '2.0', error: { code, message, data: { code: `FST_ERR_MCP_SESSION_${name}` } }, id: null }
}
