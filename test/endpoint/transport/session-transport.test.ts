import type { FastifyRequest } from 'fastify'
import { mock } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { ClusterUnavailableError } from '../../../lib/base/errors.js'
import { EventBuffer } from '../../../lib/endpoint/transport/event-buffer.js'
import type { ResponseMode } from '../../../lib/endpoint/options.js'
import { SessionTransport, type Incoming, type SessionTransportOptions } from '../../../lib/endpoint/transport/session-transport.js'
import type { EventLog, RequestId, Resumption } from '../../../lib/http/event-log.js'
import { createDeferred } from '../../helpers/waiting/deferred.js'
import { call, initialize, type Answer, type HttpClient } from '../../helpers/clients/http-client.js'
import { failure, news, parse, result, stageTransport } from '../../helpers/apps/transport-stage.js'
import { ToolServer } from '../../helpers/mcp-servers/tool-server.js'
import { ToolServer2 } from '../../helpers/mcp-servers/tool-server-2.js'
import { until } from '../../helpers/waiting/until.js'

const JSON_ONLY = { accept: 'application/json' }
const EVENTS_ONLY = { accept: 'text/event-stream' }
const CALL = 'tools/call'

class Log extends EventBuffer {
  readonly released: string[] = []

  constructor () {
    super({ maxEvents: 1000, maxBytes: 100_000 })
  }

  override release (streamId: string): void {
    this.released.push(streamId)
    super.release(streamId)
  }
}

/** A log that answers when the test says so, or fails. */
class SlowLog extends Log {
  next = createDeferred<Error | undefined>()

  override async after (lastEventId: string): Promise<Resumption | undefined> {
    const error = await this.next.promise
    if (error !== undefined) throw error
    return super.after(lastEventId)
  }
}

/** A log whose process has died since: all it knows is what is asked for. */
function createOldLog (pages: () => AsyncGenerator<Array<{ id: string, data: string }>>, pending: readonly RequestId[] = [], hasGap = false): EventLog {
  const read = pages()
  return {
    maxBytes: 1000,
    append: () => '',
    // It goes on where it was left.
    after: async () => ({ streamId: 'old', pending, hasGap, pages: () => ({ [Symbol.asyncIterator]: () => ({ next: () => read.next() }) }) }),
    release () {}
  }
}

async function rejectionOf (answer: Promise<Answer>): Promise<[number, string]> {
  const { status, text } = await (await answer).end()
  return [status, JSON.parse(text).message]
}

function lastId (answer: Answer): string {
  return answer.events.findLast(({ id }) => id !== undefined)?.id ?? ''
}

t.test('a request reaches the server, and its answer the client', async (t) => {
  const { transport, client, take, answer } = await stageTransport(t, { sessionId: 'one' })
  t.equal(transport.sessionId, 'one')
  await transport.start()
  const answered = client.post(call(7, 'echo'))
  const { message, context, id } = await take(CALL)
  t.strictSame([message, Object.keys(context)], [call(7, 'echo'), ['requestInfo']])
  await answer(id, 'hello')
  t.strictSame((await (await answered).end()).messages, [result(7, 'hello')])
})

t.test('a server of SDK 2 gets requests as it knows them, and says which revisions it speaks', async (t) => {
  const { transport, client, take, answer } = await stageTransport(t)
  transport.setSupportedProtocolVersions(['2025-11-25'])
  const answered = client.post(call(7, 'echo'))
  const { context, id } = await take(CALL)
  t.strictSame(Object.keys(context), ['request'])
  t.type(context['request'], Request)
  await answer(id, 'hello')
  await (await answered).end()
  t.strictSame(await rejectionOf(client.post(call(7, 'echo'), { 'mcp-protocol-version': '2025-06-18' })), [400, 'Bad Request: Unsupported protocol version: 2025-06-18 (supported versions: 2025-11-25)'])
})

t.test('what is not to be had is refused, and does not reach the server', async (t) => {
  const { client, received, take, answer } = await stageTransport(t)
  const invalid = 'Invalid Request: '
  t.strictSame(await rejectionOf(client.post({ jsonrpc: '2.0' })), [400, `${invalid}a message must have a method, a result or an error`])
  t.strictSame(await rejectionOf(client.post([call(1, 'echo'), initialize()])), [400, `${invalid}initialize must be sent on its own`])
  t.strictSame(await rejectionOf(client.post(call(1, 'echo'), { accept: 'text/html' })), [406, 'Not Acceptable: the client must accept application/json or text/event-stream'])
  for (const headers of [{ 'mcp-protocol-version': '1999-01-01' }, { 'mcp-protocol-version': '2025-11-25, 2025-06-18' }]) t.equal((await rejectionOf(client.post(call(1, 'echo'), headers)))[0], 400)
  t.strictSame(received, [])

  const opened = client.post(initialize(), { 'mcp-protocol-version': '1999-01-01' })
  await answer((await take('initialize')).id, 'opened')
  t.equal((await (await opened).end()).status, 200, 'what revision there is to be is only about to be said')
  t.strictSame(await rejectionOf(client.post(initialize())), [400, `${invalid}Server already initialized`])
})

