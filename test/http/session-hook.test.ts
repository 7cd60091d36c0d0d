// What the hook answers, and where it looks.
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import mcpSessions, { MalformedSessionIdError, SessionManager, SessionNotFoundError, type McpSessionsOptions, type SessionError } from '../../index.js'
import { Rejections } from '../../lib/http/rejection.js'
import { decorateWithRecord, ReplyTracker } from '../../lib/http/reply-tracker.js'
import { createSessionHook } from '../../lib/http/session-hook.js'
import { activeRequests, buildApp, listen } from '../helpers/apps/app.js'
import { rejection } from '../helpers/apps/endpoint-stage.js'
import { captureLog } from '../helpers/observe/log-lines.js'
import { connectRaw } from '../helpers/clients/raw-client.js'

const UNKNOWN = 'b52d8c1e-6c0c-4a6b-9d52-000000000000'

const MISSING_BODY = rejection(-32000, 'Bad Request: Mcp-Session-Id header is required')
const MALFORMED_BODY = rejection(-32000, 'Bad Request: Mcp-Session-Id header must be sent once and be 1 to 256 visible ASCII characters')
const NOT_FOUND_BODY = rejection(-32001, 'Session not found (HTTP 404)')

// Three routes that say which session they were given.
async function buildRoutes (t: Test, options: McpSessionsOptions = {}): Promise<FastifyInstance> {
  const app = await buildApp(t, options)
  app.get('/optional', async (request) => request.mcpSession)
  app.get('/required', { config: { mcpSession: 'required' } }, async (request) => request.mcpSession)
  app.get('/ignore', { config: { mcpSession: 'ignore' } }, async (request) => request.mcpSession)
  return app
}

function withSession (id: string, headers: Record<string, string> = {}): { headers: Record<string, string> } {
  return { headers: { ...headers, 'mcp-session-id': id } }
}

t.test('a known session is found, touched and put on the request', async (t) => {
  const app = await buildRoutes(t)
  const id = app.sessionManager.create({ user: 'ada' })
  for (const url of ['/optional', '/required']) {
    const response = await app.inject({ url, ...withSession(id) })
    t.equal(response.statusCode, 200)
    t.match(response.json(), { id, metadata: { user: 'ada' }, activeRequests: 1 })
  }
  t.equal(activeRequests(app, id), 0)
})

t.test('a request without the header', async (t) => {
  const app = await buildRoutes(t)

  for (const url of ['/optional', '/ignore']) {
    t.test(`passes on ${url}`, async (t) => {
      const response = await app.inject(url)
      t.equal(response.statusCode, 200)
      t.equal(response.body, 'null')
    })
  }

  t.test('is answered 400 on a route that requires a session', async (t) => {
    const response = await app.inject('/required')
    t.equal(response.statusCode, 400)
    t.equal(response.headers['content-type'], 'application/json; charset=utf-8')
    t.strictSame(response.json(), MISSING_BODY)
  })

  t.test('is answered 400 on the HEAD route that goes with it', async (t) => {
    const response = await app.inject({ method: 'HEAD', url: '/required' })
    t.equal(response.statusCode, 400)
    t.equal(response.body, '')
  })
})

t.test('an id that is not 1 to 256 visible ASCII characters', async (t) => {
  const app = await buildRoutes(t)
  const malformed = {
    empty: '',
    'a space': ' ',
    'a space inside': 'one two',
    'a tab inside': 'one\ttwo',
    'one too long': 'x'.repeat(257),
    huge: 'x'.repeat(10_000),
    'a control character': 'x\u007f',
    'a letter that is not ASCII': 'caf\u00e9'
  }
  for (const [name, id] of Object.entries(malformed)) {
    t.test(`is answered 400: ${name}`, async (t) => {
      for (const url of ['/optional', '/required']) {
        const response = await app.inject({ url, ...withSession(id) })
        t.equal(response.statusCode, 400)
        t.strictSame(response.json(), MALFORMED_BODY)
      }
      t.equal((await app.inject({ url: '/ignore', ...withSession(id) })).body, 'null')
    })
  }

  t.test('is told from the longest that is good', async (t) => {
    const id = '~'.repeat(256)
    app.sessionManager.register(id)
    t.equal((await app.inject({ url: '/required', ...withSession(id) })).json().id, id)
  })
})

