import Fastify from 'fastify'
import t from 'tap'
import mcpSessions from '../../index.js'

t.test('without a cluster the directory is that of this process', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(mcpSessions)
  const { sessionManager, sessionDirectory } = app
  const one = sessionManager.create({ n: 1 }, { principal: 'ann', clientInfo: { name: 'c', version: '1' }, protocolVersion: '2025-11-25' })
  const two = sessionManager.create()
  t.equal(await sessionDirectory.count(), 2)
  const listed: object[] = []
  for await (const session of sessionDirectory.list()) listed.push(session)
  t.match(listed, [{ id: one, metadata: { n: 1 }, principal: 'ann', clientInfo: { name: 'c' }, protocolVersion: '2025-11-25', createdAt: Number }, { id: two }])
  t.equal(await sessionDirectory.terminate(one), true)
  t.equal(await sessionDirectory.terminate(one), false)
  t.equal(await sessionDirectory.count(), 1)
  t.equal(sessionDirectory.node, undefined)
  t.strictSame(await sessionDirectory.nodes(), [])
})
