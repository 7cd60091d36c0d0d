// A session answers only to the principal that opened it. To everybody else it does not exist.
import Fastify, { type FastifyRequest, type LightMyRequestResponse } from 'fastify'
import { mock } from 'node:test'
import t, { type Test } from 'tap'
import mcpSessions, { mcpEndpoint, type Identify } from '../../index.js'
import { createIdentify } from '../../lib/http/principal.js'
import {
  ACCEPT_BOTH, callTool, CountedServer, INITIALIZE, open, parseMessage, post, rpc, stageEndpoint, type Headers, type Stage, type StageOptions
} from '../helpers/apps/endpoint-stage.js'

declare module 'fastify' {
  interface FastifyRequest {
    caller?: { sub: string } | undefined
  }
}

function readUser ({ headers }: FastifyRequest): string | undefined {
  return headers['x-user']?.toString()
}

async function stageOwned (t: Test, identify: Identify, options: StageOptions = {}): Promise<Stage> {
  return stageEndpoint(t, { ...options, sessions: { identify, ...options.sessions } })
}

function as (user: string | undefined): Record<string, string> {
  return user === undefined ? {} : { 'x-user': user }
}

const identifiers: Record<string, Identify> = {
  sync: readUser,
  async: async (request) => {
    await new Promise(setImmediate)
    return readUser(request)
  },
  // What a query builder gives back.
  thenable: (request) => {
    const promise: Promise<string | undefined> = Object.create(Promise.resolve(), {
      then: { value: (...args: Parameters<Promise<string | undefined>['then']>) => Promise.resolve(readUser(request)).then(...args) }
    })
    return promise
  }
}

for (const [kind, identify] of Object.entries(identifiers)) {
  for (const [owner, stranger] of [
    ['ada', 'bob'], ['ada', undefined], [undefined, 'ada'], ['ada', 'Ada'], ['ada', 'ada '], ['', undefined], [undefined, ''], ['undefined', undefined]
  ] as const) {
    t.test(`${String(owner)} keeps ${String(stranger)} out, with an identify that is ${kind}`, async (t) => {
      const { app, ends } = await stageOwned(t, identify)
      const id = await open(app, { headers: as(owner) })
      t.equal(app.sessionManager.get(id)?.principal, owner)
      t.equal((await callTool(app, id, 'echo', { headers: as(stranger) })).statusCode, 404)
      t.equal((await app.inject({ method: 'DELETE', url: '/mcp', headers: { 'mcp-session-id': id, ...as(stranger) } })).statusCode, 404)
      t.strictSame(ends, [])
      t.match(parseMessage(await callTool(app, id, 'echo', { headers: as(owner) })), { result: { content: [{ text: 'hello' }] } })
      t.equal((await app.inject({ method: 'DELETE', url: '/mcp', headers: { 'mcp-session-id': id, ...as(owner) } })).statusCode, 200)
    })
  }
}

/** All that a client can see, but the time. */
function visible ({ statusCode, statusMessage, headers, rawPayload }: LightMyRequestResponse): object {
  const { date, ...rest } = headers
  return { statusCode, statusMessage, headers: Object.entries(rest), body: rawPayload.toString('hex') }
}

for (const [kind, identify] of Object.entries(identifiers)) {
  for (const request of [
    { method: 'POST', payload: JSON.stringify(rpc('tools/list')), headers: { accept: ACCEPT_BOTH, 'content-type': 'application/json' } },
    { method: 'POST', payload: JSON.stringify(INITIALIZE), headers: { accept: ACCEPT_BOTH, 'content-type': 'application/json' } },
    { method: 'POST', payload: 'broken', headers: { 'content-type': 'application/json' } },
    { method: 'GET', headers: { accept: 'text/event-stream' } },
    { method: 'GET', headers: { accept: 'text/event-stream', 'last-event-id': 'x_1' } },
    { method: 'DELETE', headers: {} }
  ] as const) {
    t.test(`to a stranger ${request.method} ${JSON.stringify(request)} tells nothing, with an identify that is ${kind}`, async (t) => {
      const { app, ends } = await stageOwned(t, identify, { endpoint: { resumable: { maxEvents: 10 } } })
      const id = await open(app, { headers: as('ada') })
      const headers: Headers = { ...request.headers, 'x-user': 'bob' }
      const unknown = await app.inject({ ...request, url: '/mcp', headers: { ...headers, 'mcp-session-id': 'f'.repeat(id.length) } })
      const strangers = await app.inject({ ...request, url: '/mcp', headers: { ...headers, 'mcp-session-id': id } })
      t.equal(unknown.statusCode, 404)
      t.strictSame(visible(strangers), visible(unknown))
      t.strictSame(ends, [])
    })
  }
}

