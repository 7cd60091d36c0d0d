import { mock } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { activeRequests } from '../helpers/apps/app.js'
import { buildEndpoint } from '../helpers/apps/endpoint-app.js'
import { type Answer, call, openSession } from '../helpers/clients/http-client.js'
import { connectRaw, openUnreadStream } from '../helpers/clients/raw-client.js'
import { until } from '../helpers/waiting/until.js'

const BEAT = 15_000
const BOTH = 'application/json, text/event-stream'
const sse = { responseMode: 'sse' } as const

t.test('the head of a quiet GET stream comes at once', async (t) => {
  const { listen } = await buildEndpoint(t)
  const client = await openSession(t, await listen())
  const stream = await client.get()
  t.equal(stream.status, 200)
  t.equal(stream.headers['content-type'], 'text/event-stream')
  t.match(stream.headers['cache-control'], 'no-cache')
  t.equal(stream.headers['mcp-session-id'], undefined, 'the id is handed out once')
  t.equal(stream.text, '')
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
  const { app, listen, server } = await buildEndpoint(t, { sessions: { ttl: 1000 }, endpoint: sse })
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
  const { listen } = await buildEndpoint(t, { endpoint: sse })
  const client = await openSession(t, await listen())
  const streams = [await client.get(), await client.post(call(2, 'wait'))]
  for (let beats = 1; beats < 4; beats++) {
    mock.timers.tick(BEAT)
    await Promise.all(streams.map((stream) => stream.see(':\n\n'.repeat(beats))))
  }
  t.strictSame(streams.map(({ text }) => text), [':\n\n'.repeat(3), ':\n\n'.repeat(3)])
})

t.test('heartbeatInterval says how often, and 0 never: not a byte comes before the first event', async (t) => {
  mock.timers.enable({ apis: ['setInterval'] })
  t.teardown(() => mock.timers.reset())
  const often = await buildEndpoint(t, { endpoint: { heartbeatInterval: 100 } })
  const never = await buildEndpoint(t, { endpoint: { heartbeatInterval: 0 } })
  const beating = await (await openSession(t, await often.listen())).get()
  const client = await openSession(t, await never.listen())
  const quiet = [await client.get(), await client.post(call(2, 'tell'))]
  mock.timers.tick(100)
  mock.timers.tick(100)
  await beating.see(':\n\n:\n\n')
  mock.timers.tick(BEAT)
  await never.server().noteHasChanged()
  await quiet[0]?.see('updated')
  await quiet[1]?.see('first')
  for (const { text } of quiet) t.ok(text.startsWith('event: message'), JSON.stringify(text))
})

t.test('a GET stream stays open past the handlerTimeout of the app', async (t) => {
  mock.timers.enable({ apis: ['setTimeout', 'setInterval'] })
  t.teardown(() => mock.timers.reset())
  const { listen, server } = await buildEndpoint(t, { server: { handlerTimeout: 1000 } })
  const client = await openSession(t, await listen())
  const stream = await client.get()
  for (let second = 0; second < 100; second++) mock.timers.tick(1000)
  await stream.see(':\n\n')
  await server().noteHasChanged()
  await stream.see('updated')
  t.notOk(stream.ended || stream.broken)
})

t.test('a client that vanishes during a call has not cancelled it: it holds its session to the end', async (t) => {
  const { app, listen, server } = await buildEndpoint(t)
  const client = await openSession(t, await listen())
  const stream = await client.post(call(2, 'tell'))
  await stream.see('first')
  stream.vanish()
  await vanished(stream)
  server().answer('into the void')
  await until(() => server().waiting.length === 1, 'the tool is where it was')
  t.equal(activeRequests(app, client.sessionId), 1)
  server().answer('over')
  await until(() => activeRequests(app, client.sessionId) === 0, 'the call is over')
  client.agent.destroy()
  const echoed = await (await client.post(call(3, 'echo', { text: 'still here' }))).end()
  t.match(echoed.messages, [{ id: 3, result: { content: [{ text: 'still here' }] } }])
})