t.test('a client that takes no answer may send what has none', async (t) => {
  const { client, received } = await stageTransport(t)
  const { status, text } = await (await client.post([news('a'), result(9, 'b')], { accept: 'text/html' })).end()
  t.strictSame([status, text], [202, ''])
  t.strictSame(received.map(({ message }) => message), [news('a'), result(9, 'b')])
})

t.test('what is said before there is a server is lost, and nothing worse', async (t) => {
  const { transport, client } = await stageTransport(t)
  transport.onmessage = undefined
  t.equal((await client.post(news('a'))).status, 202)
  t.equal((await client.post({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 1 } })).status, 202)
})

t.test('what a client takes, and how the endpoint answers', async (t) => {
  const both = {}
  const cases: Array<[ResponseMode, boolean, Record<string, string>, string]> = [
    ['auto', false, both, 'json'], ['auto', false, JSON_ONLY, 'json'], ['auto', false, EVENTS_ONLY, 'events'],
    ['sse', false, both, 'events'], ['sse', false, JSON_ONLY, 'json'], ['sse', false, EVENTS_ONLY, 'events'],
    ['json', false, both, 'json'], ['json', false, JSON_ONLY, 'json'], ['json', false, EVENTS_ONLY, 'events'],
    ['auto', true, both, 'events'], ['auto', true, JSON_ONLY, 'json'], ['json', true, both, 'json'], ['sse', true, both, 'events']
  ]
  for (const [responseMode, isResumable, headers, kind] of cases) {
    const { client, take, answer } = await stageTransport(t, { responseMode, log: isResumable ? new Log() : undefined })
    const answered = client.post(call(7, 'echo'), headers)
    await answer((await take(CALL)).id, 'hello')
    const response = await (await answered).end()
    t.equal(response.isJson ? 'json' : 'events', kind, `${responseMode} ${isResumable} ${JSON.stringify(headers)}`)
    t.strictSame(response.messages, [result(7, 'hello')])
  }
})

t.test('two calls with one id have each its own answer', async (t) => {
  const { client, take, answer } = await stageTransport(t)
  const first = client.post(call(1, 'first'))
  const one = await take(CALL)
  const second = client.post([call(1, 'second'), call(1, 'third'), call(2, 'fourth')])
  const [two, three, four] = [await take(CALL), await take(CALL), await take(CALL)]
  t.equal(one.id, 1)
  t.equal(new Set([one, two, three, four].map(({ id }) => id)).size, 4, 'the server can tell them apart')
  t.strictSame([two, three, four].map(({ message }) => 'params' in message && message.params), [call(1, 'second'), call(1, 'third'), call(2, 'fourth')].map((message) => 'params' in message && message.params))
  for (const [{ id }, text] of [[four, 'fourth'], [two, 'second'], [one, 'first'], [three, 'third']] as const) await answer(id, text)
  t.strictSame((await (await first).end()).messages, [result(1, 'first')])
  t.strictSame((await (await second).end()).messages, [result(2, 'fourth'), result(1, 'second'), result(1, 'third')])
  const again = client.post(call(1, 'again'))
  const five = await take(CALL)
  t.equal(five.id, 1, 'an id that is free is used as it is')
  await answer(five.id, 'again')
  await (await again).end()
})

t.test('a batch may hold anything', async (t) => {
  const { client, take, answer, received } = await stageTransport(t)
  const answered = client.post([news('a'), call(1, 'first'), result(9, 'b')])
  await answer((await take(CALL)).id, 'hello')
  t.strictSame((await (await answered).end()).messages, [result(1, 'hello')])
  t.strictSame(received.map(({ message }) => message), [news('a'), result(9, 'b')])
})

t.test('an error is an answer too', async (t) => {
  const { transport, client, take } = await stageTransport(t)
  const answered = client.post(call(1, 'echo'))
  await take(CALL)
  await transport.send(parse(failure(1, -32602, 'no such tool')))
  t.strictSame((await (await answered).end()).messages, [failure(1, -32602, 'no such tool')])
})

t.test('answers to nothing are ignored', async (t) => {
  const { transport, answer } = await stageTransport(t)
  await answer(99, 'to nobody')
  await transport.send(parse({ jsonrpc: '2.0', error: { code: 1, message: 'to nobody' } }))
})