t.test('a header sent twice is answered 400, even when both are good', async (t) => {
  const app = await buildRoutes(t)
  const port = await listen(app)
  const header = `mcp-session-id: ${app.sessionManager.create()}`
  for (const second of [header, header.toUpperCase(), 'Mcp-Session-Id: ', `mcp-session-id: ${UNKNOWN}`]) {
    const client = await connectRaw(t, port)
    client.get('/optional', header, second)
    await client.see(JSON.stringify(MALFORMED_BODY))
    t.match(client.received, /^HTTP\/1.1 400 /)
  }
  t.test('and by inject, as a list', async (t) => {
    const response = await app.inject({ url: '/optional', headers: { 'mcp-session-id': [UNKNOWN, UNKNOWN] } })
    t.equal(response.statusCode, 400)
  })
})

t.test('white space around an id is not part of it', async (t) => {
  const app = await buildRoutes(t)
  const id = app.sessionManager.create()
  const client = await connectRaw(t, await listen(app))
  client.get('/required', `Mcp-Session-Id: \t ${id} `)
  await client.see(`"id":"${id}"`)
  t.match(client.received, /^HTTP\/1.1 200 /)
})

t.test('an unknown id is answered 404', async (t) => {
  const app = await buildRoutes(t)
  app.sessionManager.create()
  const closed = app.sessionManager.create()
  app.sessionManager.cleanup(closed)
  for (const id of [UNKNOWN, closed, '__proto__', 'constructor', 'toString', 'hasOwnProperty', 'null', 'a,b', '%00', '~'.repeat(256)]) {
    for (const url of ['/optional', '/required']) {
      const response = await app.inject({ url, ...withSession(id) })
      t.equal(response.statusCode, 404, `${url} with ${id.slice(0, 20)}`)
      t.strictSame(response.json(), NOT_FOUND_BODY)
    }
    t.equal((await app.inject({ url: '/ignore', ...withSession(id) })).statusCode, 200)
  }
})

t.test('an odd id that was registered is found', async (t) => {
  const app = await buildRoutes(t)
  app.sessionManager.register('__proto__')
  const response = await app.inject({ url: '/required', ...withSession('__proto__') })
  t.equal(response.json().id, '__proto__')
})

t.test('a route that ignores sessions gets none, and does not keep one from ageing', async (t) => {
  const app = await buildRoutes(t)
  const id = app.sessionManager.create()
  app.get('/held', { config: { mcpSession: 'ignore' } }, async () => activeRequests(app, id))
  t.equal((await app.inject({ url: '/ignore', ...withSession(id) })).body, 'null')
  t.equal((await app.inject({ url: '/held', ...withSession(id) })).body, '0')
})

t.test('a request of a revision without sessions has its header ignored', async (t) => {
  const app = await buildRoutes(t)
  const id = app.sessionManager.create()
  for (const revision of ['2026-07-28', '2026-12-01', '2030-01-01']) {
    for (const sent of [id, UNKNOWN, '', 'not good']) {
      const response = await app.inject({ url: '/optional', ...withSession(sent, { 'mcp-protocol-version': revision }) })
      t.equal(response.statusCode, 200)
      t.equal(response.body, 'null')
    }
    const required = await app.inject({ url: '/required', ...withSession(id, { 'mcp-protocol-version': revision }) })
    t.equal(required.statusCode, 400)
    t.strictSame(required.json(), MISSING_BODY)
  }
})

