import Fastify from 'fastify'
import t from 'tap'
import mcpSessions, { mcpEndpoint, type McpSessionsOptions } from '../../index.js'
import { checkCount, checkList } from '../../lib/base/option-checks.js'
import { resolveEndpointOptions } from '../../lib/endpoint/options.js'
import { CountedServer } from '../helpers/apps/endpoint-stage.js'
import { toHandler } from '../helpers/mcp-servers/modern-handler.js'

const createServer = (): CountedServer => new CountedServer()

// What a user without types can write.
const wrongForEndpoint: { [option: string]: unknown[] } = {
  createServer: [undefined, null, 'server', {}, 1],
  path: [null, '', 'mcp', 'http://localhost/mcp', 1, /mcp/, ['/mcp']],
  responseMode: [null, true, 'stream', 'JSON', ['json']],
  resumable: [null, true, 'yes', 100, []],
  cancelOnDisconnect: [null, 0, 'true', {}],
  maxBuffered: [null, 0, -1, 1.5, NaN, Infinity, '4 MiB', false],
  maxSetup: [null, 0, -1, 1.5, NaN, Infinity, '64 KiB', false],
  recheckOwner: [null, 1, 'false', {}],
  parkAfter: [-1, NaN, '1000'],
  reuseServers: [null, 0, 1.5, 'true', [], {}, () => {}],
  allowedHosts: [null, 'localhost', [undefined], ['localhost', 1], { 0: 'localhost' }, new Set(['localhost']), [], [''], ['https://localhost']],
  allowedOrigins: [null, 'http://localhost', [/localhost/], true, [''], ['*'], ['localhost']],
  heartbeatInterval: [null, -1, NaN, Infinity, '15000', 2 ** 31],
  modern: [null, false, {}, 'fetch', { fetch () {} }, { close () {} }, async () => new Response()]
}

const wrongForSessions: { [option: string]: unknown[] } = {
  maxSessions: [null, 0, -1, 1.5, NaN, Infinity, '10', 10n, true],
  maxSessionsPerPrincipal: [null, 0, -1, 1.5, NaN, Infinity, '10', {}],
  identify: [null, 'sub', {}, true],
  drainTimeout: [null, -1, NaN, Infinity, '10000', 2 ** 31, {}]
}

for (const [option, values] of Object.entries(wrongForEndpoint)) {
  for (const value of values) {
    t.test(`endpoint ${option}: ${typeof value} ${JSON.stringify(value)} fails at register, with a TypeError that names it`, async (t) => {
      const app = Fastify()
      t.teardown(() => app.close())
      await app.register(mcpSessions)
      const error = await rejectionOf(app.register(mcpEndpoint, { createServer, [option]: value }))
      t.type(error, TypeError)
      t.match(error, { message: `Option "${option}" must be ` })
      t.notOk(app.hasRoute({ method: 'POST', url: '/mcp' }))
    })
  }
}

for (const [option, values] of Object.entries(wrongForSessions)) {
  for (const value of values) {
    t.test(`sessions ${option}: ${typeof value} ${String(value)} fails at register, with a TypeError that names it`, async (t) => {
      const app = Fastify()
      t.teardown(() => app.close())
      const error = await rejectionOf(app.register(mcpSessions, { [option]: value }))
      t.type(error, TypeError)
      t.match(error, { message: `Option "${option}" must be ` })
      t.notOk(app.hasDecorator('sessionManager'))
    })
  }
}

for (const [json, message] of [
  ['{"maxEvents":0}', 'Option "resumable.maxEvents" must be a whole number > 0, got 0 (number)'],
  ['{"maxEvents":1.5}', 'Option "resumable.maxEvents" must be a whole number > 0, got 1.5 (number)'],
  ['{"maxEvents":"100"}', 'Option "resumable.maxEvents" must be a whole number > 0, got "100" (string)'],
  ['{"maxEvents":null}', 'Option "resumable.maxEvents" must be a whole number > 0, got null'],
  ['{"maxBytes":0}', 'Option "resumable.maxBytes" must be a whole number > 0, got 0 (number)'],
  ['{"maxBytes":"4 MiB"}', 'Option "resumable.maxBytes" must be a whole number > 0, got "4 MiB" (string)'],
  ['{"max":100}', 'Unknown option "resumable.max": did you mean "resumable.maxBytes"?'],
  ['{"maxEvents":1,"retryInterval":"1"}', 'Option "resumable.retryInterval" must be a number of milliseconds >= 0 (0: at once), got "1" (string)'],
  ['{"maxEvents":1,"retryInterval":null}', 'Option "resumable.retryInterval" must be a number of milliseconds >= 0 (0: at once), got null']
] as const) {
  t.test(`what is wrong within resumable is named: ${json}`, async (t) => {
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(mcpSessions)
    const error = await rejectionOf(app.register(mcpEndpoint, { createServer, resumable: JSON.parse(json) }))
    t.strictSame(error, new TypeError(message))
  })
}

