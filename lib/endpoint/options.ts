import type { FastifyRequest } from 'fastify'
import { checkBoolean, checkCount, checkMilliseconds, checkNames, checkTimer, refuse } from '../base/option-checks.js'
import { REGISTER_OPTIONS } from '../http/register-options.js'
import type { Session } from '../session/session.js'
import type { AuthInfo } from './auth-info.js'
import { checkHosts, checkOrigins, type HostPattern, type OriginPattern } from './allowed-names.js'
import { checkModern, type ModernHandler } from './modern/modern-handler.js'
import { resolveRouteOptions, type EndpointRouteOptions } from './route-options.js'

/** An MCP server of either official SDK: `McpServer`, or the `Server` below it. */
export interface SessionServer {
  /** The parameter has another type in each SDK. The transport of the endpoint is of both types. */
  connect (transport: never): Promise<void>
  /** Called once in a session, when it ends or is parked. */
  close (): Promise<void>
}

/** What `createServer` is told of the session that a server is for. */
export interface CreateServerContext {
  /** SDK 2's word for the revisions with sessions. */
  readonly era: 'legacy'
  /** The session that the server is for. */
  readonly session: Session
  /** The request that opened the session, or brought it back. */
  readonly request: FastifyRequest
  /** Whether the session has had a server before, in another process or until it was parked. */
  readonly restored: boolean
  /** What the app's authentication has put on `request.auth`. */
  readonly authInfo: AuthInfo | undefined
}

/** What `createServer` is told when the server is for one request of revision 2026-07-28 or later. */
export interface ModernServerContext {
  /** SDK 2's word for the revisions without sessions. */
  readonly era: 'modern'
  /** There is none. */
  readonly session: null
  /** The request that the server is for. */
  readonly request: FastifyRequest
  /** Without a session, never. */
  readonly restored: false
  /** What the app's authentication has put on `request.auth`. */
  readonly authInfo: AuthInfo | undefined
}

/** What `createServer` is told when servers are reused: nothing of a session, for the server is for many. */
export interface SharedServerContext {
  /** SDK 2's word for the revisions with sessions. */
  readonly era: 'legacy'
}

/** Makes an MCP server, of either SDK. */
export type CreateServer<Context = CreateServerContext> = (context: Context) => SessionServer | Promise<SessionServer>

/** Makes servers for clients of both eras. */
export type CreateDualServer = CreateServer<CreateServerContext | ModernServerContext>

/** How calls are answered: with a stream, with JSON, or with whichever is enough. */
export type ResponseMode = 'auto' | 'sse' | 'json'

/** What is kept of a session's streams for a client that comes back with `Last-Event-ID`. */
export interface ResumableOptions {
  /**
   * How many events of a session are kept.
   *
   * @default 1000
   */
  maxEvents?: number | undefined
  /**
   * How many bytes of events are kept of a session.
   *
   * @default 4_194_304 (4 MiB)
   */
  maxBytes?: number | undefined
  /**
   * Milliseconds after which a client comes back for a stream that was closed.
   *
   * @default 1000
   */
  retryInterval?: number | undefined
}

/** Options of the endpoint. All times are milliseconds, all sizes bytes. */
export type McpEndpointOptions = SessionEndpointOptions | DualEndpointOptions | SharedEndpointOptions

/** The options of an endpoint whose `createServer` makes servers for sessions. */
export interface SessionEndpointOptions extends CommonEndpointOptions, OwnServers {
  /** Makes the MCP server of a new session. What it throws is the answer to `initialize`, and no session is left. */
  createServer: CreateServer
  /**
   * Serves clients of revision 2026-07-28, which have no sessions, at the same path: what `createMcpHandler` of SDK 2
   * returns. The endpoint closes it with the app.
   *
   * @default those clients are told to fall back to a session
   */
  modern?: ModernHandler | undefined
}

/** The options of an endpoint whose `createServer` makes servers for clients of both eras. */
export interface DualEndpointOptions extends CommonEndpointOptions, OwnServers {
  /**
   * Makes the MCP server of a new session or, of SDK 2, for one request of revision 2026-07-28. What it throws is the
   * answer to that request.
   *
   * @example
   * createServer: ({ era, session }) => buildServer(era === 'legacy' ? session.principal : undefined)
   */
  createServer: CreateDualServer
  /** Serves clients of revision 2026-07-28, which have no sessions, from `createServer` too. Needs `@modelcontextprotocol/server`. */
  modern: true
}

