import Fastify from 'fastify'
import t from 'tap'
import mcpSessions, { type McpSessionsOptions } from '../../index.js'
import { buildApp } from '../helpers/apps/app.js'

// What a user without types can write.
const wrong: { [option: string]: unknown[] } = {
  enabled: [null, 0, 1, 'false', {}],
  ttl: [null, -1, NaN, Infinity, '1000', 10n, true, {}],
  cleanupInterval: [null, -1, NaN, Infinity, '1000', 2 ** 31, {}],
  logger: [null, 'console', {}, { sendLog: true }, () => {}],
  errorResponseBuilder: [null, 'sorry', { message: 'sorry' }]
}

for (const [option, values] of Object.entries(wrong)) {
  for (const value of values) {
    t.test(`${option}: ${typeof value} ${String(value)} fails at register, with a TypeError that names the option`, async (t) => {
      const app = Fastify()
      t.teardown(() => app.close())
      const error = await app.register(mcpSessions, { [option]: value }).then(() => undefined, (reason: unknown) => reason)
      t.ok(error instanceof TypeError)
      t.match(error, { message: `Option "${option}" must be ` })
      t.notOk(app.hasDecorator('sessionManager'))
    })
  }
}

for (const [written, meant] of [['maxSession', 'maxSessions'], ['TTL', 'ttl'], ['drain', 'drainTimeout']] as const) {
  t.test(`${written} fails at register, with a TypeError that names ${meant}`, async (t) => {
    const app = Fastify()
    t.teardown(() => app.close())
    const options = { [written]: 5 }
    await t.rejects(async () => app.register(mcpSessions, options), new TypeError(`Unknown option "${written}": did you mean "${meant}"?`))
  })
}

t.test('what Fastify reads from the options of any plugin may stand among them', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(mcpSessions, { prefix: '/api', logLevel: 'warn', logSerializers: {}, ttl: 1000 })
  t.ok(app.sessionManager.create())
})

t.test('undefined is the default, for every option', async (t) => {
  const app = await buildApp(t, {
    enabled: undefined, ttl: undefined, cleanupInterval: undefined, logger: undefined, errorResponseBuilder: undefined
  })
  app.get('/', async () => '')
  const response = await app.inject({ url: '/', headers: { 'mcp-session-id': 'x' } })
  t.equal(response.json().error.code, -32001)
})

t.test('none at all are the defaults', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(mcpSessions)
  t.ok(app.sessionManager.create())
})

t.test('are read once and never written', async (t) => {
  const options: McpSessionsOptions = { ttl: 1_000, errorResponseBuilder: () => 'first' }
  const app = await buildApp(t, Object.freeze({ ...options }))
  t.ok(app.sessionManager)

  const other = await buildApp(t, options)
  other.get('/', async () => '')
  options.errorResponseBuilder = () => 'second'
  t.equal((await other.inject({ url: '/', headers: { 'mcp-session-id': 'x' } })).body, 'first')
})
