import createError, { type FastifyError, type FastifyErrorConstructor } from '@fastify/error'

/** A rejection, as it is answered: an HTTP status and a JSON-RPC code. */
export type SessionError = FastifyError & { readonly statusCode: number }

/** The body that MCP clients understand. `data.code` says which rejection it is; the SDK has one number for most. */
export interface JsonRpcErrorResponse {
  readonly jsonrpc: '2.0'
  readonly error: { readonly code: number, readonly message: string, readonly data: { readonly code: string } }
  readonly id: string | number | null
}

interface Row<C extends string, S extends number, M extends string> {
  readonly code: C
  readonly status: S
  /** From JSON-RPC 2.0, section 5.1, and from the official SDK. Default -32000, a server error like any other. */
  readonly rpcCode?: number
  /** Seconds after which to try again. By default the answer does not say. */
  readonly retryAfter?: number
  readonly message: M
}

/** Written out, because the type that `createError` infers names a namespace that `moduleResolution: bundler` does not find. */
type ErrorClass<C extends string, S extends number, A extends string[]> = FastifyErrorConstructor<{ code: C, statusCode: S }, A>

/** A string for each `%s` of a message. */
type Arguments<M extends string> = M extends `${string}%s${infer Rest}` ? [string, ...Arguments<Rest>] : []

const SERVER_ERROR = -32000

const table = new Map<string, Row<string, number, string>>()

function define<const C extends string, const S extends number, const M extends string> (
  row: Row<C, S, M>
): ErrorClass<C, S, Arguments<M>> {
  table.set(row.code, row)
  // Only a fault of the app needs a stack: a rejection is an answer to a client.
  return createError<C, S, Arguments<M>>(row.code, row.message, row.status, Error, row.status === 500)
}

/** A route needs a session and the request names none. */
export const MissingSessionIdError = define({
  code: 'FST_ERR_MCP_SESSION_ID_MISSING', status: 400, message: 'Bad Request: Mcp-Session-Id header is required'
})

/** The header is sent twice, or is not 1 to 256 visible ASCII characters. */
export const MalformedSessionIdError = define({
  code: 'FST_ERR_MCP_SESSION_ID_MALFORMED',
  status: 400,
  message: 'Bad Request: Mcp-Session-Id header must be sent once and be 1 to 256 visible ASCII characters'
})

/**
 * The session is unknown, expired, closed, or somebody else's. Clients start over on this answer; some look for its status in
 * the message.
 */
export const SessionNotFoundError = define({
  code: 'FST_ERR_MCP_SESSION_NOT_FOUND', status: 404, rpcCode: -32001, message: 'Session not found (HTTP 404)'
})

/** There is no room for another session: all of them are in use. */
export const SessionLimitError = define({
  code: 'FST_ERR_MCP_SESSION_LIMIT', status: 503, retryAfter: 5, message: 'Too many sessions are in use. Try again later'
})

/** The same caller has opened `maxOpensPerMinute` sessions within a minute. */
export const OpeningRateError = define({
  code: 'FST_ERR_MCP_SESSION_OPENING_RATE', status: 429, retryAfter: 60, message: 'Too many sessions were opened. Try again in a minute'
})

/** The app is closing and opens no more sessions. */
export const ShuttingDownError = define({
  code: 'FST_ERR_MCP_SESSION_SHUTTING_DOWN', status: 503, retryAfter: 1, message: 'Shutting down. Try again later'
})

/** Redis does not answer, so nobody can tell where the session is. */
export const ClusterUnavailableError = define({
  code: 'FST_ERR_MCP_SESSION_CLUSTER_UNAVAILABLE', status: 503, retryAfter: 1, message: 'Session storage is not available. Try again later'
})

/** Redis has the change, but too few of its replicas have it: with `cluster.waitForReplicas`, that is not enough to answer. */
export const NotReplicatedError = define({
  code: 'FST_ERR_MCP_SESSION_NOT_REPLICATED',
  status: 503,
  retryAfter: 1,
  message: 'Session storage has not copied what this would follow from to its replicas. Try again later'
})

/** The node that served the session died, or lost the session, in the middle of the request. */
export const OwnerFailedError = define({
  code: 'FST_ERR_MCP_SESSION_OWNER_FAILED',
  status: 502,
  message: 'The node that serves the session has failed. The request may or may not have been carried out'
})

/**
 * The node that serves the session is alive, and cannot be reached from here. The log says why, and at which URL. The
 * message ends with whether it may have got the request all the same.
 */
export const OwnerUnreachableError = define({
  code: 'FST_ERR_MCP_SESSION_OWNER_UNREACHABLE',
  status: 503,
  retryAfter: 1,
  message: 'The node that serves the session cannot be reached. %s'
})

/** A node was asked in the place of another one: what nodes advertise does not lead to them. */
export const MisdirectedError = define({
  code: 'FST_ERR_MCP_SESSION_MISDIRECTED',
  status: 503,
  message: 'The nodes of the cluster do not reach each other as they advertise. Give each of them a URL of its own: option "cluster.advertise"'
})