t.test('a stranger does not keep a session alive', async (t) => {
  mock.timers.enable({ apis: ['Date'], now: 1_700_000_000_000 })
  t.teardown(() => mock.timers.reset())
  const { app } = await stageOwned(t, readUser, { sessions: { ttl: 1000 } })
  const id = await open(app, { headers: as('ada') })
  const before = app.sessionManager.get(id)?.lastAccessedAt
  mock.timers.tick(900)
  await callTool(app, id, 'echo', { headers: as('bob') })
  await app.inject({ url: '/mcp', headers: { 'mcp-session-id': id, accept: 'text/event-stream', 'x-user': 'bob' } })
  t.equal(app.sessionManager.get(id)?.lastAccessedAt, before)
  t.equal(app.sessionManager.get(id)?.activeRequests, 0)
  mock.timers.tick(101)
  t.equal(app.sessionManager.get(id), undefined)
})

t.test('a token that is refreshed keeps the session', async (t) => {
  const tokens = new Map([['old-token', 'ada'], ['new-token', 'ada'], ['other-token', 'bob']])
  const { app } = await stageOwned(t, ({ headers }) => tokens.get(headers.authorization?.replace('Bearer ', '') ?? ''))
  const id = await open(app, { headers: { authorization: 'Bearer old-token' } })
  const status = async (token: string): Promise<number> =>
    (await callTool(app, id, 'echo', { headers: { authorization: `Bearer ${token}` } })).statusCode
  t.equal(await status('new-token'), 200)
  tokens.delete('old-token')
  t.equal(await status('old-token'), 404)
  t.equal(await status('other-token'), 404)
  t.equal(await status('new-token'), 200)
})

for (const enabled of [true, false]) {
  t.test(`a principal is on the session that createServer gets, with sessions ${enabled}`, async (t) => {
    const { app, contexts } = await stageOwned(t, readUser, { sessions: { enabled } })
    await post(app, INITIALIZE, { headers: as('ada') })
    t.equal(contexts[0]?.session.principal, 'ada')
  })
}

const unauthorized = Object.assign(new Error('who are you'), { statusCode: 401 })

const failing: Array<[string, Identify, number, string]> = [
  ['throws', () => { throw new Error('broken') }, 500, 'broken'],
  ['rejects', async () => { throw new Error('broken') }, 500, 'broken'],
  ['throws with a status', () => { throw unauthorized }, 401, 'who are you'],
  ['rejects with a status', async () => { throw unauthorized }, 401, 'who are you'],
  ['throws undefined', () => { throw undefined }, 500, 'undefined'], // eslint-disable-line no-throw-literal
  ['throws null', () => { throw null }, 500, 'null'], // eslint-disable-line no-throw-literal
  ['throws a string', () => { throw 'broken' }, 500, 'broken'], // eslint-disable-line no-throw-literal
  ['rejects with undefined', () => Promise.reject(undefined), 500, 'undefined'], // eslint-disable-line prefer-promise-reject-errors
  ['rejects with a string', () => Promise.reject('broken'), 500, 'broken'], // eslint-disable-line prefer-promise-reject-errors
  ['returns a number', () => JSON.parse('7'), 500, 'Option "identify" must return a string or undefined, got number'],
  ['resolves to a number', async () => JSON.parse('7'), 500, 'Option "identify" must return a string or undefined, got number'],
  ['returns an object', () => JSON.parse('{"sub":"ada"}'), 500, 'Option "identify" must return a string or undefined, got object'],
  ['returns an array', () => JSON.parse('["ada"]'), 500, 'Option "identify" must return a string or undefined, got object'],
  ['returns false', () => JSON.parse('false'), 500, 'Option "identify" must return a string or undefined, got boolean']
]

