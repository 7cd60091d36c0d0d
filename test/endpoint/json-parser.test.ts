// Bodies are read as the app wants them.
import t, { type Test } from 'tap'
import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import { post, rejection, rpc, stageEndpoint } from '../helpers/apps/endpoint-stage.js'

interface Reader {
  readonly app: FastifyInstance
  /** The bodies that have been read. */
  readonly bodies: unknown[]
}

async function stageReader (t: Test, server: FastifyServerOptions): Promise<Reader> {
  const bodies: unknown[] = []
  const { app } = await stageEndpoint(t, {
    server,
    sessions: { enabled: false },
    before (app) { app.addHook('preHandler', async ({ body }) => { bodies.push(body) }) }
  })
  return { app, bodies }
}

const poisons = {
  onProtoPoisoning: '{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":{"__proto__":{"b":1}}}}',
  onConstructorPoisoning: '{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":{"constructor":{"prototype":{"b":1}}}}}'
} as const

for (const option of ['onProtoPoisoning', 'onConstructorPoisoning'] as const) {
  t.test(`${option}: 'error', which is the default, is 400 and says why`, async (t) => {
    for (const server of [{}, { [option]: 'error' }]) {
      const { app, bodies } = await stageReader(t, server)
      const response = await post(app, poisons[option])
      t.equal(response.statusCode, 400)
      t.match(response.json(), { error: { code: -32700, message: 'Parse error: the body has a key that is not allowed, __proto__ or constructor.prototype' } })
      t.strictSame(bodies, [])
    }
  })

  t.test(`${option}: 'remove' takes the key out`, async (t) => {
    const { app, bodies } = await stageReader(t, { [option]: 'remove' })
    t.equal((await post(app, poisons[option])).statusCode, 200)
    t.strictSame(bodies, [rpc('ping', { a: {} })])
  })

  t.test(`${option}: 'ignore' leaves it where it is, and poisons nothing`, async (t) => {
    const { app, bodies } = await stageReader(t, { [option]: 'ignore' })
    await post(app, poisons[option])
    t.equal(JSON.stringify(bodies[0]), poisons[option])
    t.notOk('b' in {})
  })
}

t.test('the two are apart', async (t) => {
  const { app } = await stageReader(t, { onProtoPoisoning: 'remove' })
  t.equal((await post(app, poisons.onConstructorPoisoning)).statusCode, 400)
})

t.test('what is not JSON is said to be none, whatever is in it', async (t) => {
  for (const server of [{}, { onProtoPoisoning: 'ignore' }] as const) {
    const { app } = await stageReader(t, server)
    for (const body of ['{', '{"__proto__":1', 'hello', '{"a":1}}']) {
      const response = await post(app, body)
      t.equal(response.statusCode, 400)
      t.strictSame(response.json(), rejection(-32700, 'Parse error: the body is not JSON'))
    }
    t.strictSame((await post(app, '')).json(), rejection(-32700, 'Parse error: the body is empty'))
  }
})

t.test('a DELETE with a content type and no body is a DELETE', async (t) => {
  const { app } = await stageEndpoint(t)
  for (const [payload, statusCode] of [['', 400], ['{', 400], ['{}', 400]] as const) {
    const response = await app.inject({ method: 'DELETE', url: '/mcp', headers: { 'content-type': 'application/json' }, payload })
    t.equal(response.statusCode, statusCode)
    t.match(response.json(), { error: { message: payload === '{' ? /not JSON/ : /Mcp-Session-Id header is required/ } })
  }
})
