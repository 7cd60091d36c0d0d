// How a request is turned away on a route of the app: what the client gets, and who gets to see it.
import Fastify, { type FastifyError, type FastifyInstance, type LightMyRequestResponse } from 'fastify'
import t, { type Test } from 'tap'
import * as errors from '../../lib/base/errors.js'
import { Rejections } from '../../lib/http/rejection.js'
import { hashSessionId } from '../../lib/session/session-id.js'
import mcpSessions, { type McpSessionsOptions, type SessionError } from '../../index.js'
import { rejection } from '../helpers/apps/endpoint-stage.js'
import { captureLog } from '../helpers/observe/log-lines.js'

const UNKNOWN = 'b52d8c1e-6c0c-4a6b-9d52-000000000000'
const NOT_FOUND = 'FST_ERR_MCP_SESSION_NOT_FOUND'

interface Scene {
  readonly app: FastifyInstance
  /** The codes of the errors that the app's `onError` hooks and its error handlers have seen, in order. */
  readonly seen: string[]
  readonly log: string[]
}

interface Setting {
  readonly options?: McpSessionsOptions
  readonly before?: (app: FastifyInstance, seen: string[]) => void
  readonly after?: (app: FastifyInstance, seen: string[]) => void
}

function codeOf (error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error)
}

/** An app with a route `/cart` that has sessions. */
async function scene (t: Test, { options = {}, before, after }: Setting = {}): Promise<Scene> {
  const { lines, stream } = captureLog()
  const app = Fastify({ logger: { level: 'trace', stream } })
  const seen: string[] = []
  t.teardown(() => app.close())
  app.addHook('onError', async (_request, _reply, error) => { seen.push(`onError ${codeOf(error)}`) })
  before?.(app, seen)
  await app.register(mcpSessions, options)
  after?.(app, seen)
  app.get('/cart', async (request) => request.mcpSession)
  return { app, seen, log: lines }
}

function ask (app: FastifyInstance, url = '/cart', id = UNKNOWN): Promise<LightMyRequestResponse> {
  return app.inject({ url, headers: { 'mcp-session-id': id } })
}

function rejectionLines (log: string[]): unknown[] {
  return log.map((line) => JSON.parse(line)).filter(({ msg }) => msg.startsWith('Request rejected'))
}

const table: ReadonlyArray<readonly [error: SessionError, rpcCode: number, retryAfter?: string]> = [
  [new errors.MissingSessionIdError(), -32000],
  [new errors.MalformedSessionIdError(), -32000],
  [new errors.SessionNotFoundError(), -32001],
  [new errors.SessionLimitError(), -32000, '5'],
  [new errors.ShuttingDownError(), -32000, '1'],
  [new errors.ClusterUnavailableError(), -32000, '1'],
  [new errors.OwnerFailedError(), -32000],
  [new errors.ForbiddenOriginError('this Host'), -32000],
  [new errors.ParseError('the body is empty'), -32700],
  [new errors.InvalidRequestError('no'), -32600],
  [new errors.NotAcceptableError('application/json'), -32000],
  [new errors.MethodNotAllowedError(), -32000]
]

for (const [error, rpcCode, retryAfter] of table) {
  const { code, statusCode, message } = error

  t.test(`${code} is answered in JSON-RPC, and seen by the log and by onError`, async (t) => {
    const { lines, stream } = captureLog()
    const app = Fastify({ logger: { stream } })
    t.teardown(() => app.close())
    const { reject, watchRoute } = new Rejections()
    const seen: unknown[] = []
    app.addHook('onRoute', watchRoute)
    app.addHook('onRequest', (request, reply) => { reject(request, reply, error) })
    app.addHook('onError', async (_request, _reply, error) => { seen.push(error) })
    app.get('/', async () => 'never')
    const response = await ask(app, '/')
    t.equal(response.statusCode, statusCode)
    t.equal(response.headers['retry-after'], retryAfter)
    t.equal(response.headers['content-type'], 'application/json; charset=utf-8')
    t.strictSame(response.json(), { jsonrpc: '2.0', error: { code: rpcCode, message, data: { code } }, id: null })
    t.equal(seen.length, 1)
    t.equal(seen[0], error)
    t.match(rejectionLines(lines), [
      { level: 30, reqId: 'req-1', code, statusCode, sessionId: hashSessionId(UNKNOWN), msg: `Request rejected: ${message}` }
    ])
    t.equal(lines.length, 3, 'besides the request and the response')
  })
}

