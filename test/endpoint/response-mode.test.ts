// How a call is answered: with JSON, with a stream, or with whichever is enough.
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { mock } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { SessionEndpointOptions } from '../../lib/endpoint/options.js'
import { activeRequests } from '../helpers/apps/app.js'
import { buildEndpoint, type EndpointApp } from '../helpers/apps/endpoint-app.js'
import { Census } from '../helpers/heap/garbage.js'
import { type Answer, call, type HttpClient, openSession, REVISION } from '../helpers/clients/http-client.js'
import { until } from '../helpers/waiting/until.js'

const BEAT = 15_000
const MODES = ['auto', 'sse', 'json'] as const
const DONE = { id: 2, result: { content: [{ text: 'done' }] } }
const COMPLAINTS = {
  auto: '',
  sse: '',
  json: 'The client cannot be asked elicitation/create: it has no GET stream open, and the call is answered with JSON, which holds nothing but the answer'
}

interface Opened extends EndpointApp {
  readonly client: HttpClient
}

/** A client of an endpoint that has opened a session, and can be asked something. */
async function open (t: Test, endpoint: Partial<SessionEndpointOptions>, revision = REVISION): Promise<Opened> {
  const built = await buildEndpoint(t, { endpoint })
  const client = await openSession(t, await built.listen(), revision, { elicitation: {}, sampling: {} })
  return { ...built, client }
}

function isStream (t: Test, { headers }: Answer): void {
  t.equal(headers['content-type'], 'text/event-stream')
  t.equal(headers['cache-control'], 'no-cache, no-transform')
  t.equal(headers['x-accel-buffering'], 'no')
}

function isJson (t: Test, { headers }: Answer): void {
  t.equal(headers['content-type'], 'application/json; charset=utf-8')
  t.equal(headers['cache-control'], undefined)
  t.equal(headers['x-accel-buffering'], undefined, 'it is no stream')
}

for (const mode of ['auto', 'json'] as const) {
  t.test(`a call whose answer is all that there is to say is answered with JSON, with responseMode ${mode}`, async (t) => {
    const { client } = await open(t, { responseMode: mode })
    const answer = await (await client.post(call(2, 'echo', { text: 'hello' }))).end()
    t.equal(answer.status, 200)
    isJson(t, answer)
    t.equal(answer.headers['mcp-session-id'], undefined)
    t.strictSame(JSON.parse(answer.text), { jsonrpc: '2.0', id: 2, result: { content: [{ type: 'text', text: 'hello' }] } })
  })
}

t.test('without responseMode it is auto', async (t) => {
  const { client } = await open(t, {})
  isJson(t, await client.post(call(2, 'echo', { text: 'hello' })))
  isStream(t, await client.post(call(2, 'tell')))
})

t.test('with responseMode sse every call is a stream, which goes out in one piece when it is over at once', async (t) => {
  const { client } = await open(t, { responseMode: 'sse' })
  const quick = await (await client.post(call(2, 'echo', { text: 'hello' }))).end()
  isStream(t, quick)
  t.equal(Number(quick.headers['content-length']), quick.text.length)
  t.match(quick.text, /^event: message\ndata: \{.*\}\n\n$/)
  const slow = await client.post(call(3, 'wait'))
  isStream(t, slow)
  t.equal(slow.headers['transfer-encoding'], 'chunked')
})

