import { mock } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { activeRequests } from '../helpers/app.js'
import { buildEndpoint } from '../helpers/endpoint-app.js'
import { call, openSession } from '../helpers/http-client.js'
import { connectRaw, openUnreadStream } from '../helpers/raw-client.js'
import { until } from '../helpers/until.js'

const BEAT = 15_000

t.test('the head of a quiet GET stream comes at once', async (t) => {
  const { listen } = await buildEndpoint(t)
  const client = await openSession(t, await listen())
  const stream = await client.get()
  t.equal(stream.status, 200)
  t.equal(stream.headers['content-type'], 'text/event-stream')
  t.equal(stream.headers['mcp-session-id'], client.sessionId)
  t.match(stream.headers['cache-control'], 'no-cache')
})

t.test('messages of no call come on the GET stream', async (t) => {
  const { listen, server } = await buildEndpoint(t)
  const client = await openSession(t, await listen())
  const stream = await client.get()
  await server().noteHasChanged()
  await stream.see('notifications/resources/updated')
})

t.test('a GET stream keeps its session alive while it is open and not a moment longer', async (t) => {
  const { app, listen } = await buildEndpoint(t, { sessions: { ttl: 1000 } })
  const client = await openSession(t, await listen())
  await until(() => activeRequests(app, client.sessionId) === 0, 'initialize is over')
  const start = Date.now()
  mock.timers.enable({ apis: ['Date'], now: start })
  t.teardown(() => mock.timers.reset())
  const stream = await client.get()
  mock.timers.setTime(start + 1_000_000)
  t.equal(activeRequests(app, client.sessionId), 1)
  stream.vanish()
  await until(() => activeRequests(app, client.sessionId) === 0, 'the end of the stream is noticed')
  mock.timers.setTime(start + 1_001_000)
  t.ok(app.sessionManager.get(client.sessionId), 'its idle time started when the stream ended')
  mock.timers.setTime(start + 1_001_001)
  t.notOk(app.sessionManager.get(client.sessionId))
})

t.test('so does a POST stream, for as long as its call takes', async (t) => {
  const { app, listen, server } = await buildEndpoint(t, { sessions: { ttl: 1000 } })
  const client = await openSession(t, await listen())
  await until(() => activeRequests(app, client.sessionId) === 0, 'initialize is over')
  const start = Date.now()
  mock.timers.enable({ apis: ['Date'], now: start })
  t.teardown(() => mock.timers.reset())
  const stream = await client.post(call(2, 'wait'))
  await until(() => server().waiting.length === 1, 'the call has come')
  mock.timers.setTime(start + 1_000_000)
  server().answer('at last')
  await stream.end()
  await until(() => activeRequests(app, client.sessionId) === 0, 'the call is over')
  t.match(stream.messages, [{ id: 2, result: { content: [{ text: 'at last' }] } }])
  mock.timers.setTime(start + 1_001_000)
  t.ok(app.sessionManager.get(client.sessionId))
  mock.timers.setTime(start + 1_001_001)
  t.notOk(app.sessionManager.get(client.sessionId))
})

t.test('heartbeats are on by default, on GET and on POST streams', async (t) => {
  mock.timers.enable({ apis: ['setInterval'] })
  t.teardown(() => mock.timers.reset())
  const { listen } = await buildEndpoint(t)
  const client = await openSession(t, await listen())
  const streams = [await client.get(), await client.post(call(2, 'wait'))]
  await Promise.all(streams.map((stream) => stream.see(':\n\n')))
  for (let beats = 2; beats < 5; beats++) {
    mock.timers.tick(BEAT)
    await Promise.all(streams.map((stream) => stream.see(':\n\n'.repeat(beats))))
  }
  t.strictSame(streams.map(({ text }) => text), [':\n\n'.repeat(4), ':\n\n'.repeat(4)])
})