t.test('a request of a revision with sessions has its header read', async (t) => {
  const app = await buildRoutes(t)
  const id = app.sessionManager.create()
  for (const revision of ['2025-03-26', '2025-06-18', '2025-11-25', '2026-07-27', '']) {
    const headers = { 'mcp-protocol-version': revision }
    t.equal((await app.inject({ url: '/optional', ...withSession(id, headers) })).json().id, id)
    t.equal((await app.inject({ url: '/optional', ...withSession(UNKNOWN, headers) })).statusCode, 404)
  }
})

t.test('routes are reached wherever they are', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  app.get('/before', async (request) => request.mcpSession)
  app.register(async (scope) => {
    scope.get('/route', async (request) => request.mcpSession)
  }, { prefix: '/scope-before' })
  await app.register(mcpSessions)
  app.get('/after', async (request) => request.mcpSession)
  app.register(async (scope) => {
    scope.get('/route', async (request) => request.mcpSession)
    scope.register(async (inner) => {
      inner.get('/', async (request) => request.mcpSession)
    }, { prefix: '/inner' })
  }, { prefix: '/scope-after' })
  const id = app.sessionManager.create()

  for (const url of ['/before', '/scope-before/route', '/after', '/scope-after/route', '/scope-after/inner']) {
    t.equal((await app.inject({ url, ...withSession(id) })).json()?.id, id, url)
    t.equal((await app.inject({ url, ...withSession(UNKNOWN) })).statusCode, 404, url)
    t.equal((await app.inject(url)).body, 'null', url)
  }
})

t.test('who is calling is asked after all that may find it out', async (t) => {
  const users = new WeakMap<FastifyRequest, string>()
  const authenticate = async (request: FastifyRequest): Promise<void> => { users.set(request, String(request.headers.authorization)) }
  const app = Fastify()
  t.teardown(() => app.close())
  let asked = 0
  await app.register(mcpSessions, {
    identify (request) {
      asked++
      return users.get(request)
    }
  })
  const config = { mcpSession: 'required' } as const
  app.get('/open', { config }, async () => 'opened')
  app.get('/route', { config, onRequest: authenticate }, async () => 'opened')
  app.get('/routes', { config, onRequest: [authenticate] }, async () => 'opened')
  app.register(async (scope) => {
    scope.addHook('onRequest', authenticate)
    scope.get('/scope', { config }, async () => 'opened')
    scope.register(async (inner) => { inner.get('/inner', { config }, async () => 'opened') })
  })
  const headers = { 'mcp-session-id': app.sessionManager.create({}, { principal: 'ann' }) }
  for (const url of ['/route', '/routes', '/scope', '/inner']) {
    asked = 0
    t.equal((await app.inject({ url, headers: { ...headers, authorization: 'ann' } })).statusCode, 200, url)
    t.equal(asked, 1, 'once')
    t.equal((await app.inject({ url, headers: { ...headers, authorization: 'bob' } })).statusCode, 404, url)
    asked = 0
    t.equal((await app.inject({ method: 'HEAD', url, headers: { ...headers, authorization: 'ann' } })).statusCode, 200, url)
    t.equal(asked, 1, 'once')
  }
  t.equal((await app.inject({ url: '/open', headers: { ...headers, authorization: 'ann' } })).statusCode, 404, 'nobody has found it out')
})

t.test('a route declared before the plugin is checked once, and so is one after it', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  let asked = 0
  app.get('/before', async ({ mcpSession }) => mcpSession?.activeRequests)
  await app.register(mcpSessions, { identify: () => { asked++; return undefined } })
  app.get('/after', async ({ mcpSession }) => mcpSession?.activeRequests)
  const headers = { 'mcp-session-id': app.sessionManager.create() }
  for (const url of ['/before', '/after']) {
    asked = 0
    t.equal((await app.inject({ url, headers })).body, '1')
    t.equal(asked, 1, url)
    t.equal((await app.inject({ url, ...withSession(UNKNOWN) })).statusCode, 404)
  }
  t.equal((await app.inject({ url: '/nowhere', headers })).statusCode, 404)
})