t.test('the log has the hash of an id, and never the id', async (t) => {
  const { app, log } = await scene(t)
  app.get('/required', { config: { mcpSession: 'required' } }, async () => 'never')
  await ask(app)
  await ask(app, '/cart', 'not good')
  await app.inject('/required')
  const [unknown, malformed, missing] = rejectionLines(log)
  t.match(unknown, { code: NOT_FOUND, sessionId: hashSessionId(UNKNOWN) })
  for (const line of [malformed, missing]) t.notMatch(line, { sessionId: String })
  t.notMatch(log.join(''), UNKNOWN)
  t.notMatch(log.join(''), 'not good')
})

t.test('an onError hook that fails or is slow does not stop the answer', async (t) => {
  const { app } = await scene(t, {
    before (app) {
      app.addHook('onError', async () => { throw new Error('hook broke') })
      app.addHook('onError', async () => { await new Promise(setImmediate) })
    }
  })
  t.strictSame((await ask(app)).json(), rejection(-32001, 'Session not found (HTTP 404)'))
})

t.test('routes in scopes are seen too, and so are HEAD routes and those with two URLs', async (t) => {
  const { app, seen } = await scene(t)
  app.register(async (scope) => {
    scope.get('/', async () => 'never')
    scope.route({ method: ['GET', 'PUT'], url: '/list', handler: async () => 'never' })
  }, { prefix: '/scope' })
  for (const url of ['/scope', '/scope/', '/scope/list']) t.strictSame((await ask(app, url)).json(), rejection(-32001, 'Session not found (HTTP 404)'))
  t.equal((await app.inject({ method: 'HEAD', url: '/scope', headers: { 'mcp-session-id': UNKNOWN } })).statusCode, 404)
  t.strictSame(seen, Array(4).fill(`onError ${NOT_FOUND}`))
})

const handlers = {
  'sends its own body': {
    handle: (error: FastifyError, reply: { send: (body: unknown) => unknown }) => reply.send({ mine: error.code }),
    body: { mine: NOT_FOUND }
  },
  'returns its own body': {
    handle: async (error: FastifyError) => ({ mine: error.code }),
    body: { mine: NOT_FOUND }
  },
  'leaves it to Fastify': {
    handle: (error: FastifyError, reply: { send: (body: unknown) => unknown }) => reply.send(error),
    body: { statusCode: 404, code: NOT_FOUND, error: 'Not Found', message: 'Session not found (HTTP 404)' }
  },
  'throws it again': {
    handle: (error: FastifyError) => { throw error },
    body: { statusCode: 404, code: NOT_FOUND, error: 'Not Found', message: 'Session not found (HTTP 404)' }
  }
} as const

for (const [name, { handle, body }] of Object.entries(handlers)) {
  const setErrorHandler = (app: FastifyInstance, seen: string[]): void => {
    app.setErrorHandler<FastifyError>((error, _request, reply) => {
      seen.push(`setErrorHandler ${error.code}`)
      return handle(error, reply)
    })
  }

  for (const when of ['before', 'after'] as const) {
    t.test(`an error handler of the app, set ${when} the plugin, that ${name}`, async (t) => {
      const { app, seen, log } = await scene(t, { [when]: setErrorHandler })
      const response = await ask(app)
      t.equal(response.statusCode, 404, 'which it finds set')
      t.strictSame(response.json(), body)
      t.strictSame(seen, [`onError ${NOT_FOUND}`, `setErrorHandler ${NOT_FOUND}`])
      t.equal(rejectionLines(log).length, 1)
    })
  }

  t.test(`an error handler of the route that ${name}`, async (t) => {
    const { app, seen } = await scene(t)
    app.get('/own', {
      errorHandler (error, _request, reply) {
        seen.push(`${this === undefined ? 'errorHandler' : 'bound'} ${error.code}`)
        return handle(error, reply)
      }
    }, async () => 'never')
    const response = await ask(app, '/own')
    t.equal(response.statusCode, 404)
    t.strictSame(response.json(), body)
    t.strictSame(seen, [`onError ${NOT_FOUND}`, `errorHandler ${NOT_FOUND}`])
  })
}