t.test('a cancelled call ends, and its server is told under the id that it knows', async (t) => {
  const { client, take, received } = await stageTransport(t)
  const [first, second] = [client.post(call(1, 'first')), client.post(call(1, 'second'))]
  const [, two] = [await take(CALL), await take(CALL)]
  const cancel = { jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 1, reason: 'changed my mind' } }
  t.equal((await client.post(cancel)).status, 202)
  const { message } = await take('notifications/cancelled')
  t.strictSame(message, { ...cancel, params: { requestId: two.id, reason: 'changed my mind' } }, 'of those with one id, the last')
  t.strictSame((await (await second).end()).text, '')
  await client.post(cancel)
  await (await first).end()
  await client.post(cancel)
  await take('notifications/cancelled')
  t.strictSame((await take('notifications/cancelled')).message, cancel, 'one that is not in flight is left to the server')
  await client.post({ jsonrpc: '2.0', method: 'notifications/cancelled' })
  await take('notifications/cancelled')
  t.strictSame(received, [])
})

t.test('a client that takes nothing but JSON hears that its call is cancelled', async (t) => {
  const { client, take } = await stageTransport(t)
  const answered = client.post(call(1, 'first'), JSON_ONLY)
  await take(CALL)
  await client.post({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 1 } })
  t.strictSame((await (await answered).end()).messages, [failure(1, -32000, 'The request has been cancelled')])
})

t.test('a request is answered, whatever its method is called', async (t) => {
  const { client, take, answer } = await stageTransport(t)
  const first = client.post(call(1, 'first'))
  await take(CALL)
  const answered = client.post({ jsonrpc: '2.0', id: 5, method: 'notifications/cancelled', params: { requestId: 1 } })
  await answer((await take('notifications/cancelled')).id, 'no such method')
  t.strictSame((await (await answered).end()).messages, [result(5, 'no such method')])
  await answer(1, 'not cancelled')
  t.strictSame((await (await first).end()).messages, [result(1, 'not cancelled')])
})

t.test('messages of a call go with it, all others to the GET stream', async (t) => {
  const { transport, client, take, answer, notify } = await stageTransport(t)
  const stream = await client.get()
  const answered = client.post(call(1, 'first'))
  await take(CALL)
  await notify('of the call', 1)
  await notify('of no call')
  await transport.send(parse({ jsonrpc: '2.0', id: 50, method: 'roots/list' }))
  await transport.send(parse({ jsonrpc: '2.0', id: 51, method: 'elicitation/create' }), { relatedRequestId: 1 })
  await stream.see('roots/list')
  await answer(1, 'hello')
  const response = await (await answered).end()
  t.strictSame(response.messages, [news('of the call'), { jsonrpc: '2.0', id: 51, method: 'elicitation/create' }, result(1, 'hello')])
  t.strictSame(stream.messages, [news('of no call'), { jsonrpc: '2.0', id: 50, method: 'roots/list' }])
  await t.rejects(notify('too late', 1), { message: 'Request 1 has been answered or cancelled' })
})

t.test('of a call that is answered with JSON, they go to the GET stream', async (t) => {
  const { client, take, answer, notify } = await stageTransport(t, { responseMode: 'json' })
  const stream = await client.get()
  const answered = client.post(call(1, 'first'))
  await take(CALL)
  await notify('of the call', 1)
  await stream.see('of the call')
  await answer(1, 'hello')
  t.strictSame((await (await answered).end()).messages, [result(1, 'hello')])
})

t.test('a question that cannot reach the client fails at once, and a notification is lost', async (t) => {
  const ask = (transport: SessionTransport, relatedRequestId?: RequestId): Promise<void> =>
    transport.send(parse({ jsonrpc: '2.0', id: 50, method: 'roots/list' }), relatedRequestId === undefined ? {} : { relatedRequestId })
  const { transport, client, take, notify, incoming } = await stageTransport(t)
  await notify('to nobody')
  await t.rejects(ask(transport), { message: 'The client cannot be asked roots/list: it has no GET stream open, and the request is not part of a call (relatedRequestId)' })

  const answered = client.post(call(1, 'first'), JSON_ONLY)
  await take(CALL)
  await t.rejects(ask(transport, 1), { message: 'The client cannot be asked roots/list: it has no GET stream open, and the call is answered with JSON, which holds nothing but the answer' })

  client.post(call(2, 'second')).catch(() => {})
  await take(CALL)
  const record = incoming.at(-1)?.record
  incoming.at(-1)?.request.raw.socket.destroy()
  await until(() => record?.isResponseOver === true, 'the connection has gone')
  await notify('to nobody', 2)
  await t.rejects(ask(transport, 2), { message: 'The client cannot be asked roots/list: it has disconnected, and its stream cannot be resumed' })
  await transport.close()
  await (await answered).end()
})

t.test('a question that cannot go out is not waited for', async (t) => {
  const { transport, client } = await stageTransport(t, { barrier: async () => { throw new ClusterUnavailableError() } })
  await client.get()
  await t.rejects(transport.send({ jsonrpc: '2.0', id: 1, method: 'roots/list' }), ClusterUnavailableError)
  t.equal(transport.isBusy, false)
})