t.test('a plugin in a scope leaves the routes outside alone', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  app.register(async (scope) => {
    await scope.register(mcpSessions)
    scope.get('/', async (request) => request.mcpSession)
  }, { prefix: '/mcp' })
  app.get('/', async (request) => 'mcpSession' in request)
  t.equal((await app.inject({ url: '/', ...withSession(UNKNOWN) })).body, 'false')
  t.equal((await app.inject({ url: '/mcp', ...withSession(UNKNOWN) })).statusCode, 404)
})

t.test('a URL that has no route gets the 404 of the app', async (t) => {
  const app = await buildRoutes(t)
  app.register(async (scope) => {
    scope.setNotFoundHandler(async (request, reply) => reply.code(404).send({ scope: request.mcpSession }))
  }, { prefix: '/scope' })
  const id = app.sessionManager.create()
  for (const sent of [id, UNKNOWN, 'not good', '']) {
    const response = await app.inject({ url: '/nowhere', ...withSession(sent) })
    t.equal(response.statusCode, 404)
    t.match(response.json(), { error: 'Not Found', message: 'Route GET:/nowhere not found' })
    t.strictSame((await app.inject({ url: '/scope/nowhere', ...withSession(sent) })).json(), { scope: null })
  }
  t.equal((await app.inject({ method: 'DELETE', url: '/required', ...withSession(UNKNOWN) })).json().error, 'Not Found')
})

t.test('a wrong route config', async (t) => {
  // What a user without types can write.
  const wrong: { [shown: string]: unknown } = {
    "'sometimes'": 'sometimes',
    "'REQUIRED'": 'REQUIRED',
    "''": '',
    true: true,
    null: null,
    '10n': 10n,
    '[Object: null prototype] {}': Object.create(null),
    'Symbol(required)': Symbol('required')
  }
  function configOf (mode: unknown): { config: object } {
    return { config: { mcpSession: mode } }
  }

  for (const [shown, mode] of Object.entries(wrong)) {
    const message = `config.mcpSession must be 'required', 'optional' or 'ignore', got ${shown}`

    t.test(`${shown} fails at boot with the name of the route`, async (t) => {
      const app = await buildApp(t)
      t.throws(() => app.get('/cart', configOf(mode), async () => ''), {
        code: 'FST_ERR_MCP_SESSION_ROUTE_CONFIG', message: `Route GET /cart: ${message}`
      })
    })

    t.test(`${shown} is answered 500 on a route declared before the plugin`, async (t) => {
      const app = Fastify()
      t.teardown(() => app.close())
      app.get('/cart/:id', configOf(mode), async () => 'never')
      await app.register(mcpSessions)
      for (const url of ['/cart/1', '/cart/2']) {
        const response = await app.inject(url)
        t.equal(response.statusCode, 500)
        t.match(response.json(), { code: 'FST_ERR_MCP_SESSION_ROUTE_CONFIG', message: `Route GET /cart/:id: ${message}` })
      }
    })
  }

  t.test('fails the boot when it is in a scope', async (t) => {
    const app = await buildApp(t)
    app.register(async (scope) => {
      scope.route({ method: ['GET', 'DELETE'], url: '/cart', ...configOf(1), handler: async () => '' })
    }, { prefix: '/v1' })
    await t.rejects(async () => app.ready(), { message: /^Route GET,DELETE \/v1\/cart: / })
  })

  t.test('undefined is none', async (t) => {
    const app = await buildApp(t)
    app.get('/cart', { config: { mcpSession: undefined } }, async () => 'fine')
    t.equal((await app.inject('/cart')).body, 'fine')
  })
})

