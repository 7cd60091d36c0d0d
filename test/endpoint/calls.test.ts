// Calls in flight: whose answer is whose, and what becomes of one whose client has gone.
import { mock } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { McpSessionsOptions } from '../../index.js'
import type { SessionEndpointOptions } from '../../lib/endpoint/options.js'
import { activeRequests } from '../helpers/apps/app.js'
import { buildEndpoint, type EndpointApp } from '../helpers/apps/endpoint-app.js'
import { call, HttpClient, openSession } from '../helpers/clients/http-client.js'
import { until } from '../helpers/waiting/until.js'

const MODES = ['auto', 'sse', 'json'] as const
const TTL = 1000

interface Opened extends EndpointApp {
  readonly url: URL
  readonly client: HttpClient
}

async function open (t: Test, endpoint: Partial<SessionEndpointOptions>, sessions: McpSessionsOptions = {}): Promise<Opened> {
  const built = await buildEndpoint(t, { endpoint, sessions })
  const url = await built.listen()
  return { ...built, url, client: await openSession(t, url, undefined, { elicitation: {} }) }
}

for (const responseMode of MODES) {
  for (const resumable of [false, {}] as const) {
    const how = `with responseMode ${responseMode}${resumable ? ', resumable' : ''}`

    t.test(`two calls in flight under one id each get their own answer, ${how}`, async (t) => {
      const { app, client, server } = await open(t, { responseMode, resumable }, { drainTimeout: 60_000 })
      const first = client.post(call(1, 'wait'))
      await until(() => server().waiting.length === 1, 'the first has come')
      const second = client.post(call(1, 'wait'))
      await until(() => server().waiting.length === 2, 'the second has come')
      const [one, two] = server().waiting
      two?.resolve('of the second')
      t.match((await (await second).end()).messages, [{ id: 1, result: { content: [{ text: 'of the second' }] } }])
      t.equal(activeRequests(app, client.sessionId), 1, 'the first goes on')
      one?.resolve('of the first')
      t.match((await (await first).end()).messages, [{ id: 1, result: { content: [{ text: 'of the first' }] } }])
      await until(() => activeRequests(app, client.sessionId) === 0, 'both are over')
      client.agent.destroy()
      await app.close()
    })

    t.test(`of many calls under one id, in any order, each gets its own answer, ${how}`, async (t) => {
      const { client, server } = await open(t, { responseMode, resumable })
      const pending: Array<ReturnType<HttpClient['post']>> = []
      for (let index = 0; index < 8; index++) {
        pending.push(client.post(call(index % 2 === 0 ? 'same' : 1, 'wait')))
        await until(() => server().waiting.length === index + 1, 'it has come')
      }
      for (const index of [3, 0, 7, 6, 1, 5, 2, 4]) server().waiting[index]?.resolve(`answer ${index}`)
      for (const [index, answer] of pending.entries()) {
        const { messages } = await (await answer).end()
        t.match(messages, [{ id: index % 2 === 0 ? 'same' : 1, result: { content: [{ text: `answer ${index}` }] } }])
        t.equal(messages.length, 1)
      }
    })
  }

  t.test(`the ids 1 and "1" are two, with responseMode ${responseMode}`, async (t) => {
    const { client, server } = await open(t, { responseMode })
    const number = client.post(call(1, 'wait'))
    await until(() => server().waiting.length === 1, 'the first has come')
    const string = client.post(call('1', 'wait'))
    await until(() => server().waiting.length === 2, 'the second has come')
    server().answer('number')
    server().answer('string')
    t.strictSame((await (await number).end()).messages.map(({ id }) => id), [1])
    t.strictSame((await (await string).end()).messages.map(({ id }) => id), ['1'])
  })

  t.test(`of calls with one id the last is cancelled, and the others go on, with responseMode ${responseMode}`, async (t) => {
    const { client, server } = await open(t, { responseMode })
    const first = client.post(call(1, 'wait'))
    await until(() => server().waiting.length === 1, 'the first has come')
    const second = client.post(call(1, 'wait'))
    await until(() => server().waiting.length === 2, 'the second has come')
    await client.post({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 1 } })
    const { text } = await (await second).end()
    t.notMatch(text, 'result')
    t.equal(server().aborted, 1)
    server().waiting[1]?.resolve('of the second')
    server().waiting[0]?.resolve('of the first')
    t.match((await (await first).end()).messages, [{ id: 1, result: { content: [{ text: 'of the first' }] } }])
  })

  t.test(`a call that broke off holds its session past the limits, with responseMode ${responseMode}`, async (t) => {
    const { app, url, client, server } = await open(t, { responseMode }, { maxSessions: 2 })
    await breakOff(t, client, server)
    const its = server()
    const second = await openSession(t, url)
    await until(() => activeRequests(app, second.sessionId) === 0, 'it is idle')
    await openSession(t, url)
    t.ok(app.sessionManager.get(client.sessionId))
    t.notOk(app.sessionManager.get(second.sessionId), 'the idle one had to go')
    t.equal(its.aborted, 0)
    its.answer('for nobody')
    await until(() => activeRequests(app, client.sessionId) === 0, 'the call is over')
    for (let count = 0; count < 2; count++) {
      const { sessionId } = await openSession(t, url)
      await until(() => activeRequests(app, sessionId) === 0, 'it is idle')
    }
    t.notOk(app.sessionManager.get(client.sessionId), 'then it can go like any other')
  })

  t.test(`a call that broke off holds its session past its idle time, with responseMode ${responseMode}`, async (t) => {
    const { app, client, server } = await open(t, { responseMode }, { ttl: TTL })
    await breakOff(t, client, server)
    const start = Date.now()
    mock.timers.enable({ apis: ['Date'], now: start })
    t.teardown(() => mock.timers.reset())
    mock.timers.setTime(start + 1000 * TTL)
    t.equal(activeRequests(app, client.sessionId), 1)
    server().answer('for nobody')
    await until(() => activeRequests(app, client.sessionId) === 0, 'the call is over')
    t.equal(server().aborted, 0)
    mock.timers.setTime(start + 1001 * TTL)
    t.ok(app.sessionManager.get(client.sessionId), 'its idle time starts with the end of the call')
    mock.timers.setTime(start + 1001 * TTL + 1)
    t.notOk(app.sessionManager.get(client.sessionId))
  })

  t.test(`close() waits for a call that broke off, with responseMode ${responseMode}`, async (t) => {
    const { app, client, server } = await open(t, { responseMode }, { drainTimeout: 60_000 })
    await breakOff(t, client, server)
    let isClosed = false
    const closing = app.close().then(() => { isClosed = true })
    for (let round = 0; round < 20; round++) await turn()
    t.notOk(isClosed)
    t.equal(server().aborted, 0)
    server().answer('for nobody')
    await closing
    t.equal(server().aborted, 0)
    t.equal(server().closed, 1)
  })
}