for (const [sdk, createServer] of [['SDK 1', () => new ToolServer()], ['SDK 2', () => new ToolServer2()]] as const) {
  t.test(`of a list that changes while nothing can go out, the server of ${sdk} learns that its client does not`, async (t) => {
    const { transport } = await stageTransport(t, { barrier: async () => { throw new ClusterUnavailableError() } })
    const errors: Error[] = []
    const server = createServer()
    const { mcp } = server
    mcp.server.onerror = (error) => errors.push(error)
    await mcp.connect(transport)
    // It looks at no promise here: one that is rejected would end the process.
    server.addTool('late')
    await until(() => errors.length > 0, 'it has failed')
    t.type(errors[0], ClusterUnavailableError)
    await t.rejects(mcp.server.sendLoggingMessage({ level: 'info', data: 'of which the app asks' }), ClusterUnavailableError)
  })
}

t.test('what has no answer waits for the barrier all the same', async (t) => {
  const held = createDeferred<Error | undefined>()
  const { client, incoming } = await stageTransport(t, {
    async barrier () {
      const error = await held.promise
      if (error !== undefined) throw error
    }
  })
  const first = client.post(news('a'))
  await until(() => incoming.length > 0, 'it has come in')
  await turn()
  t.equal(incoming[0]?.reply.raw.headersSent, false)
  held.resolve(undefined)
  t.equal((await first).status, 202)

  const lost = await stageTransport(t, { barrier: async () => { throw new ClusterUnavailableError() } })
  t.equal((await lost.client.post(news('a'))).status, 503)
})

t.test('the GET stream', async (t) => {
  const { transport, client, notify, log } = await stageTransport(t)
  t.strictSame(await rejectionOf(client.get({ accept: 'application/json' })), [406, 'Not Acceptable: the client must accept text/event-stream'])
  t.equal((await client.get({ 'mcp-protocol-version': '1999-01-01' })).status, 400)
  const first = await client.get()
  t.match(first.headers, { 'content-type': 'text/event-stream' })
  const second = await client.get({ 'last-event-id': '' })
  await first.end()
  t.equal(first.broken, false, 'the newest wins')
  await notify('to the second')
  await second.see('to the second')
  t.equal(first.text, '')
  t.notMatch(second.text, /^id:/m, 'nothing is kept')
  transport.endStream()
  await second.end()
  t.equal(second.broken, false)
  t.notOk(log.some((line) => line.includes('"level":40')))
})

t.test('a GET stream that can be resumed is primed, for clients that know of it', async (t) => {
  const log = new Log()
  const { client, notify } = await stageTransport(t, { log })
  const old = await client.get({ 'mcp-protocol-version': '2025-06-18' })
  await notify('a')
  await old.see('data: {')
  t.equal(old.events.length, 1)
  const stream = await client.get()
  await stream.see('retry: 500')
  stream.vanish()
  await stream.end()
  await notify('b')
  const resumed = await client.get({ 'last-event-id': lastId(stream) })
  await resumed.see('data: {')
  t.strictSame(resumed.messages, [news('b')])
  const unknown = await client.get({ 'last-event-id': 'never given' })
  await unknown.see('retry: 500')
  await resumed.end()
  await notify('c')
  await unknown.see('"c"')
  t.strictSame(unknown.messages, [news('c')], 'of an event that is not known, a fresh stream')
  t.strictSame(log.released, [])
})

t.test('a call that is over and forgotten cannot be resumed, and is no GET stream', async (t) => {
  const log = new Log()
  const { client, take, answer } = await stageTransport(t, { log })
  const answered = client.post(call(1, 'first'))
  await answer((await take(CALL)).id, 'hello')
  const id = lastId(await (await answered).end())
  for (let i = 0; i < 1001; i++) log.append('get', '', [])
  t.strictSame(await rejectionOf(client.get({ 'last-event-id': id })), [400, 'Invalid Request: the call of this Last-Event-ID is over, and what it said is not kept any more'])
  const other = await stageTransport(t)
  t.equal((await other.client.get({ 'last-event-id': id })).status, 200, 'where nothing is kept, it means nothing')
})

t.test('what is primed is what the client speaks', async (t) => {
  const cases: Array<[Record<string, string>, object, boolean]> = [
    [{}, call(1, 'a'), true],
    [{ 'mcp-protocol-version': '2025-06-18' }, call(1, 'a'), false],
    [{ 'mcp-protocol-version': '' }, call(1, 'a'), false]
  ]
  for (const [headers, body, isPrimed] of cases) {
    const { client, take, answer } = await stageTransport(t, { log: new Log() })
    const answered = client.post(body, headers)
    if (headers['mcp-protocol-version'] === '') {
      t.equal((await answered).status, 400)
      continue
    }
    await answer((await take(CALL)).id, 'hello')
    t.equal((await (await answered).end()).text.includes('retry:'), isPrimed, JSON.stringify(headers))
  }
  for (const [body, isPrimed] of [
    [initialize(1, '2025-11-25'), true], [initialize(1, '2025-06-18'), false], [initialize(1, '2099-01-01'), false],
    [{ jsonrpc: '2.0', id: 1, method: 'initialize', params: {} }, false], [{ jsonrpc: '2.0', id: 1, method: 'initialize' }, false],
    [[call(1, 'a')], false]
  ] as const) {
    const { client, take, answer } = await stageTransport(t, { log: new Log() })
    client.headers = {}
    const answered = client.post(body)
    await answer((await take(Array.isArray(body) ? CALL : 'initialize')).id, 'hello')
    t.equal((await (await answered).end()).text.includes('retry:'), isPrimed, JSON.stringify(body))
  }
})