for (const mode of MODES) {
  t.test(`initialize is answered with the id of the session, and nothing else is, with responseMode ${mode}`, async (t) => {
    const { app, client, server } = await open(t, { responseMode: mode })
    t.ok(app.sessionManager.get(client.sessionId))
    const answers = [
      await client.post({ jsonrpc: '2.0', method: 'notifications/initialized' }), await client.post(call(2, 'echo', { text: 'x' })), await client.post(call(3, 'report')),
      await client.get(), await client.post(call(4, 'nothing')), await client.get({ accept: 'text/html' }), await client.delete()
    ]
    for (const { headers, status } of answers) t.equal(headers['mcp-session-id'], undefined, String(status))
    t.strictSame(answers.map(({ status }) => status), [202, 200, 200, 200, 200, 406, 200])
    t.equal(server().closed, 1)
  })

  t.test(`a notification is 202 and has no body, with responseMode ${mode}`, async (t) => {
    const { client } = await open(t, { responseMode: mode })
    const answer = await (await client.post({ jsonrpc: '2.0', method: 'notifications/initialized' })).end()
    t.equal(answer.status, 202)
    t.equal(answer.text, '')
  })

  t.test(`text that looks like an event or a method is text, with responseMode ${mode}`, async (t) => {
    const { client } = await open(t, { responseMode: mode })
    const text = '\n\ndata: {"method":"x"}\r\n\r\u2028\n\n'
    const answer = await (await client.post(call(2, 'echo', { text }))).end()
    t.match(answer.messages, [{ id: 2, result: { content: [{ text }] } }])
  })

  t.test(`a batch is answered whole, an error among it, with responseMode ${mode}`, async (t) => {
    const { client, server } = await open(t, { responseMode: mode }, '2025-03-26')
    client.headers = { 'mcp-protocol-version': '2025-03-26' }
    const pending = client.post([call(2, 'echo', { text: 'b' }), call(3, 'wait'), { jsonrpc: '2.0', id: 4, method: 'nothing' }, { jsonrpc: '2.0', method: 'notifications/x' }])
    await until(() => server().waiting.length === 1, 'the batch is there')
    server().answer('a')
    const answer = await (await pending).end()
    if (mode !== 'sse') t.ok(Array.isArray(JSON.parse(answer.text)))
    t.match(answer.messages.sort((a, b) => Number(a.id) - Number(b.id)), [
      { id: 2, result: { content: [{ text: 'b' }] } },
      { id: 3, result: { content: [{ text: 'a' }] } },
      { id: 4, error: { code: -32601 } }
    ])
    t.equal(answer.messages.length, 3)
  })

  t.test(`a batch of one is answered with a batch, with responseMode ${mode}`, async (t) => {
    const { client } = await open(t, { responseMode: mode }, '2025-03-26')
    client.headers = { 'mcp-protocol-version': '2025-03-26' }
    const answer = await (await client.post([call(2, 'echo', { text: 'b' })])).end()
    if (mode !== 'sse') t.ok(Array.isArray(JSON.parse(answer.text)), 'as JSON-RPC has it')
    t.match(answer.messages, [{ id: 2 }])
  })

  t.test(`a call that is running when its session is deleted gets an error, with responseMode ${mode}`, async (t) => {
    const { client, server } = await open(t, { responseMode: mode })
    const pending = client.post(call(2, 'wait'))
    await until(() => server().waiting.length === 1, 'the call has come')
    t.equal((await client.delete()).status, 200)
    t.match((await (await pending).end()).messages, [{ id: 2, error: { code: -32001, message: 'Session closed' } }])
  })

  t.test(`a call whose server ends its own session does not hang, with responseMode ${mode}`, async (t) => {
    const { app, client } = await open(t, { responseMode: mode })
    const answer = await (await client.post(call(2, 'end'))).end()
    t.match(answer.messages, [{ id: 2, error: { code: -32001, message: 'Session closed' } }])
    t.equal(app.sessionManager.get(client.sessionId), undefined)
  })
}

for (const mode of ['auto', 'sse'] as const) {
  t.test(`what is said before the answer comes before it, on a stream, with responseMode ${mode}`, async (t) => {
    const { client, server } = await open(t, { responseMode: mode })
    const standalone = await client.get()
    const answer = await client.post(withProgress(call(2, 'report')))
    isStream(t, answer)
    await answer.end()
    t.match(answer.messages, [
      { method: 'notifications/progress', params: { progressToken: 'token', progress: 1 } },
      { method: 'notifications/progress', params: { progressToken: 'token', progress: 2 } },
      { method: 'notifications/message', params: { data: 'reported' } },
      DONE
    ])
    await server().noteHasChanged()
    await standalone.see('updated')
    t.equal(standalone.messages.length, 1, 'and nowhere else')
  })

  t.test(`a tool asks the client on the stream of its call, with responseMode ${mode}`, async (t) => {
    const { client } = await open(t, { responseMode: mode })
    await client.get()
    const answer = await client.post(call(2, 'ask'))
    isStream(t, answer)
    await answer.see('elicitation/create')
    t.equal(await reply(client, answer), 202)
    await answer.end()
    t.match(answer.messages, [{ method: 'elicitation/create' }, { id: 2, result: { content: [{ text: 'accept Ada' }] } }])
  })
}