t.test('a call that broke off before its first byte is there for a client that comes back, also while the app closes', async (t) => {
  const { app, client, server } = await open(t, { resumable: {} }, { drainTimeout: 60_000 })
  const stream = await client.post(call(2, 'wait'))
  await stream.see('id: ')
  stream.vanish()
  await until(() => stream.broken, 'the connection has gone')
  server().answer('kept')
  const rest = await (await client.get({ 'last-event-id': String(stream.events[0]?.id) })).end()
  t.match(rest.messages, [{ id: 2, result: { content: [{ text: 'kept' }] } }])
  client.agent.destroy()
  await app.close()
})

for (const responseMode of ['auto', 'sse'] as const) {
  for (const resumable of [false, {}] as const) {
    t.test(`a tool that asks a client that has gone ${resumable ? 'waits for it to come back' : 'is told so at once'}, with responseMode ${responseMode}`, async (t) => {
      const outcomes: string[] = []
      const { client, server } = await open(t, { responseMode, resumable })
      server().mcp.registerTool('wait and ask', {}, async ({ requestId, sendNotification }) => {
        await sendNotification({ method: 'notifications/message', params: { level: 'info', data: 'begun' } })
        await new Promise<string>((resolve) => { server().waiting.push({ promise: Promise.resolve(''), resolve }) })
        const params = { message: 'Still there?', requestedSchema: { type: 'object' as const, properties: {} } }
        const asked = server().mcp.server.elicitInput(params, { relatedRequestId: requestId })
        outcomes.push(await asked.then(({ action }) => action, (error: Error) => error.message))
        return { content: [] }
      })
      const stream = await client.post(call(2, 'wait and ask'))
      await stream.see('begun')
      stream.vanish()
      await until(() => stream.broken, 'the connection has gone')
      for (let round = 0; round < 2; round++) await (await client.post({ jsonrpc: '2.0', id: 3, method: 'ping' })).end()
      server().answer('go on')
      if (resumable) {
        const rest = await client.get({ 'last-event-id': String(stream.events.at(-1)?.id) })
        await rest.see('Still there?')
        await client.post({ jsonrpc: '2.0', id: rest.messages[0]?.id, result: { action: 'decline' } })
        await rest.end()
      }
      await until(() => outcomes.length > 0, 'the tool is told')
      t.strictSame(outcomes, [resumable ? 'decline' : 'The client cannot be asked elicitation/create: it has disconnected, and its stream cannot be resumed'])
    })
  }
}

t.test('progress, questions and answers of calls with one id stay on the stream of each', async (t) => {
  const { client } = await open(t, { responseMode: 'sse' })
  const streams = [await client.post(call(1, 'ask')), await client.post(call(1, 'ask'))]
  for (const stream of streams) await stream.see('elicitation/create')
  for (const [index, stream] of [...streams.entries()].reverse()) {
    const [question] = stream.messages
    await client.post({ jsonrpc: '2.0', id: question?.id, result: { action: 'accept', content: { name: `stream ${index}` } } })
  }
  for (const [index, stream] of streams.entries()) {
    await stream.end()
    t.match(stream.messages, [{ method: 'elicitation/create' }, { id: 1, result: { content: [{ text: `accept stream ${index}` }] } }])
  }
})

/** A call is made over a connection of its own, which breaks while it runs. */
async function breakOff (t: Test, client: HttpClient, server: EndpointApp['server']): Promise<void> {
  const other = new HttpClient(t, client.url)
  other.sessionId = client.sessionId
  const pending = other.post(call(2, 'wait'))
  pending.catch(() => {})
  await until(() => server().waiting.length === 1, 'the call has come')
  other.agent.destroy()
  // Twice there and back: the server knows by then.
  for (let round = 0; round < 2; round++) await (await client.post({ jsonrpc: '2.0', id: 3, method: 'ping' })).end()
}