/** The options of an endpoint whose servers serve one session after the other. */
export interface SharedEndpointOptions extends CommonEndpointOptions {
  /**
   * Makes an MCP server for many sessions, one after the other, or for one request of revision 2026-07-28, where `modern`
   * is true. What it throws is the answer to `initialize`, and no session is left.
   */
  createServer: CreateServer<SharedServerContext | ModernServerContext>
  /** As without `reuseServers`. Clients of 2026-07-28 have a server for each request. */
  modern?: true | ModernHandler | undefined
  /**
   * Lets the server of a session that has ended or is parked serve another one. Only for servers that know nothing of
   * their session and keep nothing of it. A number is how many servers without a session are kept; `true` is 256.
   */
  // Not an object: with one, TypeScript cannot tell which of the three kinds of options these are.
  reuseServers: true | number
}

interface OwnServers {
  /**
   * Whether the server of a session that has ended or is parked serves another one. Only for servers that know nothing of
   * their session and keep nothing of it.
   *
   * @default false
   */
  reuseServers?: false | undefined
}

interface CommonEndpointOptions extends EndpointRouteOptions {
  /**
   * Where the endpoint is, below the prefix of its scope.
   *
   * @default '/mcp'
   */
  path?: string | undefined
  /**
   * How calls are answered. `'auto'`: with JSON when the answer is the first thing that there is to say, with a stream
   * when something comes before it. `'sse'`: always with a stream. `'json'`: never with one; messages on the way go to
   * the GET stream, and a question to the client that has nowhere to go fails at once. Clients of 2026-07-28 have no GET
   * stream: with `'json'` they hear nothing but the answer, so that progress, which they may have asked for, is dropped.
   *
   * @default 'auto'
   */
  responseMode?: ResponseMode | undefined
  /**
   * Keeps the last events of each session for clients that come back with `Last-Event-ID`. `{}` is the defaults.
   *
   * @default false
   */
  resumable?: false | ResumableOptions | undefined
  /**
   * Cancels a call when its client's connection breaks. Otherwise the call runs to its end and holds its session: a
   * client whose connection is gone has not cancelled, and with `resumable` it may come back for the answer.
   *
   * @default false
   */
  cancelOnDisconnect?: boolean | undefined
  /**
   * How many bytes may wait in one stream for a client that reads slowly or not at all. Past it the stream is cut.
   *
   * @default 4_194_304 (4 MiB)
   */
  maxBuffered?: number | undefined
  /**
   * How many bytes of what a client has said once are kept for its next server, on another node or after parking: its
   * `initialize`, its subscriptions, its log level. A larger `initialize` is refused, whether or not there is either.
   *
   * @default 65_536 (64 KiB)
   */
  maxSetup?: number | undefined
  /**
   * Asks `identify` again at every heartbeat of an open GET stream, with the request that opened it. The stream ends
   * when the caller is somebody else by then, or nobody.
   *
   * @default true
   */
  recheckOwner?: boolean | undefined
  /**
   * Milliseconds of idleness after which a session is parked; 0: never. Its MCP server is closed, what its client had said
   * is kept, and the next request brings it back through `createServer`, with `restored: true`. An open GET stream stays
   * open. Only for servers that keep no state of their own between calls: it would be lost. It belongs into
   * `session.metadata`, or where the app keeps such things.
   *
   * @default 0
   */
  parkAfter?: number | undefined
  /**
   * Hosts to answer to: `'mcp.example.com'` at any port, `'mcp.example.com:8443'` at one, `'*.example.com'` for all below
   * it and not for itself, `'[::1]'`. `['*']` is any host, and takes the guard away.
   *
   * @default loopback hosts on loopback connections, any on others
   */
  allowedHosts?: readonly string[] | undefined
  /**
   * Origins of web pages to answer to, as browsers send them: `'https://app.example.com'`, with a port unless it is the
   * default one; `'https://*.example.com'` for all below it, `'https://*'` for any, `'null'` for pages that have none.
   * `[]` is no web page at all.
   *
   * @default those whose host is allowed
   */
  allowedOrigins?: readonly string[] | undefined
  /**
   * How often an open stream carries a comment, so that a client that has gone is noticed; 0: never.
   *
   * @default 15_000
   */
  heartbeatInterval?: number | undefined
}

export interface ResolvedResumableOptions {
  readonly maxEvents: number
  /** Bytes. */
  readonly maxBytes: number
  /** Milliseconds. */
  readonly retryInterval: number
}