for (const [name, identify, status, message] of failing) {
  for (const enabled of [true, false]) {
    t.test(`an identify that ${name} denies initialize, with sessions ${enabled}`, async (t) => {
      const { app, ends, servers } = await stageOwned(t, identify, { sessions: { enabled } })
      const response = await post(app, INITIALIZE)
      t.equal(response.statusCode, status)
      t.equal(response.json().message, message)
      t.equal(app.sessionManager.getActiveSessionCount(), 0)
      t.equal(servers.length, 0)
      t.strictSame(ends, [])
    })
  }

  t.test(`an identify that ${name} denies a request to a session, and to any other route`, async (t) => {
    let isAda = true
    const { app } = await stageOwned(t, (request) => isAda ? 'ada' : identify(request))
    let handled = 0
    let hooked = 0
    app.addHook('preHandler', async () => { hooked++ })
    app.get('/cart', { config: { mcpSession: 'required' } }, async () => { handled++ })
    const id = await open(app)
    hooked = 0
    isAda = false
    for (const response of [
      await callTool(app, id, 'echo'),
      await app.inject({ url: '/cart', headers: { 'mcp-session-id': id } }),
      await app.inject({ url: '/cart', headers: { 'mcp-session-id': 'unknown' } })
    ]) {
      t.equal(response.statusCode, status)
      t.equal(response.json().message, message)
    }
    t.equal(handled, 0)
    t.equal(hooked, 0)
    t.equal(app.sessionManager.get(id)?.activeRequests, 0)
  })
}

t.test('null is nobody, like undefined', async (t) => {
  for (const identify of [() => JSON.parse('null'), async () => JSON.parse('null')]) {
    const { app } = await stageOwned(t, identify)
    t.equal(app.sessionManager.get(await open(app))?.principal, undefined)
  }
})

t.test('identify is asked once for a request, and not without a session id', async (t) => {
  let asked = 0
  const { app } = await stageOwned(t, () => {
    asked++
    return 'ada'
  })
  app.get('/public', async () => 'public')
  app.get('/ignored', { config: { mcpSession: 'ignore' } }, async () => 'ignored')
  await app.inject('/public')
  await app.inject({ url: '/ignored', headers: { 'mcp-session-id': 'x' } })
  await app.inject({ url: '/nowhere', headers: { 'mcp-session-id': 'x' } })
  await app.inject({ url: '/public', headers: { 'mcp-session-id': 'not one id' } })
  await post(app, rpc('tools/list'))
  t.equal(asked, 0)
  const id = await open(app)
  t.equal(asked, 1)
  await callTool(app, id, 'echo')
  t.equal(asked, 2)
  await app.inject({ url: '/public', headers: { 'mcp-session-id': id } })
  t.equal(asked, 3)
})

t.test('without identify all callers are the same', async (t) => {
  const { app } = await stageEndpoint(t)
  const id = await open(app, { headers: as('ada') })
  t.equal((await callTool(app, id, 'echo', { headers: as('bob') })).statusCode, 200)
})

t.test('an identify whose result is a promise of another realm is awaited', async (t) => {
  const { app } = await stageEndpoint(t)
  let request: FastifyRequest | undefined
  app.get('/', async (incoming) => { request = incoming })
  await app.inject('/')
  if (request === undefined) throw new Error('unreachable')
  const principal = createIdentify(identifiers['thenable'])(request)
  t.type(principal, Promise)
  t.equal(await principal, undefined)
})

t.test('the hooks of a scope run before identify: they say who the user is', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(mcpSessions, { identify: (request) => request.caller?.sub })
  const mounted: string[] = []
  await app.register(async (scope) => {
    scope.decorateRequest('caller', undefined)
    scope.addHook('onRequest', async (request, reply) => {
      const token = request.headers.authorization
      if (token === undefined) return reply.code(401).header('www-authenticate', 'Bearer').send({ message: 'No token' })
      request.caller = { sub: token.replace('Bearer ', '').split('.')[0] ?? '' }
    })
    await scope.register(mcpEndpoint, {
      createServer ({ session }) {
        mounted.push(String(session.principal))
        return new CountedServer()
      }
    })
  }, { prefix: '/api' })

  t.equal((await post(app, INITIALIZE, { url: '/mcp' })).statusCode, 404)
  const denied = await post(app, INITIALIZE, { url: '/api/mcp' })
  t.equal(denied.statusCode, 401)
  t.equal(denied.headers['www-authenticate'], 'Bearer')
  t.equal(app.sessionManager.getActiveSessionCount(), 0)

  const id = await open(app, { url: '/api/mcp', headers: { authorization: 'Bearer ada.1' } })
  t.strictSame(mounted, ['ada'])
  const status = async (headers: Headers): Promise<number> => (await callTool(app, id, 'echo', { url: '/api/mcp', headers })).statusCode
  t.equal(await status({ authorization: 'Bearer ada.2' }), 200)
  t.equal(await status({ authorization: 'Bearer bob.1' }), 404)
  t.equal(await status({}), 401)
})
