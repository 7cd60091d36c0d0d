import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { EventBuffer } from '../../lib/endpoint/transport/event-buffer.js'
import { replayToEnd } from '../../lib/endpoint/resume.js'
import { activeRequests } from '../helpers/app.js'
import { buildEndpoint } from '../helpers/endpoint-app.js'
import { parseEvents } from '../helpers/endpoint-stage.js'
import { call, openSession } from '../helpers/http-client.js'
import { until } from '../helpers/until.js'

const resumable = { endpoint: { resumable: { maxEvents: 100, retryInterval: 20 } } }

t.test('the GET stream goes on where it was left', async (t) => {
  const { app, listen, server } = await buildEndpoint(t, resumable)
  const client = await openSession(t, await listen())
  const stream = await client.get()
  await server().mcp.sendLoggingMessage({ level: 'info', data: 'seen' })
  await stream.see('seen')
  const last = String(stream.events.at(-1)?.id)
  stream.vanish()
  await until(() => activeRequests(app, client.sessionId) === 0, 'the client has gone')
  await server().mcp.sendLoggingMessage({ level: 'info', data: 'missed' })
  const again = await client.get({ 'last-event-id': last })
  await again.see('missed')
  await server().mcp.sendLoggingMessage({ level: 'info', data: 'live' })
  await again.see('live')
  t.match(again.messages.map(({ params }) => params), [{ data: 'missed' }, { data: 'live' }])
  t.equal(again.messages.length, 2)
})

t.test('a call whose connection dropped is taken up on its own stream, and nothing else comes on it', async (t) => {
  const { app, listen, server } = await buildEndpoint(t, resumable)
  const client = await openSession(t, await listen())
  const stream = await client.post(call(2, 'tell'))
  await stream.see('first')
  const last = String(stream.events.at(-1)?.id)
  stream.vanish()
  await until(() => activeRequests(app, client.sessionId) === 0, 'the client has gone')
  server().answer('second')
  await until(() => server().waiting.length === 1, 'the tool has spoken')
  await server().noteHasChanged()
  const again = await client.get({ 'last-event-id': last })
  await again.see('second')
  t.notOk(again.ended)
  server().answer('result')
  await again.end()
  t.match(again.messages, [{ params: { data: 'second' } }, { id: 2, result: { content: [{ text: 'result' }] } }])
  t.equal(again.messages.length, 2)
})

t.test('the rest of a call that is over is replayed, and the stream ends by itself', async (t) => {
  const { app, listen, server } = await buildEndpoint(t, resumable)
  const client = await openSession(t, await listen())
  const stream = await client.post(call(2, 'tell'))
  await stream.see('first')
  const [priming, first] = stream.events
  stream.vanish()
  await until(() => activeRequests(app, client.sessionId) === 0, 'the client has gone')
  server().answer('second')
  await until(() => server().waiting.length === 1, 'the tool has spoken')
  server().answer('result')
  await turn()
  const rest = await (await client.get({ 'last-event-id': String(first?.id) })).end()
  t.equal(rest.headers['content-type'], 'text/event-stream')
  t.equal(rest.headers['mcp-session-id'], client.sessionId)
  t.match(rest.messages, [{ params: { data: 'second' } }, { id: 2, result: {} }])
  const all = await (await client.get({ 'last-event-id': String(priming?.id) })).end()
  t.equal(all.messages.length, 3)
  const nothing = await (await client.get({ 'last-event-id': String(rest.events.at(-1)?.id) })).end()
  t.strictSame(nothing.messages, [])
})

t.test('a replay does not end the GET stream that is open', async (t) => {
  const { listen, server } = await buildEndpoint(t, resumable)
  const client = await openSession(t, await listen())
  const standalone = await client.get()
  const done = await (await client.post(call(2, 'echo', { text: 'x' }))).end()
  await (await client.get({ 'last-event-id': String(done.events[0]?.id) })).end()
  await server().noteHasChanged()
  await standalone.see('notifications/resources/updated')
})

t.test('a client that comes back twice has the newest stream', async (t) => {
  const { listen, server } = await buildEndpoint(t, resumable)
  const client = await openSession(t, await listen())
  const first = await client.get()
  await server().mcp.sendLoggingMessage({ level: 'info', data: 'one' })
  await first.see('one')
  const last = String(first.events.at(-1)?.id)
  const second = await client.get({ 'last-event-id': last })
  const third = await client.get({ 'last-event-id': last })
  await first.end()
  await second.end()
  await server().mcp.sendLoggingMessage({ level: 'info', data: 'two' })
  await third.see('two')
})

