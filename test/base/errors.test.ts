import t from 'tap'
import { retryAfterOf } from '../../lib/base/errors.js'
import * as surface from '../../index.js'

const table = [
  [new surface.MissingSessionIdError(), 'ID_MISSING', 400, -32000, undefined],
  [new surface.MalformedSessionIdError(), 'ID_MALFORMED', 400, -32000, undefined],
  [new surface.SessionNotFoundError(), 'NOT_FOUND', 404, -32001, undefined],
  [new surface.SessionLimitError(), 'LIMIT', 503, -32000, 5],
  [new surface.OpeningRateError(), 'OPENING_RATE', 429, -32000, 60],
  [new surface.ShuttingDownError(), 'SHUTTING_DOWN', 503, -32000, 1],
  [new surface.ClusterUnavailableError(), 'CLUSTER_UNAVAILABLE', 503, -32000, 1],
  [new surface.NotReplicatedError(), 'NOT_REPLICATED', 503, -32000, 1],
  [new surface.OwnerUnreachableError('Try again later'), 'OWNER_UNREACHABLE', 503, -32000, 1],
  [new surface.MisdirectedError(), 'MISDIRECTED', 503, -32000, undefined],
  [new surface.OwnerFailedError(), 'OWNER_FAILED', 502, -32000, undefined],
  [new surface.ForbiddenOriginError('this Host'), 'FORBIDDEN_ORIGIN', 403, -32000, undefined],
  [new surface.ParseError('x'), 'PARSE', 400, -32700, undefined],
  [new surface.InvalidRequestError('x'), 'INVALID_REQUEST', 400, -32600, undefined],
  [new surface.NotAcceptableError('application/json'), 'NOT_ACCEPTABLE', 406, -32000, undefined],
  [new surface.UnsupportedRevisionError('x', 'y'), 'UNSUPPORTED_REVISION', 400, -32000, undefined],
  [new surface.MethodNotAllowedError(), 'METHOD_NOT_ALLOWED', 405, -32000, undefined],
  [new surface.RouteConfigError('GET', '/cart', "'x'"), 'ROUTE_CONFIG', 500, -32000, undefined],
  [new surface.PrincipalError('number'), 'PRINCIPAL', 500, -32000, undefined],
  [new surface.ServerError('null'), 'SERVER', 500, -32000, undefined],
  [new surface.SharedServerError('session'), 'SHARED_SERVER', 500, -32000, undefined],
  [new surface.MissingPluginError(), 'PLUGIN_MISSING', 500, -32000, undefined],
  [new surface.RegisteredTwiceError(), 'REGISTERED_TWICE', 500, -32000, undefined],
  [new surface.MissingSdkError(), 'SDK_MISSING', 500, -32000, undefined]
] as const

for (const [error, name, statusCode, rpcCode, retryAfter] of table) {
  const code = `FST_ERR_MCP_SESSION_${name}`

  t.test(`${code} is an error class of @fastify/error, with its status, JSON-RPC code and time to wait`, async (t) => {
    t.ok(error instanceof Error)
    t.equal(error.name, 'FastifyError')
    t.equal(error.code, code)
    t.equal(error.statusCode, statusCode)
    t.equal(retryAfterOf(error), retryAfter)
    t.strictSame(surface.toJsonRpcError(error), {
      jsonrpc: '2.0', error: { code: rpcCode, message: error.message, data: { code } }, id: null
    })
  })
}

t.test('every error class that is exported is in this table', async (t) => {
  const exported = Object.keys(surface).filter((name) => name.endsWith('Error') && name !== 'toJsonRpcError')
  t.equal(exported.length, table.length)
})

t.test('what the classes are given stands in the message', async (t) => {
  t.equal(new surface.ParseError('the body is empty').message, 'Parse error: the body is empty')
  t.equal(new surface.RouteConfigError('GET', '/cart', '1').message, "Route GET /cart: config.mcpSession must be 'required', 'optional' or 'ignore', got 1")
})

t.test('a JSON-RPC error can name the request that it answers', async (t) => {
  t.match(surface.toJsonRpcError(new surface.SessionNotFoundError(), 7), { id: 7 })
  t.match(surface.toJsonRpcError(new surface.SessionNotFoundError(), 'seven'), { id: 'seven' })
})

t.test('an error of somebody else is a server error like any other, and does not say when to try again', async (t) => {
  const error = Object.assign(new Error('the body is too large'), { code: 'FST_ERR_CTP_BODY_TOO_LARGE' })
  t.match(surface.toJsonRpcError(error), { error: { code: -32000, message: 'the body is too large', data: { code: 'FST_ERR_CTP_BODY_TOO_LARGE' } } })
  t.equal(retryAfterOf(error), undefined)
})

t.test('a rejection has no stack to collect: it is an answer to a client', async (t) => {
  t.notMatch(new surface.SessionNotFoundError().stack, 'errors.test')
  t.match(new surface.RouteConfigError('GET', '/', '1').stack, 'errors.test', 'a fault of the app has one')
})
