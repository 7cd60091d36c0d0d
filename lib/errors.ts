import createError, { type FastifyError } from '@fastify/error'

/** A rejection, as the hook answers it: an HTTP status and a JSON-RPC code. */
export type SessionError = FastifyError & { readonly statusCode: number }

// A rejection is an answer to a client, not a fault of the app: no stack.
const NO_STACK = false

/** A route needs a session and the request names none. */
export const MissingSessionIdError = createError(
  'FST_ERR_MCP_SESSION_ID_MISSING', 'Bad Request: Mcp-Session-Id header is required', 400, Error, NO_STACK)

/** The header is sent twice, or is not 1 to 256 visible ASCII characters. */
export const MalformedSessionIdError = createError(
  'FST_ERR_MCP_SESSION_ID_MALFORMED', 'Bad Request: Mcp-Session-Id header must be sent once and be 1 to 256 visible ASCII characters', 400, Error, NO_STACK)

/** The session is unknown, expired or closed. Clients start over on this answer. */
export const SessionNotFoundError = createError(
  'FST_ERR_MCP_SESSION_NOT_FOUND', 'Session not found', 404, Error, NO_STACK)

/** A route has a `config.mcpSession` that means nothing. Thrown at boot. */
export const RouteConfigError = createError<[string, string, string]>(
  'FST_ERR_MCP_SESSION_ROUTE_CONFIG', "Route %s %s: config.mcpSession must be 'required', 'optional' or 'ignore', got %s", 500)

/** The JSON-RPC error codes of the rejections; -32000 for those not named here. */
const rpcCodes: { readonly [code: string]: number } = {
  FST_ERR_MCP_SESSION_NOT_FOUND: -32001
}

/** The body that MCP clients understand, which is what the official SDK sends too. */
export function toJsonRpcError (error: FastifyError): object {
  return {
    jsonrpc: '2.0',
    error: { code: rpcCodes[error.code] ?? -32000, message: error.message },
    id: null
  }
}
