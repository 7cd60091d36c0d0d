import Fastify from 'fastify'
import t from 'tap'
import mcpSessions from '../../index.js'
import sessionsDashboard, { sessionsDashboard as named } from '../../lib/dashboard/index.js'

t.test('it is not registered without saying who may look', async (t) => {
  const wrong: Array<[object, string]> = [
    [{}, 'got undefined'],
    [{ authorize: true }, 'got true (boolean)'],
    [{ authorize: 'everybody' }, 'got "everybody" (string)'],
    [{ authorize: null }, 'got null']
  ]
  for (const [options, got] of wrong) {
    const app = Fastify()
    await app.register(mcpSessions)
    await t.rejects(async () => app.register(sessionsDashboard, Object(options)), {
      name: 'TypeError',
      message: `Option "authorize" must be a hook (request, reply) that throws or replies to turn a request away, or 'loopback' to let in this machine alone, ${got}`
    })
    await app.close()
  }
})

t.test('a name that is not known is refused', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(mcpSessions)
  await t.rejects(async () => app.register(sessionsDashboard, Object({ authorise: 'loopback' })), { name: 'TypeError', message: 'Unknown option "authorise": did you mean "authorize"?' })
})

t.test('without sessions there is nothing to show', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await t.rejects(async () => app.register(sessionsDashboard, { authorize: 'loopback' }), {
    code: 'FST_ERR_MCP_SESSION_PLUGIN_MISSING', message: 'Register mcpSessions first, on the same instance or one that encloses it'
  })
})

t.test('it has a name, too', async (t) => {
  t.equal(named, sessionsDashboard)
})
