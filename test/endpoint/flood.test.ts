// One who opens sessions without end, and those who were there before.
import t from 'tap'
import { buildEndpoint } from '../helpers/apps/endpoint-app.js'
import { HttpClient, initialize } from '../helpers/clients/http-client.js'

t.test('a flood of anonymous sessions takes none from those who have said who they are', async (t) => {
  const { app, listen } = await buildEndpoint(t, { sessions: { maxSessions: 60, identify: ({ headers }) => headers.authorization } })
  const url = await listen()
  const named = await Promise.all(Array.from({ length: 50 }, async (_, index) => {
    const client = new HttpClient(t, url)
    client.headers = { authorization: `user ${index % 25}` }
    await client.open()
    return client
  }))
  const flood = new HttpClient(t, url)
  for (let count = 0; count < 500; count++) {
    const { status } = await (await flood.post(initialize())).end()
    if (status !== 200) t.fail(`the flood got ${status}`)
  }
  t.equal(app.sessionManager.getActiveSessionCount(), 60)
  for (const client of named) t.equal((await (await client.post({ jsonrpc: '2.0', id: 2, method: 'ping' })).end()).status, 200)
})

t.test('somebody with many sessions makes room before somebody with few', async (t) => {
  const { app } = await buildEndpoint(t, { sessions: { maxSessions: 10, identify: ({ headers }) => headers.authorization } })
  const { sessionManager } = app
  const few = sessionManager.create(undefined, { principal: 'few' })
  for (let count = 0; count < 100; count++) sessionManager.create(undefined, { principal: 'many' })
  sessionManager.create(undefined, { principal: 'another' })
  t.ok(sessionManager.get(few))
  t.equal(sessionManager.list().filter(({ principal }) => principal === 'many').length, 8)
})
