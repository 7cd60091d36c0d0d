import t from 'tap'
import * as surface from '../../index.js'

const table = [
  [new surface.MissingSessionIdError(), 'FST_ERR_MCP_SESSION_ID_MISSING', 400, -32000],
  [new surface.MalformedSessionIdError(), 'FST_ERR_MCP_SESSION_ID_MALFORMED', 400, -32000],
  [new surface.SessionNotFoundError(), 'FST_ERR_MCP_SESSION_NOT_FOUND', 404, -32001],
  [new surface.SessionLimitError(), 'FST_ERR_MCP_SESSION_LIMIT', 503, -32000],
  [new surface.ShuttingDownError(), 'FST_ERR_MCP_SESSION_SHUTTING_DOWN', 503, -32000],
  [new surface.ClusterUnavailableError(), 'FST_ERR_MCP_SESSION_CLUSTER_UNAVAILABLE', 503, -32000],
  [new surface.OwnerFailedError(), 'FST_ERR_MCP_SESSION_OWNER_FAILED', 502, -32000],
  [new surface.ForbiddenOriginError('this Host'), 'FST_ERR_MCP_SESSION_FORBIDDEN_ORIGIN', 403, -32000],
  [new surface.ParseError('x'), 'FST_ERR_MCP_SESSION_PARSE', 400, -32700],
  [new surface.InvalidRequestError('x'), 'FST_ERR_MCP_SESSION_INVALID_REQUEST', 400, -32600],
  [new surface.NotAcceptableError(), 'FST_ERR_MCP_SESSION_NOT_ACCEPTABLE', 406, -32000],
  [new surface.MethodNotAllowedError(), 'FST_ERR_MCP_SESSION_METHOD_NOT_ALLOWED', 405, -32000],
  [new surface.RouteConfigError('GET', '/cart', "'x'"), 'FST_ERR_MCP_SESSION_ROUTE_CONFIG', 500, -32000],
  [new surface.PrincipalError('number'), 'FST_ERR_MCP_SESSION_PRINCIPAL', 500, -32000],
  [new surface.ServerError('null'), 'FST_ERR_MCP_SESSION_SERVER', 500, -32000],
  [new surface.MissingPluginError(), 'FST_ERR_MCP_SESSION_PLUGIN_MISSING', 500, -32000]
] as const

for (const [error, code, statusCode, rpcCode] of table) {
  t.test(`${code} is an error class of @fastify/error, with its status and JSON-RPC code`, async (t) => {
    t.ok(error instanceof Error)
    t.equal(error.name, 'FastifyError')
    t.equal(error.code, code)
    t.equal(error.statusCode, statusCode)
    t.strictSame(surface.toJsonRpcError(error), {
      jsonrpc: '2.0', error: { code: rpcCode, message: error.message }, id: null
    })
  })
}

t.test('every error class that is exported is in this table', async (t) => {
  const exported = Object.keys(surface).filter((name) => name.endsWith('Error') && name !== 'toJsonRpcError')
  t.equal(exported.length, table.length)
})

t.test('a rejection has no stack to collect: it is an answer to a client', async (t) => {
  t.notMatch(new surface.SessionNotFoundError().stack, 'errors.test')
  t.match(new surface.RouteConfigError('GET', '/', '1').stack, 'errors.test', 'a fault of the app has one')
})