for (const [written, hint] of [
  ['heartbeat', 'did you mean "heartbeatInterval"?'],
  ['allowedHost', 'did you mean "allowedHosts"?'],
  ['ALLOWEDORIGINS', 'did you mean "allowedOrigins"?'],
  ['maxBuffer', 'did you mean "maxBuffered"?'],
  ['ttl', 'known are createServer, path, ']
] as const) {
  t.test(`${written}, which is no option, fails at register: ${hint}`, async (t) => {
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(mcpSessions)
    const error = await rejectionOf(app.register(mcpEndpoint, { createServer, [written]: 5 }))
    t.type(error, TypeError)
    t.match(error, { message: `Unknown option "${written}": ${hint}` })
  })
}

t.test('what every plugin can be registered with comes along', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(mcpSessions)
  await app.register(mcpEndpoint, { createServer, prefix: '/api', logLevel: 'warn', logSerializers: {} })
  t.ok(app.hasRoute({ method: 'POST', url: '/api/mcp' }))
})

t.test('enableJsonResponse, which it is in SDK 1, says what to write', async (t) => {
  for (const [enableJsonResponse, mode] of [[true, 'json'], [false, 'sse']] as const) {
    const options = { createServer, enableJsonResponse }
    t.throws(
      () => resolveEndpointOptions(options),
      new TypeError(`Option "enableJsonResponse" is "responseMode" here: use responseMode: '${mode}'`)
    )
  }
})

t.test('the endpoint without mcpSessions says what to register', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  t.match(await rejectionOf(app.register(mcpEndpoint, { createServer })), {
    code: 'FST_ERR_MCP_SESSION_PLUGIN_MISSING',
    message: 'Register mcpSessions first, on the same instance or one that encloses it'
  })
})

t.test('mcpSessions in a scope of its own is not there for an endpoint outside', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(async (scope) => { await scope.register(mcpSessions) })
  t.match(await rejectionOf(app.register(mcpEndpoint, { createServer })), { code: 'FST_ERR_MCP_SESSION_PLUGIN_MISSING' })
})

t.test('undefined is the default, for every option', async (t) => {
  const defaults = resolveEndpointOptions({ createServer })
  t.strictSame(defaults, {
    createServer,
    path: '/mcp',
    responseMode: 'auto',
    resumable: undefined,
    cancelOnDisconnect: false,
    maxBuffered: 4_194_304,
    maxSetup: 65_536,
    recheckOwner: true,
    parkAfter: 0,
    reuseServers: undefined,
    allowedHosts: undefined,
    allowedOrigins: undefined,
    heartbeatInterval: 15_000,
    modern: undefined,
    route: { bodyLimit: undefined, handlerTimeout: undefined, schema: undefined, config: undefined, constraints: undefined }
  })
  t.strictSame(resolveEndpointOptions({
    createServer,
    path: undefined,
    responseMode: undefined,
    resumable: undefined,
    cancelOnDisconnect: undefined,
    maxBuffered: undefined,
    maxSetup: undefined,
    recheckOwner: undefined,
    parkAfter: undefined,
    reuseServers: undefined,
    allowedHosts: undefined,
    allowedOrigins: undefined,
    heartbeatInterval: undefined,
    modern: undefined,
    bodyLimit: undefined,
    handlerTimeout: undefined,
    schema: undefined,
    config: undefined,
    constraints: undefined
  }), defaults)
})