/** The Host or Origin of a request is not one that the endpoint is meant for. */
export const ForbiddenOriginError = define({
  code: 'FST_ERR_MCP_SESSION_FORBIDDEN_ORIGIN', status: 403, message: 'Forbidden: %s is not allowed'
})

/** The body cannot be read: broken JSON, a key that is not allowed, or none at all. */
export const ParseError = define({
  code: 'FST_ERR_MCP_SESSION_PARSE', status: 400, rpcCode: -32700, message: 'Parse error: %s'
})

/** The body is JSON, but not what may be sent at this point. */
export const InvalidRequestError = define({
  code: 'FST_ERR_MCP_SESSION_INVALID_REQUEST', status: 400, rpcCode: -32600, message: 'Invalid Request: %s'
})

/** The client does not take what the endpoint would answer. */
export const NotAcceptableError = define({
  code: 'FST_ERR_MCP_SESSION_NOT_ACCEPTABLE', status: 406, message: 'Not Acceptable: the client must accept %s'
})

/**
 * The request names a revision of MCP that is not spoken here. Its JSON-RPC code is not the -32022 of revision 2026-07-28:
 * a client that gets that one takes the server for one of that revision, and does not fall back to an older one.
 *
 * @see https://modelcontextprotocol.io/specification/2026-07-28/basic/lifecycle
 */
export const UnsupportedRevisionError = define({
  code: 'FST_ERR_MCP_SESSION_UNSUPPORTED_REVISION',
  status: 400,
  message: 'Bad Request: Unsupported protocol version: %s (supported versions: %s)'
})

/** The path does not have this method: with `enabled: false`, neither GET nor DELETE, for there are no sessions. */
export const MethodNotAllowedError = define({
  code: 'FST_ERR_MCP_SESSION_METHOD_NOT_ALLOWED', status: 405, message: 'Method not allowed'
})

/** A route has a `config.mcpSession` that means nothing. Thrown at boot. */
export const RouteConfigError = define({
  code: 'FST_ERR_MCP_SESSION_ROUTE_CONFIG',
  status: 500,
  message: "Route %s %s: config.mcpSession must be 'required', 'optional' or 'ignore', got %s"
})

/** `identify` gave something else than a string or undefined. */
export const PrincipalError = define({
  code: 'FST_ERR_MCP_SESSION_PRINCIPAL', status: 500, message: 'Option "identify" must return a string or undefined, got %s'
})

/** `createServer` gave something else than a new MCP server. */
export const ServerError = define({
  code: 'FST_ERR_MCP_SESSION_SERVER', status: 500, message: 'Option "createServer" must return a new MCP server each time, got %s'
})

/** With `reuseServers`, `createServer` has asked for something of one session. */
export const SharedServerError = define({
  code: 'FST_ERR_MCP_SESSION_SHARED_SERVER',
  status: 500,
  message: 'Option "createServer" asks for "%s", but with "reuseServers" a server is for many sessions: take it in the handlers of its tools, or leave "reuseServers" out'
})

/** `modern` is true, but SDK 2 is not installed. Thrown at boot. */
export const MissingSdkError = define({
  code: 'FST_ERR_MCP_SESSION_SDK_MISSING',
  status: 500,
  message: 'Option "modern" is true, and serves clients of 2026-07-28 with SDK 2, which is not installed: npm install @modelcontextprotocol/server'
})

/** `mcpEndpoint` or `sessionsDashboard` was registered where there are no sessions. Thrown at boot. */
export const MissingPluginError = define({
  code: 'FST_ERR_MCP_SESSION_PLUGIN_MISSING',
  status: 500,
  message: 'Register mcpSessions first, on the same instance or one that encloses it'
})

/** `mcpSessions` was registered where it is registered already. Thrown at boot. */
export const RegisteredTwiceError = define({
  code: 'FST_ERR_MCP_SESSION_REGISTERED_TWICE',
  status: 500,
  message: 'mcpSessions is registered already, on the same instance or one that encloses it. Register it once, or in scopes beside each other'
})

/** A row of the table of errors, with its defaults written out. */
export interface ErrorRow {
  readonly code: string
  readonly status: number
  readonly rpcCode: number
  /** Seconds. */
  readonly retryAfter: number | undefined
}

/** All errors that there are: the tests hold docs/errors.md to them. */
export function errorRows (): ErrorRow[] {
  return Array.from(table.values(), ({ code, status, rpcCode = SERVER_ERROR, retryAfter }) => ({ code, status, rpcCode, retryAfter }))
}

/** The `Retry-After` of an answer, in seconds; undefined: it has none. */
export function retryAfterOf (error: FastifyError): number | undefined {
  return table.get(error.code)?.retryAfter
}

/**
 * The body of a rejection in JSON-RPC.
 *
 * @param id of the request that it answers, where that is known
 */
export function toJsonRpcError (error: FastifyError, id: string | number | null = null): JsonRpcErrorResponse {
  const { code, message } = error
  return {
    jsonrpc: '2.0',
    error: { code: table.get(code)?.rpcCode ?? SERVER_ERROR, message, data: { code } },
    id
  }
}