/** A call whose client has got an id and gone. */
async function loseCall (t: Test, options: Partial<SessionTransportOptions> = {}): Promise<Awaited<ReturnType<typeof stageTransport>> & { lost: Answer, id: RequestId }> {
  const stage = await stageTransport(t, { log: new Log(), ...options })
  const lost = await stage.client.post(call(1, 'first'))
  const { id } = await stage.take(CALL)
  await lost.see('retry:')
  lost.vanish()
  await until(() => stage.incoming[0]?.record.isResponseOver === true, 'the server has seen it')
  return { ...stage, lost, id }
}

t.test('a call whose client has gone is answered when it comes back', async (t) => {
  const log = new Log()
  const { client, lost, id, answer, notify, incoming } = await loseCall(t, { log })
  await notify('missed', id)
  const resumed = await client.get({ 'last-event-id': lastId(lost) })
  await resumed.see('missed')
  await notify('heard', id)
  await answer(id, 'hello')
  await resumed.end()
  t.strictSame([resumed.messages, resumed.broken], [[news('missed'), news('heard'), result(1, 'hello')], false])
  await until(() => incoming.at(-1)?.record.isResponseOver === true, 'all of it is sent')
  t.equal(log.released.length, 1, 'and need not be kept')
})

t.test('also when it has been answered meanwhile', async (t) => {
  const log = new Log()
  const { client, lost, id, answer, notify } = await loseCall(t, { log })
  await notify('missed', id)
  await answer(id, 'hello')
  t.strictSame(log.released, [])
  for (let round = 0; round < 2; round++) {
    const resumed = await (await client.get({ 'last-event-id': lastId(lost) })).end()
    t.strictSame(resumed.messages, [news('missed'), result(1, 'hello')])
  }
  await until(() => log.released.length > 0, 'it need not be kept')
})

t.test('and while its answer is on its way into the log', async (t) => {
  const held = createDeferred()
  let isHeld = false
  const { client, lost, id, answer } = await loseCall(t, { barrier: () => isHeld ? held.promise : undefined })
  isHeld = true
  const answered = answer(id, 'hello')
  const resumed = await client.get({ 'last-event-id': lastId(lost) })
  await turn()
  held.resolve()
  await answered
  t.strictSame((await resumed.end()).messages, [result(1, 'hello')])
})

t.test('one that goes again before the answer may come back again', async (t) => {
  const log = new Log()
  const { client, lost, id, answer, incoming } = await loseCall(t, { log })
  const second = await client.get({ 'last-event-id': lastId(lost) })
  second.vanish()
  await until(() => incoming.at(-1)?.record.isResponseOver === true, 'the server has seen it')
  await answer(id, 'hello')
  const third = await (await client.get({ 'last-event-id': lastId(lost) })).end()
  t.strictSame(third.messages, [result(1, 'hello')])
})

t.test('what a process that has died was working on is answered with an error, which is kept', async (t) => {
  const old = createOldLog(async function * () { yield [{ id: '1', data: JSON.stringify(news('a')) }] }, [7, 'eight'])
  const kept: unknown[] = []
  const { client } = await stageTransport(t, {
    log: {
      ...old,
      append (streamId, data, pending) {
        kept.push([streamId, JSON.parse(data), pending])
        return `id-${kept.length}`
      }
    }
  })
  const resumed = await (await client.get({ 'last-event-id': 'old' })).end()
  const died = [failure(7, -32000, 'The process that worked on this request has died'), failure('eight', -32000, 'The process that worked on this request has died')]
  t.strictSame(resumed.messages, [news('a'), ...died])
  t.strictSame(resumed.events.map(({ id }) => id), ['1', 'id-1', 'id-2'], 'or the client would come back for it without end')
  t.strictSame(kept, [['old', died[0], ['eight']], ['old', died[1], []]])
  t.equal(resumed.broken, false)
})

