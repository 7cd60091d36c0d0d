import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js'
import type { AuthInfo } from '@modelcontextprotocol/sdk/server/auth/types.js'
import type { FastifyRequest } from 'fastify'
import { checkBoolean, checkCount, checkFunction, checkList, checkTimer, refuse } from '../base/option-checks.js'
import type { Session } from '../session/session.js'

/** An MCP server of the official SDK: `McpServer`, or the `Server` below it. */
export interface SessionServer {
  connect (transport: Transport): Promise<void>
  close (): Promise<void>
}

export interface CreateServerContext {
  /** The session that the server is for. */
  readonly session: Session
  /** The request that opened the session, or brought it back. */
  readonly request: FastifyRequest
  /** Whether the session has lived before, in another process. */
  readonly restored: boolean
}

export type CreateServer = (context: CreateServerContext) => SessionServer | Promise<SessionServer>

/** Serves clients of revision 2026-07-28; the `fetch` of the SDK's `createMcpHandler` is one. */
export type ModernFetch = (request: Request, options?: { authInfo?: AuthInfo, parsedBody?: unknown }) => Promise<Response>

export interface ResumableOptions {
  /** How many events of a session are kept. */
  maxEvents: number
  /** Milliseconds after which a client comes back for a stream that was closed. Default 1000. */
  retryInterval?: number | undefined
}

/** Options of the endpoint. All times are milliseconds. */
export interface McpEndpointOptions {
  /** Makes the MCP server of a new session. What it throws is the answer to `initialize`, and no session is left. */
  createServer: CreateServer
  /** Where the endpoint is, below the prefix of its scope. Default `'/mcp'`. */
  path?: string | undefined
  /** Answer with JSON rather than a stream; progress and other messages on the way are lost. Default `false`. */
  enableJsonResponse?: boolean | undefined
  /** Keep the last events of each session for clients that come back with `Last-Event-ID`. Default `false`. */
  resumable?: false | ResumableOptions | undefined
  /** `Host` headers to answer to, with a port or for any. Default: loopback hosts on loopback connections, any on others. */
  allowedHosts?: readonly string[] | undefined
  /** `Origin` headers to answer to. Default: those whose host is allowed. */
  allowedOrigins?: readonly string[] | undefined
  /** How often an open stream carries a comment, so that a client that has gone is noticed; 0: never. Default 15000. */
  heartbeatInterval?: number | undefined
  /** Serves clients of revision 2026-07-28, which have no sessions, at the same path. Default: they are told to fall back. */
  modern?: ModernFetch | undefined
}

export interface ResolvedResumableOptions {
  readonly maxEvents: number
  readonly retryInterval: number
}

export interface ResolvedEndpointOptions {
  readonly createServer: CreateServer
  readonly path: string
  readonly enableJsonResponse: boolean
  readonly resumable: ResolvedResumableOptions | undefined
  readonly allowedHosts: readonly string[] | undefined
  readonly allowedOrigins: readonly string[] | undefined
  readonly heartbeatInterval: number
  readonly modern: ModernFetch | undefined
}

/** @throws TypeError that names the option */
export function resolveEndpointOptions (options: McpEndpointOptions): ResolvedEndpointOptions {
  const { path = '/mcp', enableJsonResponse = false, heartbeatInterval = 15_000 } = options
  const createServer: CreateServer | undefined = checkFunction('createServer', options.createServer, '({ session, request, restored }) => McpServer')
  if (createServer === undefined) refuse('createServer', 'a function ({ session, request, restored }) => McpServer', createServer)
  if (typeof path !== 'string' || !path.startsWith('/')) refuse('path', 'a string that starts with /', path)
  return {
    createServer,
    path,
    enableJsonResponse: checkBoolean('enableJsonResponse', enableJsonResponse),
    resumable: resolveResumable(options.resumable),
    allowedHosts: checkList('allowedHosts', options.allowedHosts),
    allowedOrigins: checkList('allowedOrigins', options.allowedOrigins),
    heartbeatInterval: checkTimer('heartbeatInterval', heartbeatInterval, 'no heartbeats'),
    modern: checkFunction('modern', options.modern, '(request, options) => Promise<Response>')
  }
}

function resolveResumable (value: unknown): ResolvedResumableOptions | undefined {
  if (value === undefined || value === false) return undefined
  if (typeof value !== 'object' || value === null || !('maxEvents' in value) || typeof value.maxEvents !== 'number') {
    refuse('resumable', 'false or { maxEvents: number }', value)
  }
  const retryInterval = 'retryInterval' in value && value.retryInterval !== undefined ? value.retryInterval : 1000
  return {
    maxEvents: checkCount('resumable.maxEvents', value.maxEvents),
    retryInterval: checkTimer('resumable.retryInterval', retryInterval, 'at once')
  }
}
