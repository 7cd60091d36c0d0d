import Fastify from 'fastify'
import t from 'tap'
import { buildApp } from '../../examples/shared/notes-app.js'
import { notesApi } from '../../examples/shared/notes.js'
import mcpSessions from '../../index.js'
import { listen } from '../helpers/apps/app.js'
import { readScript, start } from '../helpers/processes/child.js'
import { call, openSession } from '../helpers/clients/http-client.js'
import { createDeferred } from '../helpers/waiting/deferred.js'
import { until } from '../helpers/waiting/until.js'

t.setTimeout(120_000)

t.test('the notes can be read and written', async (t) => {
  const app = await buildApp()
  t.teardown(() => app.close())
  const client = await openSession(t, new URL(`http://127.0.0.1:${await listen(app)}/mcp`))
  t.match((await (await client.post(call(2, 'add_note', { text: 'from a test' }))).end()).text, 'Note 1 added')
  t.match((await (await client.post(call(3, 'list_notes'))).end()).text, 'from a test')
  t.match((await app.inject('/notes/1')).body, 'from a test')
  t.strictSame((await app.inject('/health')).json(), { status: 'ok', activeSessions: 1 })
})

t.test('an app that is about to stop says so to the load balancer', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  let isReady = true
  await app.register(mcpSessions)
  await app.register(notesApi, { isReady: () => isReady })
  t.equal((await app.inject('/health')).statusCode, 200)
  isReady = false
  const { statusCode, body } = await app.inject('/health')
  t.equal(statusCode, 503)
  t.strictSame(JSON.parse(body), { status: 'stopping', activeSessions: 0 })
})

t.test('so does the plugin, when the app closes without a word', async (t) => {
  const app = Fastify({ return503OnClosing: false })
  await app.register(mcpSessions)
  await app.register(notesApi)
  const stays = createDeferred<void>()
  app.addHook('preClose', () => stays.promise)
  const port = await listen(app)
  const closed = app.close()
  await until(() => !app.mcp.readiness().isReady, 'it is closing')
  const response = await fetch(`http://127.0.0.1:${port}/health`)
  t.equal(response.status, 503)
  t.strictSame(await response.json(), { status: 'closing', activeSessions: 0 })
  stays.resolve()
  await closed
})

t.test('Ctrl-C ends the example cleanly, with a stream open', { skip: process.platform === 'win32' && 'no SIGINT there' }, async (t) => {
  for (const args of [[], ['hand-wired']]) {
    const [command, options] = readScript('start')
    const server = start(t, command, [...options, ...args], { PORT: '0' })
    await server.says('curl -s -X DELETE')
    const [, url] = /^MCP endpoint: (\S+)$/m.exec(server.stdout) ?? []
    const client = await openSession(t, new URL(url ?? ''))
    const stream = await client.get()
    server.process.kill('SIGINT')
    await stream.end()
    t.ok(stream.ended, 'the stream ends in good order')
    t.equal(await server.ended, 0)
    t.equal(server.stderr, '')
  }
})