t.test('an error handler finds when to try again set as well', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  const { reject, watchRoute } = new Rejections()
  app.addHook('onRoute', watchRoute)
  app.addHook('onRequest', (request, reply) => { reject(request, reply, new errors.SessionLimitError()) })
  app.setErrorHandler((_error, _request, reply) => reply.send('mine'))
  app.get('/', async () => 'never')
  const { statusCode, headers, body } = await app.inject('/')
  t.strictSame([statusCode, headers['retry-after'], body], [503, '5', 'mine'])
})

t.test('an error handler of one scope is not asked for the routes of another', async (t) => {
  const { app, seen } = await scene(t)
  app.register(async (scope) => {
    scope.setErrorHandler((_error, _request, reply) => reply.send('mine'))
    scope.get('/inside', async () => 'never')
  })
  t.equal((await ask(app, '/inside')).body, 'mine')
  t.strictSame((await ask(app)).json(), rejection(-32001, 'Session not found (HTTP 404)'))
  t.strictSame(seen, Array(2).fill(`onError ${NOT_FOUND}`))
})

t.test('errorResponseBuilder comes before an error handler of the app', async (t) => {
  const { app, seen } = await scene(t, {
    options: { errorResponseBuilder: async (_request, { code }) => ({ built: code }) },
    before (app) { app.setErrorHandler(() => t.fail('asked')) }
  })
  app.get('/own', { errorHandler () { t.fail('asked') } }, async () => 'never')
  for (const url of ['/cart', '/own']) t.strictSame((await ask(app, url)).json(), { built: NOT_FOUND })
  t.strictSame(seen, Array(2).fill(`onError ${NOT_FOUND}`))
})

t.test('a body that cannot be built is told to the error handler of the app, without the time to wait', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  const { reject, watchRoute } = new Rejections(async () => { throw new Error('builder broke') })
  app.addHook('onRoute', watchRoute)
  app.addHook('onRequest', (request, reply) => { reject(request, reply, new errors.SessionLimitError()) })
  app.setErrorHandler(async (error, _request, reply) => ({ status: reply.statusCode, wrong: String(error) }))
  app.get('/', async () => 'never')
  const response = await app.inject('/')
  t.equal(response.statusCode, 500)
  t.equal(response.headers['retry-after'], undefined)
  t.strictSame(response.json(), { status: 500, wrong: 'Error: builder broke' })
})

t.test('a route that was declared before the plugin', async (t) => {
  const before = (app: FastifyInstance): void => { app.get('/early', async () => 'never') }

  t.test('is answered in JSON-RPC, and logged', async (t) => {
    const { app, log } = await scene(t, { before })
    const response = await ask(app, '/early')
    t.equal(response.statusCode, 404)
    t.strictSame(response.json(), rejection(-32001, 'Session not found (HTTP 404)'))
    t.equal(rejectionLines(log).length, 1)
    t.equal(log.map((line) => JSON.parse(line)).filter(({ msg }) => msg === 'Session not found (HTTP 404)').length, 0, 'once')
  })

  t.test('is answered by the error handler of the app, if it has one', async (t) => {
    const { app, seen } = await scene(t, {
      before (app) {
        before(app)
        app.setErrorHandler(async (error) => ({ mine: codeOf(error) }))
      }
    })
    const response = await ask(app, '/early')
    t.equal(response.statusCode, 404)
    t.strictSame(response.json(), { mine: NOT_FOUND })
    t.strictSame(seen, [`onError ${NOT_FOUND}`])
  })

  t.test('is answered with what errorResponseBuilder makes', async (t) => {
    const { app } = await scene(t, { before, options: { errorResponseBuilder: async () => 'built' } })
    t.equal((await ask(app, '/early')).body, 'built')
  })

  t.test('is answered 500 when nothing can be made', async (t) => {
    const { app, seen } = await scene(t, { before, options: { errorResponseBuilder () { throw new Error('builder broke') } } })
    const response = await ask(app, '/early')
    t.equal(response.statusCode, 500)
    t.equal(response.json().message, 'builder broke')
    t.strictSame(seen, ['onError Error: builder broke'])
  })
})