for (const responseMode of ['auto', 'sse', 'json'] as const) {
  for (const cancelOnDisconnect of [false, true]) {
    t.test(`a client vanishes before the first byte, with responseMode ${responseMode} and cancelOnDisconnect ${cancelOnDisconnect}`, async (t) => {
      const { app, listen, server } = await buildEndpoint(t, { endpoint: { responseMode, cancelOnDisconnect } })
      const url = await listen()
      const client = await openSession(t, url)
      const raw = await connectRaw(t, Number(url.port))
      const body = JSON.stringify(call(2, 'wait'))
      raw.send('POST /mcp HTTP/1.1', 'host: 127.0.0.1', 'accept: application/json, text/event-stream', 'content-type: application/json',
        `mcp-session-id: ${client.sessionId}`, `content-length: ${body.length}`, '', body)
      await until(() => server().waiting.length === 1, 'the call has come')
      t.equal(activeRequests(app, client.sessionId), 1)
      raw.vanish()
      if (!cancelOnDisconnect) {
        await (await client.post(call(3, 'echo', { text: 'later' }))).end()
        t.equal(server().aborted, 0)
        t.equal(activeRequests(app, client.sessionId), 1)
        server().answer('into the void')
      }
      await until(() => activeRequests(app, client.sessionId) === 0, 'the call is over')
      t.equal(server().aborted, cancelOnDisconnect ? 1 : 0)
    })
  }
}

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
  for (const accept of ['application/json', 'text/event-stream']) {
    const answer = await (await client.post(call(2, 'big', { bytes: 5_000_000 }), { accept })).end()
    t.match(answer.messages, [{ id: 2 }])
    t.ok(answer.text.length > 5_000_000)
  }
})

for (const [responseMode, accept] of [['auto', BOTH], ['sse', BOTH], ['json', BOTH], ['auto', 'application/json'], ['json', 'text/event-stream']] as const) {
  t.test(`a call that is cancelled ends, with responseMode ${responseMode} for a client that takes ${accept}`, async (t) => {
    const { app, listen, server } = await buildEndpoint(t, { endpoint: { responseMode } })
    const client = await openSession(t, await listen())
    const cancelled = client.post(call(2, 'wait'), { accept })
    const running = client.post(call(3, 'wait'), { accept })
    await until(() => server().waiting.length === 2, 'the calls have come')
    for (const requestId of [2, 2, 'unknown', 1, null]) await client.post(cancel(requestId))
    const answer = await (await cancelled).end()
    t.equal(answer.status, 200)
    t.equal(server().aborted, 1)
    const isJson = accept === 'application/json' || (responseMode === 'json' && accept === BOTH)
    t.equal(answer.isJson, isJson)
    if (isJson) t.match(answer.messages, [{ id: 2, error: { code: -32000, message: 'The request has been cancelled' } }])
    else t.equal(answer.text, '', 'a stream cannot answer what was cancelled')
    await until(() => activeRequests(app, client.sessionId) === 1, 'the other call goes on')
    server().answer('nobody listens')
    server().answer('finished')
    t.match((await (await running).end()).text, 'finished')
  })
}

t.test('a batch goes on when one call of it is cancelled', async (t) => {
  for (const responseMode of ['auto', 'sse', 'json'] as const) {
    const { listen, server } = await buildEndpoint(t, { endpoint: { responseMode } })
    const client = await openSession(t, await listen(), '2025-03-26')
    client.headers = { 'mcp-protocol-version': '2025-03-26' }
    const pending = client.post([call(2, 'wait'), call(3, 'wait')])
    await until(() => server().waiting.length === 2, 'the calls have come')
    await client.post([cancel(2)])
    server().answer('nobody listens')
    server().answer('finished')
    const batch = await (await pending).end()
    const rest = { id: 3, result: { content: [{ text: 'finished' }] } }
    t.match(batch.messages, responseMode === 'json' ? [{ id: 2, error: { code: -32000 } }, rest] : [rest])
    t.equal(batch.messages.length, responseMode === 'json' ? 2 : 1)
  }
})

t.test('no listener is one too many', async (t) => {
  const warnings: Error[] = []
  const note = (warning: Error): void => {
    if (warning.name === 'MaxListenersExceededWarning') warnings.push(warning)
  }
  process.on('warning', note)
  t.teardown(() => process.off('warning', note))
  const { listen, server } = await buildEndpoint(t, { endpoint: { ...sse, resumable: { maxEvents: 100 } } })
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

async function vanished (answer: Answer): Promise<void> {
  await until(() => answer.broken, 'the connection is gone')
}

function cancel (requestId: string | number | null): object {
  return { jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId } }
}
