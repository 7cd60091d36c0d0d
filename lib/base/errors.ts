import createError, { type FastifyError } from '@fastify/error'

/** A rejection, as it is answered: an HTTP status and a JSON-RPC code. */
export type SessionError = FastifyError & { readonly statusCode: number }

// A rejection is an answer to a client, not a fault of the app: no stack.
function rejection (code: string, message: string, statusCode: number) {
  return createError(`FST_ERR_MCP_SESSION_${code}`, message, statusCode, Error, false)
}

/** A route needs a session and the request names none. */
export const MissingSessionIdError = rejection('ID_MISSING', 'Bad Request: Mcp-Session-Id header is required', 400)

/** The header is sent twice, or is not 1 to 256 visible ASCII characters. */
export const MalformedSessionIdError = rejection('ID_MALFORMED', 'Bad Request: Mcp-Session-Id header must be sent once and be 1 to 256 visible ASCII characters', 400)

/** The session is unknown, expired, closed, or somebody else's. Clients start over on this answer. */
export const SessionNotFoundError = rejection('NOT_FOUND', 'Session not found', 404)

/** There is no room for another session: all of them are in use. */
export const SessionLimitError = rejection('LIMIT', 'Too many sessions are in use. Try again later', 503)

/** The app is closing and opens no more sessions. */
export const ShuttingDownError = rejection('SHUTTING_DOWN', 'Shutting down. Try again later', 503)

/** Redis does not answer, so nobody can tell where the session is. */
export const ClusterUnavailableError = rejection('CLUSTER_UNAVAILABLE', 'Session storage is not available. Try again later', 503)

/** The node that served the session died, or lost the session, in the middle of the request. */
export const OwnerFailedError = rejection('OWNER_FAILED', 'The node that serves the session has failed. The request may or may not have been carried out', 502)

/** The Host or Origin of a request is not one that the endpoint is meant for. */
export const ForbiddenOriginError = rejection('FORBIDDEN_ORIGIN', 'Forbidden: %s is not allowed', 403)

/** The body cannot be read: broken JSON, or none at all. */
export const ParseError = rejection('PARSE', 'Parse error: %s', 400)

/** The body is JSON, but not what may be sent at this point. */
export const InvalidRequestError = rejection('INVALID_REQUEST', 'Invalid Request: %s', 400)

/** The client does not take what the endpoint would answer. */
export const NotAcceptableError = rejection('NOT_ACCEPTABLE', 'Not Acceptable: Client must accept both application/json and text/event-stream', 406)

/** The endpoint keeps no sessions, so there is nothing to GET or DELETE. */
export const MethodNotAllowedError = rejection('METHOD_NOT_ALLOWED', 'Method not allowed', 405)

/** A route has a `config.mcpSession` that means nothing. Thrown at boot. */
export const RouteConfigError = createError<[string, string, string]>(
  'FST_ERR_MCP_SESSION_ROUTE_CONFIG', "Route %s %s: config.mcpSession must be 'required', 'optional' or 'ignore', got %s", 500)

/** `identify` gave something else than a string or undefined. */
export const PrincipalError = createError<[string]>(
  'FST_ERR_MCP_SESSION_PRINCIPAL', 'Option "identify" must return a string or undefined, got %s', 500)

/** `createServer` gave something else than a new MCP server. */
export const ServerError = createError<[string]>(
  'FST_ERR_MCP_SESSION_SERVER', 'Option "createServer" must return a new MCP server each time, got %s', 500)

/** `mcpEndpoint` was registered where there are no sessions. Thrown at boot. */
export const MissingPluginError = createError(
  'FST_ERR_MCP_SESSION_PLUGIN_MISSING', 'Register mcpSessions before mcpEndpoint, on the same instance or one that encloses it', 500)

/** JSON-RPC codes, from the specification of JSON-RPC 2.0, section 5.1, and from the official SDK; -32000 for the rest. */
const rpcCodes: { readonly [code: string]: number } = {
  FST_ERR_MCP_SESSION_NOT_FOUND: -32001,
  FST_ERR_MCP_SESSION_PARSE: -32700,
  FST_ERR_MCP_SESSION_INVALID_REQUEST: -32600
}

/** Seconds after which to try again; no other answer has a `Retry-After`. */
const retryAfter: { readonly [code: string]: number } = {
  FST_ERR_MCP_SESSION_LIMIT: 5,
  FST_ERR_MCP_SESSION_SHUTTING_DOWN: 1,
  FST_ERR_MCP_SESSION_CLUSTER_UNAVAILABLE: 1
}

export function getRetryAfter (error: FastifyError): number | undefined {
  return retryAfter[error.code]
}

/** The body that MCP clients understand, which is what the official SDK sends too. */
export function toJsonRpcError (error: FastifyError): object {
  return {
    jsonrpc: '2.0',
    error: { code: rpcCodes[error.code] ?? -32000, message: error.message },
    id: null
  }
}
