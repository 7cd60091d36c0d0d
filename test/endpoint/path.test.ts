// A session belongs to the concrete path at which it was opened. At any other it does not exist.
import t from 'tap'
import { activeRequests } from '../helpers/apps/app.js'
import { buildEndpoint } from '../helpers/apps/endpoint-app.js'
import { call, HttpClient, openSession } from '../helpers/clients/http-client.js'
import { until } from '../helpers/waiting/until.js'

t.test('a session of one tenant is unknown at the path of another, to the same caller', async (t) => {
  const { app, listen, servers } = await buildEndpoint(t, { endpoint: { path: '/t/:tenant/mcp' } })
  const red = await openSession(t, new URL('/t/red/mcp', await listen()))
  await until(() => activeRequests(app, red.sessionId) === 0, 'initialize is over')
  for (const path of ['/t/blue/mcp', '/t/re/mcp', '/t/redd/mcp', '/t/RED/mcp', '/t/%72ed/mcp', '/t/blue/mcp?/t/red/mcp']) {
    const astray = new HttpClient(t, new URL(path, red.url))
    astray.sessionId = red.sessionId
    for (const send of [() => astray.post(call(2, 'echo', { text: 'x' })), () => astray.get(), () => astray.delete()]) {
      const answer = await (await send()).end()
      t.equal(answer.status, 404, path)
      t.match(JSON.parse(answer.text), { error: { code: -32001, message: 'Session not found (HTTP 404)' }, id: null })
    }
  }
  t.equal(servers.length, 1)
  t.equal(servers[0]?.closed, 0)
  t.equal(app.sessionManager.get(red.sessionId)?.activeRequests, 0)
  t.match((await (await red.post(call(3, 'echo', { text: 'still here' }))).end()).messages, [{ id: 3, result: {} }])
})

t.test('a query does not make another path of it', async (t) => {
  const { listen } = await buildEndpoint(t, { endpoint: { path: '/t/:tenant/mcp' } })
  const client = await openSession(t, new URL('/t/red/mcp?token=1', await listen()))
  for (const path of ['/t/red/mcp', '/t/red/mcp?token=2', '/t/red/mcp?']) {
    const again = new HttpClient(t, new URL(path, client.url))
    again.sessionId = client.sessionId
    t.match((await (await again.post(call(2, 'echo', { text: 'x' }))).end()).messages, [{ id: 2, result: {} }], path)
  }
})