t.test('what goes wrong while a session is looked for on other nodes is a fault, which the app answers', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  const sessions = new SessionManager()
  const { reject } = new Rejections()
  const cluster = { isCurrent: () => false, locate: async () => { throw new Error('no directory works like that') } }
  const hook = createSessionHook({ sessions, replies: new ReplyTracker(sessions), identify: () => undefined, reject, cluster }, { mode: 'required' })
  app.decorateRequest('mcpSession', null)
  decorateWithRecord(app)
  app.get('/', { onRequest: hook }, async () => 'not reached')
  const response = await app.inject({ url: '/', ...withSession(UNKNOWN) })
  t.equal(response.statusCode, 500)
  t.match(response.json(), { message: 'no directory works like that' })
})

t.test('a rejection', async (t) => {
  t.test('runs neither the handler nor the hooks before it, is sent once, and is logged as a response', async (t) => {
    const log = captureLog()
    const calls: string[] = []
    const app = Fastify({ logger: { level: 'trace', stream: log.stream } })
    t.teardown(() => app.close())
    await app.register(mcpSessions)
    app.addHook('onRequest', async () => { calls.push('onRequest') })
    app.addHook('preHandler', async () => { calls.push('preHandler') })
    app.addHook('onError', async () => { calls.push('onError') })
    app.addHook('onSend', async (_request, reply) => {
      calls.push('onSend')
      reply.header('access-control-allow-origin', '*')
    })
    app.addHook('onResponse', async () => { calls.push('onResponse') })
    app.post('/', async () => { calls.push('handler') })
    const response = await app.inject({ method: 'POST', url: '/', payload: { a: 1 }, ...withSession(UNKNOWN) })
    t.equal(response.statusCode, 404)
    t.equal(response.headers['access-control-allow-origin'], '*')
    t.strictSame(calls, ['onRequest', 'onError', 'onSend', 'onResponse'], 'onRequest first: it may say who is calling')
    t.strictSame(log.lines.filter((line) => JSON.parse(line).level >= 40), [], 'nothing to warn of')
  })

  t.test('does not wait for the body', async (t) => {
    const app = await buildApp(t)
    app.post('/', async () => 'never')
    const client = await connectRaw(t, await listen(app))
    client.send('POST / HTTP/1.1', 'host: a', `mcp-session-id: ${UNKNOWN}`, 'content-type: text/plain', 'content-length: 100')
    await client.see(JSON.stringify(NOT_FOUND_BODY))
    t.match(client.received, /^HTTP\/1.1 404 /)
  })

  t.test('leaves the connection usable', async (t) => {
    const app = await buildRoutes(t)
    const client = await connectRaw(t, await listen(app))
    client.get('/required')
    client.get('/optional')
    await client.see('null')
    await client.see('HTTP/1.1 200 ')
    t.match(client.received, /^HTTP\/1.1 400 /)
  })

  t.test('is JSON-RPC whatever the route makes of its own bodies', async (t) => {
    const app = await buildApp(t)
    app.setReplySerializer((payload) => `<xml>${String(payload)}</xml>`)
    app.addHook('preSerialization', async (_request, _reply, payload) => ({ data: payload }))
    const response = { '4xx': { type: 'object', required: ['reason'], properties: { reason: { type: 'string' } } } }
    app.get('/cart', { schema: { response }, config: { mcpSession: 'required' } }, async () => ({}))
    const missing = await app.inject('/cart')
    t.equal(missing.statusCode, 400)
    t.equal(missing.headers['content-type'], 'application/json; charset=utf-8')
    t.strictSame(missing.json(), MISSING_BODY)
    t.strictSame((await app.inject({ url: '/cart', ...withSession(UNKNOWN) })).json(), NOT_FOUND_BODY)
  })
})

