// What a client says that it accepts decides how it is answered, as RFC 9110 has it.
import t from 'tap'
import { activeRequests } from '../helpers/apps/app.js'
import { buildEndpoint } from '../helpers/apps/endpoint-app.js'
import { call, HttpClient, initialize, openSession } from '../helpers/clients/http-client.js'
import { connectRaw } from '../helpers/clients/raw-client.js'
import { until } from '../helpers/waiting/until.js'

const JSON_TYPE = 'application/json; charset=utf-8'
const STREAM_TYPE = 'text/event-stream'

/** The kind of answer in the modes auto, sse and json; 406: none. */
const KINDS: Array<[accept: string, auto: string, sse: string, json: string]> = [
  ['application/json, text/event-stream', JSON_TYPE, STREAM_TYPE, JSON_TYPE],
  ['*/*', JSON_TYPE, STREAM_TYPE, JSON_TYPE],
  ['Application/JSON, text/Event-Stream', JSON_TYPE, STREAM_TYPE, JSON_TYPE],
  ['text/event-stream;q=0.9,application/json;q=0.8;version=1', JSON_TYPE, STREAM_TYPE, JSON_TYPE],
  ['text/*, application/*', JSON_TYPE, STREAM_TYPE, JSON_TYPE],
  ['application/json', JSON_TYPE, JSON_TYPE, JSON_TYPE],
  ['application/*', JSON_TYPE, JSON_TYPE, JSON_TYPE],
  ['*/*, text/event-stream;q=0', JSON_TYPE, JSON_TYPE, JSON_TYPE],
  ['text/html, application/json ; q=1', JSON_TYPE, JSON_TYPE, JSON_TYPE],
  ['text/event-stream', STREAM_TYPE, STREAM_TYPE, STREAM_TYPE],
  ['text/*', STREAM_TYPE, STREAM_TYPE, STREAM_TYPE],
  ['application/json;q=0.000, */*', STREAM_TYPE, STREAM_TYPE, STREAM_TYPE],
  ['text/html', '406', '406', '406'],
  ['application/json;q=0, text/event-stream;q=0.0', '406', '406', '406'],
  ['*/*;q=0', '406', '406', '406']
]

for (const [index, responseMode] of (['auto', 'sse', 'json'] as const).entries()) {
  for (const resumable of [false, {}] as const) {
    t.test(`each client gets what it accepts, with responseMode ${responseMode}${resumable ? ', resumable' : ''}`, async (t) => {
      const { app, listen } = await buildEndpoint(t, { endpoint: { responseMode, resumable } })
      const url = await listen()
      const client = await openSession(t, url)
      for (const [accept, ...kinds] of KINDS) {
        // Only a stream can be resumed.
        const expected = resumable && kinds[0] === JSON_TYPE && kinds[1] === STREAM_TYPE && responseMode === 'auto' ? STREAM_TYPE : kinds[index]
        const before = app.sessionManager.getActiveSessionCount()
        for (const [what, answer] of [
          ['a call', await (await client.post(call(2, 'echo', { text: 'hello' }), { accept })).end()],
          ['initialize', await (await new HttpClient(t, url).post(initialize(), { accept })).end()]
        ] as const) {
          if (expected === '406') {
            t.equal(answer.status, 406, `${accept}: ${what}`)
            t.match(JSON.parse(answer.text), { error: { code: -32000, message: 'Not Acceptable: the client must accept application/json or text/event-stream' }, id: null })
          } else {
            t.equal(answer.status, 200, `${accept}: ${what}`)
            t.equal(answer.headers['content-type'], expected, `${accept}: ${what}`)
            t.match(answer.messages, [{ result: {} }])
          }
        }
        t.equal(app.sessionManager.getActiveSessionCount(), before + (expected === '406' ? 0 : 1))
        t.equal((await client.post({ jsonrpc: '2.0', method: 'notifications/initialized' }, { accept })).status, 202, 'a notification has no answer that could be refused')
      }
    })
  }
}

t.test('a client that says nothing takes all', async (t) => {
  for (const responseMode of ['auto', 'sse', 'json'] as const) {
    const { app, listen } = await buildEndpoint(t, { endpoint: { responseMode } })
    const url = await listen()
    const { sessionId } = await openSession(t, url)
    const body = JSON.stringify(call(2, 'echo', { text: 'hello' }))
    const client = await connectRaw(t, Number(url.port))
    client.send('POST /mcp HTTP/1.1', 'host: 127.0.0.1', 'content-type: application/json', `mcp-session-id: ${sessionId}`, `content-length: ${body.length}`, '', body)
    await client.see('"hello"')
    t.match(client.received, responseMode === 'sse' ? /content-type: text\/event-stream/ : /content-type: application\/json/)
    const stream = await connectRaw(t, Number(url.port))
    stream.get('/mcp', `mcp-session-id: ${sessionId}`)
    await stream.see('content-type: text/event-stream')
    await until(() => activeRequests(app, sessionId) === 1, 'the GET stream is open')
  }
})

t.test('a GET stream is for those who accept one', async (t) => {
  const { listen, server } = await buildEndpoint(t)
  const client = await openSession(t, await listen())
  for (const accept of ['text/event-stream', '*/*', 'Text/*', 'application/json, text/event-stream']) {
    const stream = await client.get({ accept })
    t.equal(stream.headers['content-type'], STREAM_TYPE, accept)
    await server().noteHasChanged()
    await stream.see('updated')
  }
  for (const accept of ['application/json', 'text/html', 'text/event-stream;q=0, */*', 'application/*']) {
    const refused = await (await client.get({ accept })).end()
    t.equal(refused.status, 406, accept)
    t.match(JSON.parse(refused.text), { error: { message: 'Not Acceptable: the client must accept text/event-stream' } })
  }
})

t.test('a client that takes only JSON gets no stream, whatever a tool has to say and however long it takes', async (t) => {
  const { listen, server } = await buildEndpoint(t, { endpoint: { heartbeatInterval: 1 } })
  const client = await openSession(t, await listen(), undefined, { elicitation: {} })
  const accept = 'application/json'
  const reported = await (await client.post(call(2, 'report'), { accept })).end()
  t.match(JSON.parse(reported.text), { id: 2, result: { content: [{ text: 'done' }] } })
  const asked = await (await client.post(call(3, 'ask'), { accept })).end()
  t.match(JSON.parse(asked.text), { id: 3, result: { isError: true, content: [{ text: /The client cannot be asked elicitation\/create: it has no GET stream open/ }] } })
  const slow = client.post(call(4, 'wait'), { accept })
  await until(() => server().waiting.length === 1, 'the call has come')
  await new Promise((resolve) => { setTimeout(resolve, 20) })
  server().answer('at last')
  t.match(JSON.parse((await (await slow).end()).text), { id: 4, result: { content: [{ text: 'at last' }] } })
})
