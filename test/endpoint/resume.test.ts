import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import type { FastifyReply } from 'fastify'
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { activeRequests } from '../helpers/apps/app.js'
import { buildEndpoint } from '../helpers/apps/endpoint-app.js'
import { type Answer, call, openSession } from '../helpers/clients/http-client.js'
import { connectSdkClient } from '../helpers/clients/sdk-clients.js'
import { until } from '../helpers/waiting/until.js'

const resumable = { endpoint: { resumable: { maxEvents: 100, retryInterval: 20 } } }

/** The connection breaks, and so much has happened since that the server knows. */
async function lose (stream: Answer): Promise<void> {
  stream.vanish()
  await until(() => stream.broken, 'the connection has gone')
  for (let round = 0; round < 5; round++) await turn()
}

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
  const { listen, server } = await buildEndpoint(t, resumable)
  const client = await openSession(t, await listen())
  const stream = await client.post(call(2, 'tell'))
  await stream.see('first')
  const last = String(stream.events.at(-1)?.id)
  await lose(stream)
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
  const { listen, server } = await buildEndpoint(t, resumable)
  const client = await openSession(t, await listen())
  const stream = await client.post(call(2, 'tell'))
  await stream.see('first')
  const [priming, first] = stream.events
  await lose(stream)
  server().answer('second')
  await until(() => server().waiting.length === 1, 'the tool has spoken')
  server().answer('result')
  await turn()
  const rest = await (await client.get({ 'last-event-id': String(first?.id) })).end()
  t.equal(rest.headers['content-type'], 'text/event-stream')
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

t.test('a GET stream that is cut while it is quiet loses nothing: it is primed', async (t) => {
  const { app, listen, server } = await buildEndpoint(t, resumable)
  const client = await openSession(t, await listen())
  let stream = await client.get()
  for (const data of ['one', 'two']) {
    await stream.see('id: ')
    const [priming] = stream.events
    t.strictSame(stream.messages, [])
    t.match(stream.text, /retry: 20\n/)
    stream.vanish()
    await until(() => activeRequests(app, client.sessionId) === 0, 'the client has gone')
    await server().mcp.sendLoggingMessage({ level: 'info', data })
    stream = await client.get({ 'last-event-id': String(priming?.id) })
    await stream.see(data)
    t.match(stream.messages, [{ params: { data } }])
    const next = await client.get()
    await stream.end()
    stream = next
  }
})

t.test('a stream that is taken up again, and cut before it has said anything, can be taken up once more', async (t) => {
  const { app, listen, server } = await buildEndpoint(t, resumable)
  const client = await openSession(t, await listen())
  const call2 = await client.post(call(2, 'wait'))
  await until(() => server().waiting.length === 1, 'the call has come')
  for (let stream of [await client.get(), call2]) {
    await stream.see('id: ')
    const [{ id: first } = { id: undefined }] = stream.events
    for (let round = 0; round < 2; round++) {
      await lose(stream)
      stream = await client.get({ 'last-event-id': String(first) })
      await stream.see('id: ')
      t.strictSame([stream.events, stream.text], [[{ id: first, message: undefined }], `id: ${first}\nretry: 20\ndata: \n\n`])
    }
    await lose(stream)
  }
  t.equal(activeRequests(app, client.sessionId), 1, 'the call is under way')
})

for (const kind of ['SDK 1', 'SDK 2, legacy'] as const) {
  t.test(`a client of ${kind} whose connections break again and again gets its answer`, async (t) => {
    const returns: FastifyReply[] = []
    const { listen, server } = await buildEndpoint(t, {
      endpoint: { resumable: { retryInterval: 1 } },
      before (app) {
        app.addHook('preHandler', async ({ headers, body }, reply) => {
          if (headers['last-event-id']?.includes('/get') === false || JSON.stringify(body)?.includes('"wait"')) returns.push(reply)
        })
      }
    })
    const client = await connectSdkClient(t, kind, await listen())
    const result = client.callTool('wait')
    await until(() => server().waiting.length === 1, 'the call has come')
    for (let round = 1; round < 4; round++) {
      await until(() => returns.length === round, 'the client is there')
      const reply = returns.at(-1)
      await until(() => reply?.raw.headersSent === true, 'its stream has begun')
      for (let turns = 0; turns < 5; turns++) await turn()
      // What has been written still goes out.
      reply?.raw.socket?.end()
    }
    await until(() => returns.length === 4, 'the client is there once more')
    server().answer('at last')
    t.equal(await result, 'at last')
  })
}

t.test('a client of an earlier revision gets no event without data', async (t) => {
  for (const revision of ['2025-06-18', '2025-03-26']) {
    const { listen, server } = await buildEndpoint(t, resumable)
    const client = await openSession(t, await listen(), revision)
    client.headers = { 'mcp-protocol-version': revision }
    const stream = await client.get()
    await server().noteHasChanged()
    await stream.see('updated')
    t.equal(stream.events.length, 1)
    t.ok(stream.events[0]?.id, 'but it can come back for what follows')
    const called = await (await client.post(call(2, 'echo', { text: 'x' }))).end()
    t.match(called.events, [{ id: String, message: { id: 2 } }])
    t.equal(called.events.length, 1)
  }
})

