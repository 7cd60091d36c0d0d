// Ending sessions from the dashboard.
import t from 'tap'
import { hashSessionId, mcpEndpoint } from '../../index.js'
import { buildDashboard, readState } from '../helpers/apps/dashboard-app.js'
import { call, openSession } from '../helpers/clients/http-client.js'
import { captureLog } from '../helpers/observe/log-lines.js'
import { ToolServer } from '../helpers/mcp-servers/tool-server.js'

const POST = { method: 'POST', headers: { 'x-mcp-sessions-dashboard': 'end' } }

t.test('a session is ended by its hash, and its client hears of it', async (t) => {
  const { lines, stream } = captureLog()
  const { app, ask, port } = await buildDashboard(t, {
    server: { logger: { stream } },
    async before (app) { await app.register(mcpEndpoint, { createServer: () => new ToolServer().mcp }) }
  })
  const client = await openSession(t, new URL(`http://127.0.0.1:${port}/mcp`))
  const other = app.sessionManager.create()
  const hash = hashSessionId(client.sessionId ?? '')
  const ended = await ask(`/sessions/sessions/${hash}/end`, POST)
  t.equal(ended.status, 204)
  t.equal(ended.text, '')
  t.equal((await client.post(call(2, 'echo', { text: 'x' }))).status, 404)
  t.strictSame(app.sessionManager.list().map(({ id }) => id), [other])
  t.match(readState(await ask('/sessions/state')), { totals: { sessions: 1 }, history: { buckets: [{ closed: { deleted: 1 } }] } })
  t.equal(lines.filter((line) => line.includes('"A session was ended from the dashboard"') && line.includes(hash)).length, 1)
  t.notMatch(lines.join(''), String(client.sessionId))
})

t.test('one that is gone, or never was, is a 404', async (t) => {
  const { app, ask } = await buildDashboard(t)
  const id = app.sessionManager.create()
  const hash = hashSessionId(id)
  app.sessionManager.cleanup(id)
  app.sessionManager.create()
  for (const name of [hash, 'nothing', id, '%2e%2e', 'x'.repeat(100)]) {
    const { status, text } = await ask(`/sessions/sessions/${name}/end`, POST)
    t.equal(status, 404, name)
    t.strictSame(JSON.parse(text), { error: 'Not Found', message: 'The session is gone' })
  }
  t.equal(app.sessionManager.getActiveSessionCount(), 1)
})

t.test('a body is not asked for, and does no harm', async (t) => {
  const { app, ask } = await buildDashboard(t)
  const hash = hashSessionId(app.sessionManager.create())
  t.equal((await ask(`/sessions/sessions/${hash}/end`, { ...POST, headers: { ...POST.headers, 'content-length': '0' } })).status, 204)
})