t.test('heartbeatInterval says how often, and 0 never', async (t) => {
  mock.timers.enable({ apis: ['setInterval'] })
  t.teardown(() => mock.timers.reset())
  const often = await buildEndpoint(t, { endpoint: { heartbeatInterval: 100 } })
  const never = await buildEndpoint(t, { endpoint: { heartbeatInterval: 0 } })
  const beating = await (await openSession(t, await often.listen())).get()
  const quiet = await (await openSession(t, await never.listen())).get()
  mock.timers.tick(100)
  await beating.see(':\n\n:\n\n')
  mock.timers.tick(BEAT)
  await never.server().noteHasChanged()
  await quiet.see('updated')
  t.ok(quiet.text.startsWith(':\n\nevent: message'), 'the first comment is the only one')
})

t.test('a client that vanishes during a call frees its session, and the tool goes on', async (t) => {
  const { app, listen, server } = await buildEndpoint(t)
  const client = await openSession(t, await listen())
  const stream = await client.post(call(2, 'tell'))
  await stream.see('first')
  stream.vanish()
  await until(() => activeRequests(app, client.sessionId) === 0, 'the client has gone')
  server().answer('into the void')
  await until(() => server().waiting.length === 1, 'the tool is where it was')
  server().answer('over')
  client.agent.destroy()
  const echoed = await (await client.post(call(3, 'echo', { text: 'still here' }))).end()
  t.match(echoed.messages, [{ id: 3, result: { content: [{ text: 'still here' }] } }])
})

t.test('a client that vanishes before the first byte frees its session', async (t) => {
  const { app, listen, server } = await buildEndpoint(t, { endpoint: { responseMode: 'json' } })
  const url = await listen()
  const client = await openSession(t, url)
  const raw = await connectRaw(t, Number(url.port))
  const body = JSON.stringify(call(2, 'wait'))
  raw.send('POST /mcp HTTP/1.1', 'host: 127.0.0.1', 'accept: application/json, text/event-stream', 'content-type: application/json',
    `mcp-session-id: ${client.sessionId}`, `content-length: ${body.length}`, '', body)
  await until(() => server().waiting.length === 1, 'the call has come')
  t.equal(activeRequests(app, client.sessionId), 1)
  raw.vanish()
  await until(() => activeRequests(app, client.sessionId) === 0, 'the client has gone')
  server().answer('too late')
})

t.test('a client that is there but reads nothing is given up', async (t) => {
  mock.timers.enable({ apis: ['setInterval'] })
  t.teardown(() => mock.timers.reset())
  const { app, listen, server } = await buildEndpoint(t)
  const url = await listen()
  const client = await openSession(t, url)
  await until(() => activeRequests(app, client.sessionId) === 0, 'initialize is over')
  await openUnreadStream(t, url, client.sessionId)
  // More than the buffers between the two take, so that it waits on our side.
  const noise = 'x'.repeat(1_000_000)
  for (let message = 0; message < 30; message++) await server().mcp.sendLoggingMessage({ level: 'info', data: noise })
  t.equal(activeRequests(app, client.sessionId), 1)
  for (let beat = 0; beat < 10; beat++) {
    mock.timers.tick(BEAT)
    await turn()
  }
  await until(() => activeRequests(app, client.sessionId) === 0, 'it has been given up')
  const again = await client.get()
  t.equal(again.status, 200, 'and may come back')
})

t.test('a new GET stream wins over the old one', async (t) => {
  const { app, listen, server } = await buildEndpoint(t)
  const client = await openSession(t, await listen())
  const old = await client.get()
  const young = await client.get()
  t.equal(young.status, 200)
  await old.end()
  t.ok(old.ended, 'the old one ends in good order')
  await server().noteHasChanged()
  await young.see('notifications/resources/updated')
  t.notMatch(old.text, 'notifications')
  await until(() => activeRequests(app, client.sessionId) === 1, 'one stream is left')
})

