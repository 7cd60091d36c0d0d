import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { activeRequests } from '../helpers/app.js'
import { buildEndpoint } from '../helpers/endpoint-app.js'
import { Census } from '../helpers/garbage.js'
import { call, openSession } from '../helpers/http-client.js'
import { until } from '../helpers/until.js'

const json = { responseMode: 'json' } as const

t.test('answers are JSON', async (t) => {
  const { listen } = await buildEndpoint(t, { endpoint: json })
  const client = await openSession(t, await listen())
  const answer = await (await client.post(call(2, 'echo', { text: 'hello' }))).end()
  t.equal(answer.status, 200)
  t.match(answer.headers['content-type'], /^application\/json/)
  t.equal(answer.headers['mcp-session-id'], client.sessionId)
  t.notOk(answer.headers['x-accel-buffering'], 'it is no stream')
  t.strictSame(JSON.parse(answer.text), { jsonrpc: '2.0', id: 2, result: { content: [{ type: 'text', text: 'hello' }] } })
})

t.test('initialize is answered with JSON and the id of the session', async (t) => {
  const { app, listen } = await buildEndpoint(t, { endpoint: json })
  const client = await openSession(t, await listen())
  t.ok(app.sessionManager.get(client.sessionId))
})

t.test('what comes on the way is left out', async (t) => {
  const { listen } = await buildEndpoint(t, { endpoint: { ...json, resumable: { maxEvents: 10 } } })
  const client = await openSession(t, await listen())
  const answer = await (await client.post(call('report', 'report'))).end()
  t.match(JSON.parse(answer.text), { id: 'report', result: { content: [{ text: 'done' }] } })
})

t.test('text that looks like an event or a method is text', async (t) => {
  const { listen } = await buildEndpoint(t, { endpoint: json })
  const client = await openSession(t, await listen())
  const text = '\n\ndata: {"method":"x"}\n\n'
  const answer = await (await client.post(call(2, 'echo', { text }))).end()
  t.match(JSON.parse(answer.text), { id: 2, result: { content: [{ text }] } })
})

t.test('a batch is answered with a batch, an error among them', async (t) => {
  const { listen, server } = await buildEndpoint(t, { endpoint: json })
  const client = await openSession(t, await listen(), '2025-03-26')
  const pending = client.post([call(2, 'echo', { text: 'b' }), call(3, 'wait'), { jsonrpc: '2.0', id: 4, method: 'nothing' }], { 'mcp-protocol-version': '2025-03-26' })
  await until(() => server().waiting.length === 1, 'the batch is there')
  server().answer('a')
  const answer = await (await pending).end()
  const answers: unknown = JSON.parse(answer.text)
  t.ok(Array.isArray(answers))
  t.match(answers, [
    { id: 4, error: { code: -32601 } },
    { id: 2, result: { content: [{ text: 'b' }] } },
    { id: 3, result: { content: [{ text: 'a' }] } }
  ])
})

t.test('notifications are 202 and have no body', async (t) => {
  const { listen } = await buildEndpoint(t, { endpoint: json })
  const client = await openSession(t, await listen())
  const answer = await (await client.post({ jsonrpc: '2.0', method: 'notifications/initialized' })).end()
  t.equal(answer.status, 202)
  t.equal(answer.text, '')
})

t.test('what the transport refuses is answered as it is', async (t) => {
  const { listen } = await buildEndpoint(t, { endpoint: json })
  const client = await openSession(t, await listen())
  const answer = await (await client.post(call(2, 'echo'), { accept: 'application/json' })).end()
  t.equal(answer.status, 406)
  t.match(JSON.parse(answer.text), { error: { code: -32000 } })
})

t.test('a call that is running when its session is deleted gets an error', async (t) => {
  const { listen, server } = await buildEndpoint(t, { endpoint: json })
  const client = await openSession(t, await listen())
  const pending = client.post(call(2, 'wait'))
  await until(() => server().waiting.length === 1, 'the call has come')
  t.equal((await client.delete()).status, 200)
  const answer = await (await pending).end()
  t.match(JSON.parse(answer.text), { id: 2, error: { code: -32001, message: 'Session closed' } })
})

t.test('a call whose server ends its own session does not hang', async (t) => {
  const { app, listen } = await buildEndpoint(t, { endpoint: json })
  const client = await openSession(t, await listen())
  await (await client.post(call(2, 'end'))).end()
  t.equal(app.sessionManager.get(client.sessionId), undefined)
})

t.test('a tool that lets go of its stream leaves the client to come back for the answer', async (t) => {
  const { listen, server } = await buildEndpoint(t, { endpoint: { ...json, resumable: { maxEvents: 10 } } })
  const client = await openSession(t, await listen())
  const left = await (await client.post(call(2, 'poll'))).end()
  t.equal(left.headers['content-type'], 'text/event-stream')
  const [priming] = left.events
  t.ok(priming?.id, 'with an id to come back with')
  server().answer('here it is')
  await turn()
  const rest = await (await client.get({ 'last-event-id': String(priming?.id) })).end()
  t.match(rest.messages, [{ id: 2, result: { content: [{ text: 'here it is' }] } }])
})

t.test('a client that vanishes is noticed', async (t) => {
  const { app, listen, server } = await buildEndpoint(t, { endpoint: json })
  const client = await openSession(t, await listen())
  const pending = client.post(call(2, 'wait'))
  await until(() => server().waiting.length === 1, 'the call has come')
  client.agent.destroy()
  await t.rejects(pending)
  await until(() => activeRequests(app, client.sessionId) === 0, 'the client has gone')
  const errors: Error[] = []
  server().mcp.server.onerror = (error) => { errors.push(error) }
  server().answer('nobody listens')
  await until(() => errors.length > 0, 'the transport knows that nobody listens')
})

t.test('calls that have been answered leave nothing behind', async (t) => {
  const census = new Census()
  const { listen } = await buildEndpoint(t, {
    endpoint: {
      ...json,
      createServer () {
        const server = new McpServer({ name: 'census', version: '1' })
        server.registerTool('count', {}, async ({ requestInfo }) => {
          if (requestInfo !== undefined) census.add(requestInfo)
          return { content: [] }
        })
        return server
      }
    }
  })
  const client = await openSession(t, await listen())
  for (let id = 2; id < 52; id++) await (await client.post(call(id, 'count'))).end()
  t.equal(census.seen, 50)
  // The last one is still on the stack of some parser.
  t.ok(await census.countLive() <= 2)
})