export interface ResolvedEndpointOptions {
  readonly createServer: CreateServer
  readonly path: string
  readonly responseMode: ResponseMode
  readonly resumable: ResolvedResumableOptions | undefined
  readonly cancelOnDisconnect: boolean
  /** Bytes. */
  readonly maxBuffered: number
  /** Bytes. */
  readonly maxSetup: number
  readonly recheckOwner: boolean
  /** Milliseconds; 0: never. */
  readonly parkAfter: number
  /** How many servers without a session are kept. Undefined: each server serves one session. */
  readonly reuseServers: number | undefined
  readonly allowedHosts: readonly HostPattern[] | undefined
  readonly allowedOrigins: readonly OriginPattern[] | undefined
  /** Milliseconds; 0: never. */
  readonly heartbeatInterval: number
  /** What serves clients of 2026-07-28: a handler, or a function that makes servers. Undefined: they are told to fall back. */
  readonly modern: ModernHandler | CreateDualServer | undefined
  /** What is passed on to the routes. */
  readonly route: EndpointRouteOptions
}

const MIB = 1024 * 1024

// A record, so that the compiler sees when one is missing.
const ownNames: Record<keyof McpEndpointOptions, true> = {
  createServer: true,
  path: true,
  responseMode: true,
  resumable: true,
  cancelOnDisconnect: true,
  maxBuffered: true,
  maxSetup: true,
  recheckOwner: true,
  parkAfter: true,
  reuseServers: true,
  allowedHosts: true,
  allowedOrigins: true,
  heartbeatInterval: true,
  modern: true,
  bodyLimit: true,
  handlerTimeout: true,
  schema: true,
  config: true,
  constraints: true
}
const NAMES = [...Object.keys(ownNames), ...REGISTER_OPTIONS]
const CREATE_SERVER = 'a function ({ era, session, request, restored, authInfo }) => McpServer'

/** @throws TypeError that names the option */
export function resolveEndpointOptions (options: McpEndpointOptions): ResolvedEndpointOptions {
  refuseOldName(options)
  checkNames(options, NAMES)
  const {
    path = '/mcp', responseMode = 'auto', cancelOnDisconnect = false, maxBuffered = 4 * MIB, maxSetup = 65_536, recheckOwner = true,
    parkAfter = 0, heartbeatInterval = 15_000
  } = options
  const createServer: CreateServer | undefined = options.createServer
  if (typeof createServer !== 'function') refuse('createServer', CREATE_SERVER, createServer)
  if (typeof path !== 'string' || !path.startsWith('/')) refuse('path', 'a string that starts with /', path)
  return {
    createServer,
    path,
    responseMode: checkResponseMode(responseMode),
    resumable: resolveResumable(options.resumable),
    cancelOnDisconnect: checkBoolean('cancelOnDisconnect', cancelOnDisconnect),
    maxBuffered: checkCount('maxBuffered', maxBuffered),
    maxSetup: checkCount('maxSetup', maxSetup),
    recheckOwner: checkBoolean('recheckOwner', recheckOwner),
    parkAfter: checkMilliseconds('parkAfter', parkAfter, 'never'),
    reuseServers: resolveReuse(options.reuseServers),
    allowedHosts: checkHosts(options.allowedHosts),
    allowedOrigins: checkOrigins(options.allowedOrigins),
    heartbeatInterval: checkTimer('heartbeatInterval', heartbeatInterval, 'no heartbeats'),
    modern: options.modern === true ? options.createServer : checkModern(options.modern),
    route: resolveRouteOptions(options)
  }
}

// The name that responseMode has in SDK 1.
function refuseOldName (options: McpEndpointOptions): void {
  if (!('enableJsonResponse' in options)) return
  const mode = options.enableJsonResponse === true ? 'json' : 'sse'
  throw new TypeError(`Option "enableJsonResponse" is "responseMode" here: use responseMode: '${mode}'`)
}

function checkResponseMode (value: ResponseMode): ResponseMode {
  if (value === 'auto' || value === 'sse' || value === 'json') return value
  refuse('responseMode', "'auto', 'sse' or 'json'", value)
}

function resolveReuse (value: boolean | number | undefined): number | undefined {
  if (value === undefined || value === false) return undefined
  if (value === true) return 256
  if (typeof value !== 'number') refuse('reuseServers', 'true, false or a whole number > 0', value)
  return checkCount('reuseServers', value)
}

function resolveResumable (value: false | ResumableOptions | undefined): ResolvedResumableOptions | undefined {
  if (value === undefined || value === false) return undefined
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    refuse('resumable', 'false or an object { maxEvents, maxBytes, retryInterval }', value)
  }
  checkNames(value, ['maxEvents', 'maxBytes', 'retryInterval'], 'resumable')
  const { maxEvents = 1000, maxBytes = 4 * MIB, retryInterval = 1000 } = value
  return {
    maxEvents: checkCount('resumable.maxEvents', maxEvents),
    maxBytes: checkCount('resumable.maxBytes', maxBytes),
    retryInterval: checkTimer('resumable.retryInterval', retryInterval, 'at once')
  }
}