t.test('of many GET streams at once one is left, and none is answered with 409', async (t) => {
  const { app, listen, server } = await buildEndpoint(t)
  const client = await openSession(t, await listen())
  const streams = await Promise.all(Array.from({ length: 12 }, () => client.get()))
  t.ok(streams.every(({ status }) => status === 200))
  await until(() => streams.filter(({ ended }) => ended).length === 11, 'all but one have ended')
  await server().noteHasChanged()
  const [open] = streams.filter(({ ended }) => !ended)
  await open?.see('notifications/resources/updated')
  await until(() => activeRequests(app, client.sessionId) === 1, 'one stream is left')
})

t.test('the end of an old stream that is noticed late leaves the new one alone', async (t) => {
  const { app, listen, server } = await buildEndpoint(t)
  const url = await listen()
  const client = await openSession(t, url)
  const raw = await openUnreadStream(t, url, client.sessionId)
  const young = await client.get()
  raw.vanish()
  await until(() => activeRequests(app, client.sessionId) === 1, 'the old one is gone')
  await server().noteHasChanged()
  await young.see('notifications/resources/updated')
})

t.test('a GET that does not accept event streams is 406, and does not end the stream that is open', async (t) => {
  const { listen, server } = await buildEndpoint(t)
  const client = await openSession(t, await listen())
  const stream = await client.get()
  t.equal((await client.get({ accept: 'application/json' })).status, 406)
  await server().noteHasChanged()
  await stream.see('notifications/resources/updated')
})

t.test('a large answer arrives whole', async (t) => {
  const { listen } = await buildEndpoint(t)
  const client = await openSession(t, await listen())
  const stream = await (await client.post(call(2, 'big', { bytes: 5_000_000 }))).end()
  t.match(stream.messages, [{ id: 2 }])
  t.ok(stream.text.length > 5_000_000)
})

t.test('the stream of a call that is cancelled ends, without an answer', async (t) => {
  for (const responseMode of ['sse', 'json'] as const) {
    const { app, listen, server } = await buildEndpoint(t, { endpoint: { responseMode } })
    const client = await openSession(t, await listen())
    const cancelled = client.post(call(2, 'wait'))
    const running = client.post(call(3, 'wait'))
    await until(() => server().waiting.length === 2, 'the calls have come')
    for (const requestId of [2, 2, 'unknown']) await client.post(cancel(requestId))
    const { text, status } = await (await cancelled).end()
    t.equal(status, 200)
    t.notMatch(text, 'data')
    await until(() => activeRequests(app, client.sessionId) === 1, 'the other call goes on')
    server().answer('nobody listens')
    server().answer('finished')
    t.match((await (await running).end()).text, 'finished')
  }
})

t.test('a batch goes on when one call of it is cancelled', async (t) => {
  const { listen, server } = await buildEndpoint(t)
  const client = await openSession(t, await listen(), '2025-03-26')
  client.headers = { 'mcp-protocol-version': '2025-03-26' }
  const batch = await client.post([call(2, 'wait'), call(3, 'wait')])
  await until(() => server().waiting.length === 2, 'the calls have come')
  await client.post([cancel(2)])
  server().answer('nobody listens')
  server().answer('finished')
  await batch.see('finished')
  t.match(batch.messages, [{ id: 3 }])
})

t.test('no listener is one too many', async (t) => {
  const warnings: Error[] = []
  const note = (warning: Error): void => {
    if (warning.name === 'MaxListenersExceededWarning') warnings.push(warning)
  }
  process.on('warning', note)
  t.teardown(() => process.off('warning', note))
  const { listen, server } = await buildEndpoint(t, { endpoint: { resumable: { maxEvents: 100 } } })
  const client = await openSession(t, await listen())
  for (let round = 0; round < 20; round++) {
    await (await client.post(call(round, 'echo', { text: 'x' }))).end()
    await client.get()
  }
  const waiting = await Promise.all(Array.from({ length: 20 }, (_, index) => client.post(call(`wait ${index}`, 'wait'))))
  while (server().waiting.length > 0) server().answer('x')
  await Promise.all(waiting.map((answer) => answer.end()))
  t.strictSame(warnings, [])
})

function cancel (requestId: string | number): object {
  return { jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId } }
}