t.test('with responseMode json what comes on the way goes to the GET stream', async (t) => {
  const { client } = await open(t, { responseMode: 'json' })
  const standalone = await client.get()
  const answer = await (await client.post(withProgress(call(2, 'report')))).end()
  isJson(t, answer)
  t.match(JSON.parse(answer.text), DONE)
  await standalone.see('reported')
  t.match(standalone.messages, [{ params: { progress: 1 } }, { params: { progress: 2 } }, { params: { data: 'reported' } }])
  const asked = client.post(call(3, 'ask'))
  await standalone.see('elicitation/create')
  await reply(client, standalone)
  t.match((await (await asked).end()).messages, [{ id: 3, result: { content: [{ text: 'accept Ada' }] } }])
})

t.test('with responseMode json and no GET stream, what comes on the way is left out', async (t) => {
  for (const resumable of [false, { maxEvents: 10 }] as const) {
    const { client, server } = await open(t, { responseMode: 'json', resumable })
    const answer = await (await client.post(withProgress(call(2, 'report')))).end()
    t.match(JSON.parse(answer.text), DONE)
    const late = await client.get()
    await server().noteHasChanged()
    await late.see('updated')
    t.equal(late.messages.length, 1)
  }
})

for (const mode of MODES) {
  for (const [tool, method] of [['ask', 'elicitation/create'], ['sample', 'sampling/createMessage']] as const) {
    const complaint = tool === 'ask' ? COMPLAINTS[mode] : `The client cannot be asked ${method}: it has no GET stream open, and the request is not part of a call (relatedRequestId)`
    if (complaint === '') continue
    t.test(`a tool that asks ${method} when it cannot reach the client is told so at once, with responseMode ${mode}`, async (t) => {
      const { client } = await open(t, { responseMode: mode })
      const answer = await (await client.post(call(2, tool))).end()
      t.match(answer.messages, [{ id: 2, result: { isError: true, content: [{ text: complaint }] } }])
    })
  }

  t.test(`with resumable a question waits for a client that comes back, with responseMode ${mode}`, async (t) => {
    const { app, client } = await open(t, { responseMode: mode, resumable: {} })
    const stream = await client.get()
    await stream.see('id: ')
    const id = String(stream.events[0]?.id)
    stream.vanish()
    await until(() => activeRequests(app, client.sessionId) === 0, 'the client has gone')
    const asked = client.post(call(2, 'sample'))
    await until(() => activeRequests(app, client.sessionId) === 1, 'the tool runs')
    const again = await client.get({ 'last-event-id': id })
    await again.see('sampling/createMessage')
    const [question] = again.messages
    await client.post({ jsonrpc: '2.0', id: question?.id, result: { model: 'm', role: 'assistant', content: { type: 'text', text: 'Hello!' } } })
    t.match((await (await asked).end()).messages, [{ id: 2, result: { content: [{ text: 'Hello!' }] } }])
  })
}

t.test('with resumable a call is a stream, which can be resumed, but not with responseMode json', async (t) => {
  for (const mode of MODES) {
    const { client } = await open(t, { responseMode: mode, resumable: {} })
    const answer = await (await client.post(call(2, 'echo', { text: 'x' }))).end()
    if (mode === 'json') {
      isJson(t, answer)
    } else {
      isStream(t, answer)
      t.ok(answer.events[0]?.id)
      t.equal(answer.events[0]?.message, undefined, 'it is primed')
    }
    t.match(answer.messages, [{ id: 2 }])
  }
})