t.test('good values are taken as they are', async (t) => {
  const modern = toHandler(async () => new Response())
  const route = { bodyLimit: 1, handlerTimeout: 1, schema: { hide: true }, config: { mine: true }, constraints: { host: 'mcp.example' } }
  t.strictSame(resolveEndpointOptions({
    createServer,
    path: '/',
    responseMode: 'json',
    resumable: { maxEvents: 1, maxBytes: 1, retryInterval: 0 },
    cancelOnDisconnect: true,
    maxBuffered: 1,
    maxSetup: 1,
    recheckOwner: false,
    parkAfter: 5000,
    reuseServers: 5,
    allowedHosts: ['*.example.com'],
    allowedOrigins: ['https://example.com'],
    heartbeatInterval: 0,
    modern,
    ...route
  }), {
    createServer,
    path: '/',
    responseMode: 'json',
    resumable: { maxEvents: 1, maxBytes: 1, retryInterval: 0 },
    cancelOnDisconnect: true,
    maxBuffered: 1,
    maxSetup: 1,
    recheckOwner: false,
    parkAfter: 5000,
    reuseServers: 5,
    allowedHosts: [{ name: '.example.com', port: '', isWildcard: true }],
    allowedOrigins: [{ scheme: 'https', name: 'example.com', port: '', isWildcard: false }],
    heartbeatInterval: 0,
    modern,
    route
  })
  t.equal(resolveEndpointOptions({ createServer, resumable: false }).resumable, undefined)
  t.equal(resolveEndpointOptions({ createServer, reuseServers: false }).reuseServers, undefined)
  t.strictSame(resolveEndpointOptions({ createServer, reuseServers: true }).reuseServers, 256)
  t.strictSame(resolveEndpointOptions({ createServer, responseMode: 'sse' }).responseMode, 'sse')
  t.strictSame(resolveEndpointOptions({ createServer, resumable: { maxEvents: 5, maxBytes: undefined, retryInterval: undefined } }).resumable,
    { maxEvents: 5, maxBytes: 4_194_304, retryInterval: 1000 })
  t.strictSame(resolveEndpointOptions({ createServer, resumable: {} }).resumable, { maxEvents: 1000, maxBytes: 4_194_304, retryInterval: 1000 })
})

t.test('options are never written, and a list that changes later changes nothing', async (t) => {
  const allowedHosts = ['localhost']
  const resolved = resolveEndpointOptions(Object.freeze({ createServer, allowedHosts }))
  allowedHosts.push('evil.example')
  t.strictSame(resolved.allowedHosts, [{ name: 'localhost', port: '', isWildcard: false }])
})

t.test('all new options of mcpSessions may be set', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  const options: McpSessionsOptions = { maxSessions: 1, maxSessionsPerPrincipal: 1, identify: () => 'ada', drainTimeout: 0 }
  await app.register(mcpSessions, Object.freeze(options))
  app.sessionManager.create()
  app.sessionManager.create()
  t.equal(app.sessionManager.getActiveSessionCount(), 1)
})

t.test('there are 10,000 sessions at most unless the app says otherwise', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(mcpSessions)
  for (let index = 0; index <= 10_000; index++) app.sessionManager.create()
  t.equal(app.sessionManager.getActiveSessionCount(), 10_000)
})

t.test('a count is a positive whole number, or left out', async (t) => {
  t.equal(checkCount('max', 1), 1)
  t.equal(checkCount('max', Number.MAX_SAFE_INTEGER), Number.MAX_SAFE_INTEGER)
  t.equal(checkCount('max', undefined), undefined)
  t.throws(() => checkCount('max', 0), new TypeError('Option "max" must be a whole number > 0, got 0 (number)'))
  t.throws(() => checkCount('max', 2 ** 53), { name: 'TypeError' })
})

t.test('a list is an array of strings, or left out', async (t) => {
  const list = ['a', 'b']
  t.strictSame(checkList('names', list), list)
  t.not(checkList('names', list), list, 'it is a copy')
  t.strictSame(checkList('names', []), [])
  t.equal(checkList('names', undefined), undefined)
  t.throws(() => checkList('names', JSON.parse('[1]')), new TypeError('Option "names" must be an array of strings, got 1 (object)'))
})

async function rejectionOf (promise: PromiseLike<unknown>): Promise<unknown> {
  try {
    await promise
  } catch (error) {
    return error
  }
  throw new Error('It was not rejected')
}