t.test('a rejection that comes while an error is answered is answered in JSON-RPC', async (t) => {
  for (const hasHandler of [false, true]) {
    const app = Fastify()
    t.teardown(() => app.close())
    const { reject, watchRoute } = new Rejections()
    const refused = new WeakSet()
    app.addHook('onRoute', watchRoute)
    app.addHook('onSend', (request, reply, payload, done) => {
      if (refused.has(reply)) return done(null, payload)
      refused.add(reply)
      reject(request, reply, new errors.ClusterUnavailableError())
    })
    if (hasHandler) app.setErrorHandler((_error, _request, reply) => reply.code(422).send('mine'))
    app.get('/', async () => { throw new Error('the app broke') })
    const { statusCode, headers, body } = await app.inject('/')
    t.equal(statusCode, 503)
    t.equal(headers['retry-after'], '1')
    t.match(JSON.parse(body), { jsonrpc: '2.0', error: { data: { code: 'FST_ERR_MCP_SESSION_CLUSTER_UNAVAILABLE' } } })
  }
})

t.test('a rejection that the app throws itself is an error of its own', async (t) => {
  const { app, log } = await scene(t)
  app.get('/throws', async () => { throw new errors.SessionNotFoundError() })
  const response = await app.inject('/throws')
  t.strictSame(response.json(), { statusCode: 404, code: NOT_FOUND, error: 'Not Found', message: 'Session not found (HTTP 404)' })
  t.strictSame(rejectionLines(log), [])
})

t.test("the app's own errors are what they are without the plugin", async (t) => {
  const thrown: Record<string, () => unknown> = {
    'an error': () => new Error('broken'),
    'an error with a status': () => Object.assign(new Error('broken'), { statusCode: 418, headers: { 'x-why': 'tea' } }),
    'a string': () => 'broken',
    'an object': () => ({ statusCode: 418, broken: true }),
    null: () => null
  }
  type Handle = (error: unknown, reply: { send: (body: unknown) => unknown }) => unknown
  const handlers: Record<string, Handle | undefined> = {
    none: undefined,
    'one that sends': (error, reply) => reply.send({ mine: String(error) }),
    'one that returns': async (error) => ({ mine: String(error) }),
    'one that sends the error': (error, reply) => reply.send(error),
    'one that throws the error': (error) => { throw error },
    'one that rejects with the error': async (error) => { throw error },
    'one that throws another': () => { throw new Error('handler broke') }
  }

  async function tell (withPlugin: boolean, make: () => unknown, ofApp: Handle | undefined, ofRoute: Handle | undefined): Promise<object> {
    const { lines, stream } = captureLog()
    const app = Fastify({ logger: { stream } })
    const calls: string[] = []
    app.addHook('onError', async (_request, _reply, error) => { calls.push(`onError ${String(error)}`) })
    if (ofApp !== undefined) {
      app.setErrorHandler((error, _request, reply) => {
        calls.push(`setErrorHandler ${String(error)}`)
        return ofApp(error, reply)
      })
    }
    if (withPlugin) await app.register(mcpSessions)
    const route = ofRoute === undefined
      ? {}
      : {
          errorHandler (error: unknown, _request: unknown, reply: { send: (body: unknown) => unknown }) {
            calls.push(`errorHandler ${String(error)}`)
            return ofRoute(error, reply)
          }
        }
    app.get('/async', route, async () => { throw make() })
    app.get('/sync', route, () => { throw make() })
    app.get('/hook', { ...route, onRequest: async () => { throw make() } }, async () => 'never')
    const answers: unknown[] = []
    for (const url of ['/async', '/sync', '/hook']) {
      const { statusCode, headers: { date, ...headers }, body } = await app.inject(url)
      answers.push({ url, statusCode, headers, body })
    }
    const logged = lines.map((line) => JSON.parse(line)).filter(({ logger }) => logger === undefined).map(({ level, msg }) => `${level} ${msg}`)
    await app.close()
    return { answers, calls, logged }
  }

  for (const [what, make] of Object.entries(thrown)) {
    for (const [nameOfApps, ofApp] of Object.entries(handlers)) {
      for (const [nameOfRoutes, ofRoute] of Object.entries(handlers)) {
        const [bare, plugged] = await Promise.all([tell(false, make, ofApp, ofRoute), tell(true, make, ofApp, ofRoute)])
        t.strictSame(plugged, bare, `${what}, app: ${nameOfApps}, route: ${nameOfRoutes}`)
      }
    }
  }
})