t.test('ids of another session, of an older one, and of nobody are refused', async (t) => {
  const { listen, server } = await buildEndpoint(t, resumable)
  const url = await listen()
  const other = await openSession(t, url)
  const theirs = await other.get()
  await server().noteHasChanged()
  await theirs.see('updated')
  const call2 = await (await other.post(call(2, 'echo', { text: 'secret' }))).end()
  const client = await openSession(t, url)
  await server().noteHasChanged()
  const foreign = [theirs.events.at(-1)?.id, call2.events[0]?.id, 'nonsense', '_GET_stream_1', '__proto___00000000_1']
  for (const id of foreign) {
    const answer = await (await client.get({ 'last-event-id': String(id) })).end()
    t.equal(answer.status, 400, String(id))
    t.match(JSON.parse(answer.text), { error: { code: -32600, message: /Last-Event-ID/ }, id: null })
  }
})

t.test('an event that has been forgotten with its stream is refused', async (t) => {
  const { listen } = await buildEndpoint(t, { endpoint: { resumable: { maxEvents: 2 } } })
  const client = await openSession(t, await listen())
  const first = await (await client.post(call(2, 'echo', { text: 'x' }))).end()
  await (await client.post(call(3, 'echo', { text: 'x' }))).end()
  t.equal((await client.get({ 'last-event-id': String(first.events[0]?.id) })).status, 400)
})

t.test('an empty Last-Event-ID is none', async (t) => {
  const { listen, server } = await buildEndpoint(t, resumable)
  const client = await openSession(t, await listen())
  const stream = await client.get({ 'last-event-id': '' })
  await server().noteHasChanged()
  await stream.see('updated')
})

t.test('a Last-Event-ID without an Accept header for streams is 406', async (t) => {
  const { listen } = await buildEndpoint(t, resumable)
  const client = await openSession(t, await listen())
  t.equal((await client.get({ 'last-event-id': 'nonsense', accept: 'application/json' })).status, 406)
})

t.test('without resumable, events have no ids and a Last-Event-ID is ignored', async (t) => {
  const { listen, server } = await buildEndpoint(t)
  const client = await openSession(t, await listen())
  const stream = await client.get({ 'last-event-id': '_GET_stream_1' })
  t.equal(stream.status, 200)
  await server().noteHasChanged()
  await stream.see('updated')
  t.equal(stream.events[0]?.id, undefined)
})

t.test('a client of the SDK polls for the answer of a tool that lets go of its stream', async (t) => {
  const { app, listen, server } = await buildEndpoint(t, resumable)
  const transport = new StreamableHTTPClientTransport(await listen())
  const client = new Client({ name: 'test', version: '1' })
  await client.connect(transport)
  t.teardown(() => client.close())
  const id = String(transport.sessionId)
  // Its GET stream.
  await until(() => activeRequests(app, id) === 1, 'all else is quiet')
  const result = client.callTool({ name: 'poll' })
  await until(() => server().waiting.length === 1, 'the call has come')
  await until(() => activeRequests(app, id) === 1, 'the tool has let go')
  await until(() => activeRequests(app, id) === 2, 'the client has come back')
  server().answer('polled')
  t.match(await result, { content: [{ text: 'polled' }] })
})

t.test('and finds it when the tool was faster', async (t) => {
  const { app, listen, server } = await buildEndpoint(t, resumable)
  const transport = new StreamableHTTPClientTransport(await listen())
  const client = new Client({ name: 'test', version: '1' })
  await client.connect(transport)
  t.teardown(() => client.close())
  await until(() => activeRequests(app, String(transport.sessionId)) === 1, 'all else is quiet')
  const result = client.callTool({ name: 'poll' })
  await until(() => server().waiting.length === 1, 'the call has come')
  server().answer('polled')
  t.match(await result, { content: [{ text: 'polled' }] })
  await until(() => activeRequests(app, String(transport.sessionId)) === 1, 'no stream is left but the GET stream')
})

t.test('a request that died with its process is answered at the end of what was stored of it', async (t) => {
  const events = new EventBuffer(10)
  const first = await events.storeEvent('stream', { jsonrpc: '2.0', method: 'notifications/message', params: { data: 'seen' } })
  await events.storeEvent('stream', { jsonrpc: '2.0', method: 'notifications/message', params: { data: 'missed' } })
  const response = await replayToEnd({ events, lastEventId: first, sessionId: 'the-session', lost: [7, 'eight'] })
  t.equal(response.headers.get('content-type'), 'text/event-stream')
  t.equal(response.headers.get('mcp-session-id'), 'the-session')
  t.match(parseEvents(await response.text()), [
    { params: { data: 'missed' } },
    ...[7, 'eight'].map((id) => ({ id, error: { code: -32000, message: 'The process that worked on this request has died' } }))
  ])
})
