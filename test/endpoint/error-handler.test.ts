// What clients of an endpoint are told when something is wrong, and who else gets to see it.
import type { LightMyRequestResponse } from 'fastify'
import t from 'tap'
import { hashSessionId } from '../../lib/session/session-id.js'
import { callTool, INITIALIZE, open, post, rejection, rpc, stageEndpoint, type Stage, type StageOptions } from '../helpers/apps/endpoint-stage.js'

const UNKNOWN = 'b52d8c1e-6c0c-4a6b-9d52-000000000000'
const PREFIX = 'FST_ERR_MCP_SESSION_'

interface Case {
  readonly code: string
  readonly status: number
  readonly options?: Pick<StageOptions, 'sessions' | 'endpoint'>
  readonly sessionId?: string
  ask (stage: Stage): Promise<LightMyRequestResponse>
}

const cases: Record<string, Case> = {
  'a message without a session': { code: `${PREFIX}ID_MISSING`, status: 400, ask: ({ app }) => post(app, rpc('ping')) },
  'an unknown session': { code: `${PREFIX}NOT_FOUND`, status: 404, sessionId: UNKNOWN, ask: ({ app }) => callTool(app, UNKNOWN, 'echo') },
  'a malformed id': { code: `${PREFIX}ID_MALFORMED`, status: 400, ask: ({ app }) => callTool(app, 'not good', 'echo') },
  'broken JSON': { code: `${PREFIX}PARSE`, status: 400, ask: ({ app }) => post(app, '{') },
  'an empty body': { code: `${PREFIX}PARSE`, status: 400, ask: ({ app }) => post(app, '') },
  'another content type': {
    code: 'FST_ERR_CTP_INVALID_MEDIA_TYPE', status: 415, ask: ({ app }) => post(app, 'hello', { headers: { 'content-type': 'text/plain' } })
  },
  'a body that is too large': {
    code: 'FST_ERR_CTP_BODY_TOO_LARGE', status: 413, ask: ({ app }) => post(app, JSON.stringify({ ...INITIALIZE, x: 'x'.repeat(2_000_000) }))
  },
  'no room for another session': {
    code: `${PREFIX}LIMIT`,
    status: 503,
    options: { sessions: { maxSessions: 1 } },
    ask ({ app }) {
      app.sessionManager.acquire(app.sessionManager.create())
      return post(app, INITIALIZE)
    }
  },
  'an Origin that is not allowed': {
    code: `${PREFIX}FORBIDDEN_ORIGIN`,
    status: 403,
    options: { endpoint: { allowedOrigins: ['https://good.example'] } },
    ask: ({ app }) => post(app, INITIALIZE, { headers: { origin: 'https://evil.example' } })
  },
  'GET without sessions': {
    code: `${PREFIX}METHOD_NOT_ALLOWED`, status: 405, options: { sessions: { enabled: false } }, ask: ({ app }) => app.inject('/mcp')
  }
}

for (const [name, { code, status, options = {}, sessionId, ask }] of Object.entries(cases)) {
  t.test(`${name} is told in JSON-RPC, logged once, and seen by onError with its code`, async (t) => {
    const seen: unknown[] = []
    const stage = await stageEndpoint(t, {
      ...options,
      before (app) {
        app.addHook('onError', async (_request, _reply, error) => { seen.push(error.code) })
        app.setErrorHandler(() => t.fail('the app is asked'))
      }
    })
    const response = await ask(stage)
    t.equal(response.statusCode, status)
    t.match(response.json(), { jsonrpc: '2.0', error: { code: Number, message: String, data: { code } }, id: null })
    t.strictSame(seen, [code])
    const lines = stage.log.map((line) => JSON.parse(line)).filter(({ msg }) => msg.startsWith('Request rejected'))
    t.match(lines, [{ level: 30, reqId: String, code, statusCode: status, msg: `Request rejected: ${response.json().error.message}` }])
    t.equal(lines.length, 1)
    t.equal(lines[0].sessionId, sessionId && hashSessionId(sessionId))
    t.notMatch(stage.log.join(''), UNKNOWN)
    t.strictSame(stage.log.map((line) => JSON.parse(line).level).filter((level) => level > 40), [], 'and nothing is called an error')
  })

  t.test(`${name} is told as errorResponseBuilder says, which may take its time`, async (t) => {
    const stage = await stageEndpoint(t, {
      ...options,
      sessions: {
        ...options.sessions,
        async errorResponseBuilder (_request, { code, statusCode }) {
          await new Promise(setImmediate)
          return { code, statusCode }
        }
      }
    })
    const response = await ask(stage)
    t.equal(response.statusCode, status)
    t.strictSame(response.json(), { code, statusCode: status })
  })

  t.test(`${name} answers 500 when errorResponseBuilder fails, through the error handler of the app`, async (t) => {
    const stage = await stageEndpoint(t, {
      ...options,
      sessions: { ...options.sessions, async errorResponseBuilder () { throw new Error('builder broke') } },
      before (app) { app.setErrorHandler((error, _request, reply) => reply.send({ wrong: String(error) })) }
    })
    const response = await ask(stage)
    t.equal(response.statusCode, 500)
    t.equal(response.headers['retry-after'], undefined)
    t.strictSame(response.json(), { wrong: 'Error: builder broke' })
  })
}

t.test('a session that is known is named by its hash', async (t) => {
  const stage = await stageEndpoint(t)
  const id = await open(stage.app)
  t.strictSame((await post(stage.app, '{', { headers: { 'mcp-session-id': id } })).json(), rejection(-32700, 'Parse error: the body is not JSON'))
  t.match(stage.log.map((line) => JSON.parse(line)).at(-2), { code: `${PREFIX}PARSE`, sessionId: hashSessionId(id) })
  t.notMatch(stage.log.join(''), id)
})

for (const [name, make, shown] of [
  ['a DOMException, whose code is a number', () => new DOMException('broken', 'AbortError'), 'AbortError: broken'],
  ['an error of the plugin that is a fault of the app', () => Object.assign(new Error('broken'), { code: 'FST_ERR_MCP_SESSION_SERVER' }), 'Error: broken'],
  ['what is not an error', () => 'broken', 'broken']
] as const) {
  t.test(`${name} goes to the error handler of the app`, async (t) => {
    const { app } = await stageEndpoint(t, {
      before (app) {
        app.addHook('onRequest', async () => { throw make() })
        app.setErrorHandler((error, _request, reply) => reply.code(418).send({ mine: String(error) }))
      }
    })
    const response = await post(app, INITIALIZE)
    t.equal(response.statusCode, 418)
    t.strictSame(response.json(), { mine: shown })
  })
}