t.test('with responseMode json a tool cannot let go of the stream that it does not have', async (t) => {
  const { client, server } = await open(t, { responseMode: 'json', resumable: {} })
  const pending = client.post(call(2, 'poll'))
  await until(() => server().waiting.length === 1, 'the call has come')
  server().answer('here it is')
  t.match((await (await pending).end()).messages, [{ id: 2, result: { content: [{ text: 'here it is' }] } }])
})

t.test('with responseMode auto a call that takes longer than a heartbeat becomes a stream, which beats', async (t) => {
  mock.timers.enable({ apis: ['setTimeout', 'setInterval'] })
  t.teardown(() => mock.timers.reset())
  const { client, server } = await open(t, {})
  let head: Answer | undefined
  const pending = client.post(call(2, 'wait')).then((answer) => { head = answer })
  await until(() => server().waiting.length === 1, 'the call has come')
  mock.timers.tick(BEAT - 1)
  for (let round = 0; round < 100; round++) await turn()
  t.equal(head, undefined, 'not a moment earlier')
  mock.timers.tick(1)
  await pending
  if (head === undefined) throw new Error('unreachable')
  isStream(t, head)
  mock.timers.tick(BEAT)
  await head.see(':\n\n')
  server().answer('at last')
  t.match((await head.end()).messages, [{ id: 2, result: { content: [{ text: 'at last' }] } }])
})

t.test('without heartbeats it waits for as long as it takes, and is answered with JSON', async (t) => {
  mock.timers.enable({ apis: ['setTimeout', 'setInterval'] })
  t.teardown(() => mock.timers.reset())
  const { client, server } = await open(t, { heartbeatInterval: 0 })
  const pending = client.post(call(2, 'wait'))
  await until(() => server().waiting.length === 1, 'the call has come')
  mock.timers.tick(1000 * BEAT)
  server().answer('at last')
  isJson(t, await pending)
})

t.test('what has been answered or cancelled has nothing to say any more', async (t) => {
  for (const mode of MODES) {
    const failures: string[] = []
    const { client } = await open(t, {
      responseMode: mode,
      createServer () {
        const server = new McpServer({ name: 'late', version: '1' }, { capabilities: { logging: {} } })
        server.registerTool('late', {}, async ({ sendNotification }) => {
          setImmediate(() => {
            const late = sendNotification({ method: 'notifications/message', params: { level: 'info', data: 'late' } })
            late.catch((error: Error) => { failures.push(error.message) })
          })
          return { content: [] }
        })
        return server
      }
    })
    const standalone = await client.get()
    await (await client.post(call(2, 'late'))).end()
    await until(() => failures.length === 1, 'the tool is told')
    t.strictSame(failures, ['Request 2 has been answered or cancelled'])
    t.strictSame(standalone.messages, [])
  }
})

for (const mode of MODES) {
  t.test(`calls that have been answered leave nothing behind, with responseMode ${mode}`, async (t) => {
    const census = new Census()
    const { client } = await open(t, {
      responseMode: mode,
      createServer () {
        const server = new McpServer({ name: 'census', version: '1' })
        server.registerTool('count', {}, async ({ requestInfo }) => {
          if (requestInfo !== undefined) census.add(requestInfo)
          return { content: [] }
        })
        return server
      }
    })
    for (let id = 2; id < 52; id++) await (await client.post(call(id, 'count'))).end()
    t.equal(census.seen, 50)
    // The last one is still on the stack of some parser.
    t.ok(await census.countLive() <= 2)
  })
}

function withProgress (request: object): object {
  const { params } = Object.assign({ params: {} }, request)
  return { ...request, params: { ...params, _meta: { progressToken: 'token' } } }
}

/** Answers the question on a stream, and says how that was taken. */
async function reply (client: HttpClient, stream: Answer): Promise<number> {
  const question = stream.messages.find(({ method }) => method === 'elicitation/create')
  const { status } = await client.post({ jsonrpc: '2.0', id: question?.id, result: { action: 'accept', content: { name: 'Ada' } } })
  return status
}
