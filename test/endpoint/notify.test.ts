// app.mcp.notify, and what clients with sessions hear of it.
import Fastify from 'fastify'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import t, { type Test } from 'tap'
import { isDeclared, toNotification } from '../../lib/endpoint/change-notification.js'
import mcpSessions, { mcpEndpoint } from '../../index.js'
import { buildEndpoint } from '../helpers/apps/endpoint-app.js'
import { HttpClient, initialize } from '../helpers/clients/http-client.js'
import { connectSdkClient, type SdkClient, type SdkKind } from '../helpers/clients/sdk-clients.js'
import { NOTE_URI } from '../helpers/mcp-servers/waiting-server.js'
import { captureLog } from '../helpers/observe/log-lines.js'
import { until } from '../helpers/waiting/until.js'

async function connectListening (t: Test, kind: SdkKind, url: URL, streams: () => number): Promise<SdkClient> {
  const before = streams()
  const client = await connectSdkClient(t, kind, url)
  await until(() => streams() > before, 'the GET stream is open')
  return client
}

for (const kind of ['SDK 1', 'SDK 2, legacy'] as const) {
  t.test(`a client of ${kind} hears of what has changed`, async (t) => {
    const { app, listen } = await buildEndpoint(t)
    const streams = (): number => app.sessionManager.list().filter(({ openStreams }) => openStreams > 0).length
    const url = await listen()
    const one = await connectListening(t, kind, url, streams)
    const two = await connectListening(t, kind, url, streams)
    app.mcp.notify.toolsListChanged()
    await until(() => one.heard.length === 1 && two.heard.length === 1, 'both have heard')
    app.mcp.notify.toolsChanged({ session: two.sessionId })
    app.mcp.notify.toolsChanged({ principal: 'nobody' })
    await one.subscribe(NOTE_URI)
    app.mcp.notify.resourceUpdated(NOTE_URI)
    app.mcp.notify.resourceUpdated('note://2')
    app.mcp.notify.promptsChanged()
    await until(() => one.heard.length === 2 && two.heard.length === 2, 'what was for each')
    t.strictSame(one.heard, ['tools changed', `updated ${NOTE_URI}`])
    t.strictSame(two.heard, ['tools changed', 'tools changed'])
  })
}

t.test('who fails to hear is logged, and the others hear all the same', async (t) => {
  const { lines, stream } = captureLog()
  const app = Fastify({ logger: { level: 'error', stream } })
  t.teardown(() => app.close())
  await app.register(mcpSessions)
  const heard: string[] = []
  app.mcp.bus.subscribe(() => { throw new Error('deaf') })
  app.mcp.bus.subscribe(({ kind }) => { heard.push(kind) })
  app.mcp.notify.toolsListChanged()
  t.strictSame(heard, ['tools_list_changed'])
  t.match(lines.map((line) => JSON.parse(line)), [{ msg: 'Somebody who listens to announcements has failed', err: { message: 'deaf' } }])
})

t.test('only the sessions of a principal', async (t) => {
  const { app, listen } = await buildEndpoint(t, { sessions: { identify: ({ headers }) => headers.authorization } })
  const url = await listen()
  const streams = await Promise.all(['ann', 'bob'].map(async (authorization) => {
    const client = new HttpClient(t, url)
    client.headers = { authorization }
    await client.open()
    return client.get()
  }))
  app.mcp.notify.resourcesChanged({ principal: 'bob' })
  app.mcp.notify.toolsChanged()
  for (const stream of streams) await stream.see('tools/list_changed')
  const heard = streams.map(({ messages }) => messages.map(({ method }) => method))
  t.strictSame(heard, [['notifications/tools/list_changed'], ['notifications/resources/list_changed', 'notifications/tools/list_changed']])
})

t.test('what a server has not declared is not sent', async (t) => {
  const tools = { kind: 'tools_list_changed' } as const
  t.ok(isDeclared(tools, { tools: { listChanged: true } }))
  for (const capabilities of [undefined, {}, { tools: {} }, { tools: { listChanged: false } }, { tools: true }]) t.notOk(isDeclared(tools, capabilities))
  t.ok(isDeclared({ kind: 'resource_updated', uri: 'a:1' }, { resources: { subscribe: true } }))
  t.notOk(isDeclared({ kind: 'resource_updated', uri: 'a:1' }, { resources: { listChanged: true } }))
  t.strictSame(toNotification({ kind: 'resource_updated', uri: 'a:1' }), { jsonrpc: '2.0', method: 'notifications/resources/updated', params: { uri: 'a:1' } })
  t.strictSame(toNotification(tools), { jsonrpc: '2.0', method: 'notifications/tools/list_changed' })
})

t.test('the key of requestState is 32 bytes, the same each time', async (t) => {
  const [one, two] = [Fastify(), Fastify()]
  for (const app of [one, two]) await app.register(mcpSessions)
  t.teardown(() => Promise.all([one.close(), two.close()]))
  const key = await one.mcp.requestStateKey()
  t.equal(key.length, 32)
  t.strictSame(await one.mcp.requestStateKey(), key)
  t.strictNotSame(await two.mcp.requestStateKey(), key)
})

t.test('that a client cannot be told is logged', async (t) => {
  const lines: string[] = []
  const app = Fastify({ logger: { level: 'warn', stream: { write: (line: string) => { lines.push(line) } } } })
  t.teardown(() => app.close())
  await app.register(mcpSessions)
  const server = new McpServer({ name: 'one', version: '1' }, { capabilities: { tools: { listChanged: true } } })
  await app.register(mcpEndpoint, { createServer: () => server })
  await app.inject({ method: 'POST', url: '/mcp', headers: { accept: 'application/json' }, payload: initialize() })
  const transport = server.server.transport
  if (transport === undefined) throw new Error('The server is not connected')
  Object.assign(transport, { async tell () { throw new Error('no way') } })
  app.mcp.notify.toolsChanged()
  await until(() => lines.length > 0, 'it is logged')
  t.match(JSON.parse(lines[0] ?? ''), { msg: 'A session could not be told of a change', err: { message: 'no way' } })
})