t.test('204 for a stream of which there is nothing more to come, and no stream', async (t) => {
  const log = new Log()
  const { client, take, answer } = await stageTransport(t, { log })
  const answered = client.post(call(1, 'echo'))
  await answer((await take(CALL)).id, 'hello')
  const seen = await (await answered).end()
  const cancelled = await client.post(call(2, 'wait'))
  await take(CALL)
  await client.post({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 2 } })
  for (const over of [seen, await cancelled.end()]) {
    const again = await (await client.get({ 'last-event-id': lastId(over) })).end()
    t.strictSame([again.status, again.headers['content-type'], again.text], [204, undefined, ''])
  }

  const { client: forgotten } = await stageTransport(t, { log: createOldLog(async function * () {}, [], true) })
  t.equal((await forgotten.get({ 'last-event-id': 'a' })).status, 400, 'unless it may have said more, which is lost')

  const { client: late, incoming } = await stageTransport(t, {
    log: createOldLog(async function * () {
      incoming[0]?.request.raw.socket.destroy()
      await until(() => incoming[0]?.record.isResponseOver === true, 'the client has gone')
    })
  })
  await t.rejects(late.get({ 'last-event-id': 'a' }), 'nor anything for a client that has gone meanwhile')
  t.equal(incoming[0]?.reply.raw.headersSent, false)
})

t.test('a log that fails', async (t) => {
  const slow = new SlowLog()
  slow.next.resolve(new ClusterUnavailableError())
  const { client } = await stageTransport(t, { log: slow })
  t.equal((await client.get({ 'last-event-id': 'a' })).status, 503)

  const broken = await stageTransport(t, { log: createOldLog(async function * () { throw new ClusterUnavailableError() }) })
  t.equal((await broken.client.get({ 'last-event-id': 'a' })).status, 503, 'at the first page')

  const cut = await stageTransport(t, {
    log: createOldLog(async function * () {
      yield [{ id: '1', data: JSON.stringify(news('a')) }]
      throw new ClusterUnavailableError()
    })
  })
  t.ok((await (await cut.client.get({ 'last-event-id': 'a' })).end()).broken, 'on the way')
})

t.test('a log that fails while a call is taken up again', async (t) => {
  class BrokenLog extends Log {
    override async after (lastEventId: string): Promise<Resumption | undefined> {
      const found = await super.after(lastEventId)
      return found && { streamId: found.streamId, pending: [], async * pages () { throw new ClusterUnavailableError() } }
    }
  }
  const { client, lost } = await loseCall(t, { log: new BrokenLog() })
  const resumed = await client.get({ 'last-event-id': lastId(lost) })
  t.ok((await resumed.end()).broken)
})

t.test('a session that ends while an event is looked for, and a client that goes', async (t) => {
  const log = new SlowLog()
  const { transport, client, incoming } = await stageTransport(t, { log })
  client.get({ 'last-event-id': 'a' }).catch(() => {})
  await until(() => incoming.length === 1, 'it has come in')
  incoming[0]?.request.raw.socket.destroy()
  await until(() => incoming[0]?.record.isResponseOver === true, 'the client has gone')
  log.next.resolve(undefined)
  await turn()
  t.equal(incoming[0]?.reply.raw.headersSent, false)

  log.next = createDeferred()
  const late = client.get({ 'last-event-id': 'a' })
  await until(() => incoming.length === 2, 'it has come in')
  await transport.close()
  log.next.resolve(undefined)
  t.strictSame(await rejectionOf(late), [404, 'Session not found (HTTP 404)'])
})

t.test('a server may end streams whose clients come back', async (t) => {
  const { client, take, answer } = await stageTransport(t, { log: new Log() })
  const stream = await client.get()
  await stream.see('retry:')
  const polled = client.post(call(1, 'first'))
  const { context, id } = await take(CALL)
  for (const key of ['closeSSEStream', 'closeStandaloneSSEStream']) {
    const close = context[key]
    if (typeof close === 'function') close()
  }
  const first = await (await polled).end()
  await stream.end()
  t.strictSame([first.messages, first.broken, stream.broken], [[], false, false])
  await answer(id, 'hello')
  t.strictSame((await (await client.get({ 'last-event-id': lastId(first) })).end()).messages, [result(1, 'hello')])

  for (const [options, headers] of [
    [{}, {}], [{ log: new Log() }, JSON_ONLY], [{ log: new Log() }, { 'mcp-protocol-version': '2025-06-18' }]
  ] as const) {
    const other = await stageTransport(t, options)
    const answered = other.client.post(call(1, 'first'), headers)
    const { context } = await other.take(CALL)
    t.strictSame(Object.keys(context), ['requestInfo'], 'not where they cannot')
    await other.answer(1, 'hello')
    await (await answered).end()
  }
})

/** A call whose connection breaks before there is an answer. */
async function breakCall (client: HttpClient, incoming: readonly Incoming[], id: number): Promise<void> {
  const before = incoming.length
  client.post(call(id, 'broken')).catch(() => {})
  await until(() => incoming.length > before, 'it has come in')
  const one = incoming.at(-1)
  one?.request.raw.socket.destroy()
  await until(() => one?.record.isResponseOver === true, 'the server has seen it')
}

t.test('a call goes on when its connection breaks', async (t) => {
  const { client, take, received, answer, incoming } = await stageTransport(t)
  await breakCall(client, incoming, 1)
  await take(CALL)
  t.strictSame(received, [])
  let isOver = false
  incoming[0]?.record.onOver(() => { isOver = true })
  t.equal(isOver, false, 'and is counted')
  await answer(1, 'to nobody')
  t.equal(isOver, true)
})