t.test('errorResponseBuilder', async (t) => {
  t.test('builds the body from the request and the error', async (t) => {
    const errors: SessionError[] = []
    const app = await buildRoutes(t, {
      errorResponseBuilder (request, error) {
        errors.push(error)
        return { path: request.url, code: error.code, status: error.statusCode }
      }
    })
    const notFound = await app.inject({ url: '/optional', ...withSession(UNKNOWN) })
    t.equal(notFound.statusCode, 404)
    t.strictSame(notFound.json(), { path: '/optional', code: 'FST_ERR_MCP_SESSION_NOT_FOUND', status: 404 })
    const malformed = await app.inject({ url: '/required', ...withSession('not good') })
    t.equal(malformed.statusCode, 400)
    t.strictSame(malformed.json(), { path: '/required', code: 'FST_ERR_MCP_SESSION_ID_MALFORMED', status: 400 })
    const missing = await app.inject('/required')
    t.equal(missing.statusCode, 400)
    t.strictSame(missing.json(), { path: '/required', code: 'FST_ERR_MCP_SESSION_ID_MISSING', status: 400 })
    t.ok(errors[0] instanceof SessionNotFoundError)
    t.ok(errors[1] instanceof MalformedSessionIdError)
  })

  t.test('that returns a string is sent as text', async (t) => {
    const app = await buildRoutes(t, { errorResponseBuilder: (_request, error) => `Sorry: ${error.message}` })
    const response = await app.inject('/required')
    t.equal(response.statusCode, 400)
    t.equal(response.headers['content-type'], 'text/plain; charset=utf-8')
    t.equal(response.body, 'Sorry: Bad Request: Mcp-Session-Id header is required')
  })

  t.test('that returns nothing is an empty body', async (t) => {
    const app = await buildRoutes(t, { errorResponseBuilder () {} })
    const response = await app.inject({ url: '/optional', ...withSession(UNKNOWN) })
    t.equal(response.statusCode, 404)
    t.equal(response.body, '')
  })

  t.test('that returns the error hands it to the error handler of the app', async (t) => {
    const app = await buildApp(t, { errorResponseBuilder: (_request, error) => error })
    app.setErrorHandler(async (error, _request, reply) => {
      return reply.send({ handled: error instanceof Error ? error.message : error })
    })
    app.get('/', async () => 'never')
    const response = await app.inject({ url: '/', ...withSession(UNKNOWN) })
    t.equal(response.statusCode, 404)
    t.strictSame(response.json(), { handled: 'Session not found (HTTP 404)' })
  })

  t.test('may take its time', async (t) => {
    const app = await buildRoutes(t, {
      async errorResponseBuilder (_request, error) {
        await new Promise(setImmediate)
        return { later: error.code }
      }
    })
    const response = await app.inject({ url: '/optional', ...withSession(UNKNOWN) })
    t.equal(response.statusCode, 404)
    t.strictSame(response.json(), { later: 'FST_ERR_MCP_SESSION_NOT_FOUND' })
    t.equal((await app.inject('/required')).statusCode, 400)
  })

  for (const [name, errorResponseBuilder, message] of [
    ['throws', () => { throw new Error('builder broke') }, 'builder broke'],
    ['rejects', async () => { throw new Error('builder broke') }, 'builder broke'],
    // eslint-disable-next-line prefer-promise-reject-errors
    ['rejects with undefined', () => Promise.reject(undefined), 'undefined']
  ] as const) {
    t.test(`that ${name} is a fault of the app, answered once with 500`, async (t) => {
      const app = await buildRoutes(t, { errorResponseBuilder })
      for (const headers of [{ 'mcp-session-id': UNKNOWN }, {}]) {
        const response = await app.inject({ url: '/required', headers })
        t.equal(response.statusCode, 500)
        t.strictSame(response.json(), { statusCode: 500, error: 'Internal Server Error', message })
      }
      t.equal((await app.inject('/optional')).statusCode, 200, 'and other requests are served')
    })
  }

  t.test('is not asked when nothing is wrong', async (t) => {
    const app = await buildRoutes(t, { errorResponseBuilder: () => t.fail('asked') })
    const id = app.sessionManager.create()
    t.equal((await app.inject({ url: '/required', ...withSession(id) })).statusCode, 200)
  })
})