t.test('with an id of another session, of an older one, or of nobody the stream is a fresh one', async (t) => {
  const { app, listen, server, servers } = await buildEndpoint(t, resumable)
  const url = await listen()
  const other = await openSession(t, url)
  const theirs = await other.get()
  await server().noteHasChanged()
  await theirs.see('updated')
  const client = await openSession(t, url)
  await server().mcp.sendLoggingMessage({ level: 'info', data: 'lost, for there was no stream' })
  const foreign = [theirs.events.at(-1)?.id, theirs.events[0]?.id, 'nonsense', '_GET_stream_1', '__proto___00000000_1', 'x'.repeat(5000)]
  for (const id of foreign) {
    const fresh = await client.get({ 'last-event-id': String(id) })
    t.equal(fresh.status, 200, String(id))
    await server().mcp.sendLoggingMessage({ level: 'info', data: 'live' })
    await fresh.see('live')
    t.match(fresh.messages, [{ params: { data: 'live' } }])
    t.equal(fresh.messages.length, 1)
  }
  await servers[0]?.mcp.sendLoggingMessage({ level: 'info', data: 'theirs' })
  await theirs.see('theirs')
  await until(() => activeRequests(app, client.sessionId) === 1, 'the last one is the GET stream')
})

t.test('a call that has been forgotten, or was made in another session, is refused, and the GET stream left alone', async (t) => {
  const { app, listen, server } = await buildEndpoint(t, { endpoint: { resumable: { maxEvents: 4 } } })
  const url = await listen()
  const other = await openSession(t, url)
  const secret = await (await other.post(call(2, 'echo', { text: 'secret' }))).end()
  const client = await openSession(t, url)
  const stream = await client.get()
  await stream.see('id: ')
  const forgotten = await (await client.post(call(2, 'echo', { text: 'x' }))).end()
  for (let id = 3; id < 6; id++) await (await client.post(call(id, 'echo', { text: 'x' }))).end()
  for (const { events } of [secret, forgotten]) {
    const refused = await (await client.get({ 'last-event-id': String(events[0]?.id) })).end()
    t.equal(refused.status, 400)
    t.match(JSON.parse(refused.text), { error: { code: -32600, message: /the call of this Last-Event-ID is over/ }, id: null })
  }
  await server().noteHasChanged()
  await stream.see('updated')
  await until(() => activeRequests(app, client.sessionId) === 1, 'it is the only one')
})

t.test('a client of the SDK gives up a call that has been forgotten, and keeps its GET stream', async (t) => {
  let streams = 0
  const { app, listen, server } = await buildEndpoint(t, {
    endpoint: { resumable: { maxEvents: 2, retryInterval: 1 } },
    before (app) { app.addHook('onRequest', async ({ method }) => { if (method === 'GET') streams++ }) }
  })
  const client = await connectSdkClient(t, 'SDK 1', await listen())
  await until(() => activeRequests(app, client.sessionId) === 1, 'its GET stream is open')
  client.callTool('steps').catch(() => {})
  await until(() => client.heard.length === 2, 'the stream of the call is open')
  app.server.closeAllConnections()
  server().answer('too late')
  for (const data of ['one', 'two', 'three']) await server().say(data)
  await until(() => client.heard.includes('log three'), 'the GET stream has come back')
  await until(() => activeRequests(app, client.sessionId) === 1, 'and is the only one')
  await new Promise((resolve) => { setTimeout(resolve, 100) })
  t.ok(streams < 8, `${streams} streams were asked for`)
  await server().say('live')
  await until(() => client.heard.includes('log live'), 'it is still open')
})

t.test('the answer of a call whose client went before the first byte is there for it', async (t) => {
  const { listen, server } = await buildEndpoint(t, resumable)
  const client = await openSession(t, await listen())
  const stream = await client.post(call(2, 'wait'))
  await stream.see('id: ')
  const [priming] = stream.events
  await lose(stream)
  server().answer('kept for you')
  const rest = await (await client.get({ 'last-event-id': String(priming?.id) })).end()
  t.match(rest.messages, [{ id: 2, result: { content: [{ text: 'kept for you' }] } }])
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
  await until(() => activeRequests(app, id) === 3, 'the tool has let go, its call is still under way, and the client has come back')
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

for (const kind of ['SDK 1', 'SDK 2, legacy'] as const) {
  t.test(`a client of ${kind} does not come back for a call that it has cancelled`, async (t) => {
    const returns: number[] = []
    const { app, listen, server } = await buildEndpoint(t, {
      endpoint: { resumable: { retryInterval: 1 } },
      before (app) {
        app.addHook('onResponse', async ({ method, headers }, { statusCode }) => {
          if (method === 'GET' && headers['last-event-id'] !== undefined) returns.push(statusCode)
        })
      }
    })
    const client = await connectSdkClient(t, kind, await listen())
    await until(() => activeRequests(app, client.sessionId) === 1, 'all else is quiet')
    const abort = new AbortController()
    const result = client.callTool('wait', {}, abort.signal)
    await until(() => server().waiting.length === 1, 'the call has come')
    abort.abort('not needed')
    await t.rejects(result)
    await until(() => returns.length > 0, 'it comes back for the rest of the stream')
    // As long as it would take to come back a few times more.
    for (let round = 0; round < 10; round++) await client.listTools()
    t.strictSame(returns, [204])
    t.equal(activeRequests(app, client.sessionId), 1, 'no stream is left but the GET stream')
  })
}