t.test('with cancelOnDisconnect it is cancelled', async (t) => {
  const { transport, client, take, received, incoming, answer } = await stageTransport(t, { cancelOnDisconnect: true })
  await breakCall(client, incoming, 1)
  await take(CALL)
  t.strictSame((await take('notifications/cancelled')).message, { jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 1, reason: 'The client has disconnected' } })
  let isOver = false
  incoming[0]?.record.onOver(() => { isOver = true })
  t.equal(isOver, true)

  const answered = client.post(call(2, 'second'))
  await answer((await take(CALL)).id, 'hello')
  await (await answered).end()
  t.strictSame(received, [], 'one that is answered is not')

  const [gone] = incoming
  if (gone !== undefined) transport.post(gone)
  t.strictSame(received.map(({ message }) => 'method' in message && message.method), [CALL, 'notifications/cancelled'], 'also when it was gone before')

  const polling = await stageTransport(t, { cancelOnDisconnect: true, log: new Log() })
  const polled = polling.client.post(call(1, 'first'))
  const { context, id } = await polling.take(CALL)
  if (typeof context['closeSSEStream'] === 'function') context['closeSSEStream']()
  await (await polled).end()
  await polling.answer(id, 'hello')
  t.strictSame(polling.received, [], 'nor one whose server has let go of it')
})

t.test('with cancelOnDisconnect, a client that comes back learns that its call has been cancelled', async (t) => {
  const { client, take } = await stageTransport(t, { cancelOnDisconnect: true, log: new Log() })
  const lost = await client.post(call(1, 'first'))
  await take(CALL)
  await lost.see('id: ')
  lost.vanish()
  await take('notifications/cancelled')
  const resumed = await (await client.get({ 'last-event-id': lastId(lost) })).end()
  t.strictSame(resumed.messages, [failure(1, -32000, 'The request has been cancelled')])
})

t.test('whoever is not asked any more loses the GET stream at a heartbeat', async (t) => {
  mock.timers.enable({ apis: ['setInterval'] })
  t.teardown(() => mock.timers.reset())
  for (const end of ['somebody else', 'an error']) {
    let mayListen = async (): Promise<boolean> => true
    const asked: string[] = []
    const { client } = await stageTransport(t, {
      heartbeatInterval: 1000,
      mayListen (request) {
        asked.push(String(request.headers['x-who']))
        return mayListen()
      }
    })
    const stream = await client.get({ 'x-who': 'me' })
    mock.timers.tick(1000)
    await stream.see(':\n\n')
    await turn()
    t.notOk(stream.ended)
    mayListen = async () => {
      if (end === 'an error') throw new Error('cannot say')
      return false
    }
    mock.timers.tick(1000)
    await stream.end()
    t.strictSame([stream.broken, asked], [false, ['me', 'me']], end)
  }
})

t.test('a session that ends answers what is running and ends its streams', async (t) => {
  let closed = 0
  const { transport, client, take, answer, incoming } = await stageTransport(t)
  transport.onclose = () => { closed++ }
  const stream = await client.get()
  const [first, second] = [client.post([call(1, 'first'), call(2, 'second')], JSON_ONLY), client.post(call(1, 'third'), EVENTS_ONLY)]
  for (let i = 0; i < 3; i++) await take(CALL)
  let isAsked = false
  transport.ask(parse(call('restore-1', 'asked')), requestOf(incoming)).then(() => { isAsked = true })
  const closing = transport.close()
  t.equal(transport.close(), closing)
  await closing
  await turn()
  t.strictSame([closed, isAsked], [1, true])
  t.strictSame((await (await first).end()).messages, [failure(1, -32001, 'Session closed'), failure(2, -32001, 'Session closed')])
  t.strictSame((await (await second).end()).messages, [failure(1, -32001, 'Session closed')])
  t.equal((await stream.end()).broken, false)
  await answer(1, 'too late')
  t.strictSame(await rejectionOf(client.post(call(1, 'too late'))), [404, 'Session not found (HTTP 404)'])
  t.strictSame(await rejectionOf(client.get()), [404, 'Session not found (HTTP 404)'])
})

function requestOf (incoming: readonly Incoming[]): FastifyRequest {
  const [first] = incoming
  if (first === undefined) throw new Error('No request has come in')
  return first.request
}

t.test('what has been said before can be said again', async (t) => {
  const { transport, client, take, answer, incoming, received, notify } = await stageTransport(t)
  await client.post(news('a'))
  received.length = 0
  const request = requestOf(incoming)
  let isAnswered = false
  const asked = transport.ask(parse(initialize()), request).then(() => { isAnswered = true })
  const { context } = await take('initialize')
  t.strictSame(Object.keys(context), ['requestInfo'])
  await notify('lost', 1)
  const answered = client.post(call(1, 'meanwhile'))
  const { id } = await take(CALL)
  t.not(id, 1, 'a call of the client is another one')
  t.equal(isAnswered, false)
  await answer(1, 'opened')
  await asked
  await answer(id, 'hello')
  t.strictSame((await (await answered).end()).messages, [result(1, 'hello')])
  await transport.ask(parse(news('a')), request)
  t.strictSame(received.map(({ message }) => message), [news('a')])
  t.equal((await client.post(initialize())).status, 400, 'it is initialized')
  transport.onmessage = undefined
  await transport.ask(parse(news('a')), request)
})

t.test('a call that is being asked cannot be cancelled by the client', async (t) => {
  const { transport, client, take, answer, incoming } = await stageTransport(t)
  await client.post(news('a'))
  const asked = transport.ask(parse(call(1, 'asked')), requestOf(incoming))
  const cancel = { jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 1 } }
  await client.post(cancel)
  t.strictSame((await take('notifications/cancelled')).message, cancel)
  await answer(1, 'hello')
  await asked
})

t.test('each message is seen before the server gets it', async (t) => {
  const seen: string[] = []
  const stage = await stageTransport(t, { onClientMessage: (message) => { seen.push(`${JSON.stringify(message)} ${stage.received.length}`) } })
  await stage.client.post([news('a'), news('b')])
  t.strictSame(seen, [`${JSON.stringify(news('a'))} 0`, `${JSON.stringify(news('b'))} 1`])
})

t.test('who opens a session sees the answer before it goes out', async (t) => {
  const opened: object[] = []
  const stage = await stageTransport(t, { responseMode: 'sse' })
  stage.postOptions = {
    onOpened (answer) {
      opened.push(answer)
      stage.incoming[0]?.reply.header('mcp-session-id', 'one')
    }
  }
  const answered = stage.client.post(initialize())
  const { id } = await stage.take('initialize')
  await turn()
  await stage.notify('first', id)
  await turn()
  t.strictSame(opened, [])
  await stage.answer(id, 'opened')
  const response = await (await answered).end()
  t.strictSame(opened, [result(1, 'opened')])
  t.equal(response.headers['mcp-session-id'], 'one')
  t.strictSame(response.messages, [news('first'), result(1, 'opened')])
})

t.test('a caller who lacks a scope is told so, and the server hears nothing', async (t) => {
  const { transport, client, received, take, answer, incoming } = await stageTransport(t)
  const asked: unknown[] = []
  transport.setScopeChallengeResolver(async ({ request, ...rest }) => {
    asked.push(rest)
    if (request.id === 3) throw new Error('cannot say')
    return request.id === 2 ? { scopes: ['admin'] } : undefined
  })
  const refused = await (await client.post([call(1, 'a'), call(2, 'b')])).end()
  t.strictSame([refused.status, refused.headers['www-authenticate']], [403, 'Bearer error="insufficient_scope", error_description="Insufficient scope", scope="admin"'])
  t.equal((await client.post(call(3, 'c'))).status, 500)
  t.strictSame([received, asked], [[], [{}, {}, {}]])

  const answered = client.post(call(1, 'a'))
  await answer((await take(CALL)).id, 'hello')
  t.strictSame((await (await answered).end()).messages, [result(1, 'hello')])
  t.equal((await client.post(news('a'))).status, 202)
  t.equal(incoming.length, 4)
})

t.test('a session that ends while scopes are looked up', async (t) => {
  const { transport, client, received } = await stageTransport(t)
  const held = createDeferred()
  let isAsked = false
  transport.setScopeChallengeResolver(async () => {
    isAsked = true
    await held.promise
    return undefined
  })
  const answered = client.post(call(1, 'a'))
  await until(() => isAsked, 'scopes are looked up')
  await transport.close()
  held.resolve()
  t.strictSame(await rejectionOf(answered), [404, 'Session not found (HTTP 404)'])
  t.strictSame(received, [])
})

t.test('a client that reads too slowly is cut off, and the log says so', async (t) => {
  for (const isCall of [true, false]) {
    const { client, take, notify, log } = await stageTransport(t, { maxBuffered: 1000 })
    const answer = isCall ? client.post(call(1, 'a')) : client.get()
    if (isCall) {
      await take(CALL)
      await notify('first', 1)
    }
    const response = await answer
    response.raw.pause()
    const isCut = (): boolean => log.some((line) => line.includes('A stream was cut off: its client reads too slowly or not at all, see the option maxBuffered'))
    for (let i = 0; i < 1000 && !isCut(); i++) {
      await notify('x'.repeat(100_000), isCall ? 1 : undefined)
      await turn()
    }
    t.ok(isCut())
    t.match(JSON.parse(log.find((line) => line.includes('cut off')) ?? ''), { level: 40, waiting: Number })
    response.raw.resume()
    t.ok((await response.end()).broken)
  }
})
