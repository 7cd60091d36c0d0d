import type { FastifyReply } from 'fastify'
import { mock } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { OwnerFailedError } from '../../../lib/base/errors.js'
import { EventBuffer } from '../../../lib/endpoint/transport/event-buffer.js'
import { Exchange, type AnswerMode, type Call } from '../../../lib/endpoint/transport/exchange.js'
import type { Answer, JSONRPCMessage } from '../../../lib/endpoint/transport/json-rpc.js'
import { Outlet, type Barrier } from '../../../lib/endpoint/transport/outlet.js'
import { createDeferred } from '../../helpers/waiting/deferred.js'
import { serveRequest, type ServedRequest } from '../../helpers/apps/served-request.js'

const BEAT = 15_000

interface Options {
  readonly mode?: AnswerMode
  readonly calls?: readonly Call[]
  readonly log?: EventBuffer
  readonly isPrimed?: boolean
  readonly barrier?: Barrier
  readonly heartbeatInterval?: number
  readonly holdHead?: boolean
  readonly onAnswer?: (answer: Answer, reply: FastifyReply) => void
  /** Runs before the event loop turns. */
  readonly begin?: (exchange: Exchange, reply: FastifyReply) => void
}

interface Scene extends ServedRequest {
  readonly exchange: Exchange
  readonly settled: () => number
}

const FIRST: Call = { clientId: 1, serverId: 1 }
const SECOND: Call = { clientId: 1, serverId: 'alias' }

/** A POST of two calls with one id, unless a test says otherwise. */
async function open (t: Test, options: Options = {}): Promise<Scene> {
  const { mode = 'auto', calls = [FIRST, SECOND], log, isPrimed = false, barrier, heartbeatInterval = 0, holdHead = false, onAnswer, begin } = options
  const exchanges: Exchange[] = []
  let settled = 0
  const served = await serveRequest(t, {
    handle (_request, reply) {
      const exchange = new Exchange({
        reply,
        outlet: new Outlet({ streamId: 'a', log, barrier, retryInterval: 500 }),
        mode,
        isPrimed,
        stream: { heartbeatInterval, maxBuffered: 1000, holdHead },
        onAnswer: onAnswer && ((answer) => onAnswer(answer, reply)),
        isBatch: calls.length > 1,
        onSettled: () => { settled++ }
      })
      exchanges.push(exchange)
      for (const call of calls) exchange.add(call)
      exchange.begin()
      begin?.(exchange, reply)
    }
  })
  const [exchange] = exchanges
  if (exchange === undefined) throw new Error('No request has come in')
  return { ...served, exchange, settled: () => settled }
}

function answerOf (call: Call, text: string): Answer {
  return { jsonrpc: '2.0', id: call.serverId, result: { text } }
}

function received (text: string, id: number | string = 1): object {
  return { jsonrpc: '2.0', id, result: { text } }
}

const NEWS: JSONRPCMessage = { jsonrpc: '2.0', method: 'notifications/message', params: { data: 'news' } }
const CANCELLED = { jsonrpc: '2.0', id: 1, error: { code: -32000, message: 'The request has been cancelled' } }

t.test('an answer that is the first thing to say is JSON', async (t) => {
  for (const mode of ['auto', 'json'] as const) {
    const { answer, exchange, settled } = await open(t, { mode, calls: [SECOND], begin: (exchange) => exchange.answer(SECOND, answerOf(SECOND, 'one')) })
    const response = await (await answer).end()
    t.equal(response.headers['content-type'], 'application/json; charset=utf-8')
    t.strictSame(JSON.parse(response.text), received('one'), 'under the id that the client gave')
    t.strictSame([exchange.isPending, settled()], [false, 1])
  }
})

t.test('answers of a batch are one JSON array, in the order in which they came', async (t) => {
  const { answer, exchange, settled } = await open(t)
  t.strictSame(Array.from(exchange.calls), [FIRST, SECOND])
  exchange.answer(SECOND, answerOf(SECOND, 'second'))
  await turn()
  t.strictSame([exchange.isPending, settled()], [true, 0])
  exchange.answer(FIRST, answerOf(FIRST, 'first'))
  t.strictSame((await (await answer).end()).messages, [received('second'), received('first')])
  t.strictSame(Array.from(exchange.calls), [])
})

t.test('in events, each answer is an event', async (t) => {
  const { answer, exchange, settled } = await open(t, { mode: 'events' })
  exchange.answer(SECOND, answerOf(SECOND, 'second'))
  const response = await answer
  await response.see('second')
  exchange.answer(FIRST, answerOf(FIRST, 'first'))
  await response.end()
  t.match(response.headers, { 'content-type': 'text/event-stream' })
  t.strictSame([response.messages, settled()], [[received('second'), received('first')], 1])
})

t.test('a message on the way makes a stream, into which goes what was there already', async (t) => {
  const { answer, exchange } = await open(t)
  t.ok(exchange.takesMessages)
  exchange.answer(FIRST, answerOf(FIRST, 'first'))
  exchange.say(NEWS)
  exchange.answer(SECOND, answerOf(SECOND, 'second'))
  const response = await (await answer).end()
  t.equal(response.isJson, false)
  t.strictSame(response.messages, [received('first'), NEWS, received('second')])
})

t.test('what takes longer than a heartbeat becomes a stream', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  const slow = await open(t, { calls: [FIRST], heartbeatInterval: BEAT })
  mock.timers.tick(BEAT)
  const response = await slow.answer
  t.equal(response.headers['content-type'], 'text/event-stream')
  slow.exchange.answer(FIRST, answerOf(FIRST, 'one'))
  t.strictSame((await response.end()).messages, [received('one')])

  for (const options of [{ heartbeatInterval: 0 }, { mode: 'json' as const }, { holdHead: true }]) {
    const { answer, exchange, reply } = await open(t, { calls: [FIRST], heartbeatInterval: BEAT, ...options })
    mock.timers.tick(BEAT)
    await turn()
    t.notOk(reply.raw.headersSent)
    exchange.answer(FIRST, answerOf(FIRST, 'one'))
    t.ok((await (await answer).end()).isJson, JSON.stringify(options))
  }

  const quick = await open(t, { calls: [FIRST], heartbeatInterval: BEAT })
  quick.exchange.answer(FIRST, answerOf(FIRST, 'one'))
  mock.timers.tick(BEAT)
  t.ok((await (await quick.answer).end()).isJson)
})

t.test('a cancelled call is not answered, unless the client takes nothing but JSON', async (t) => {
  for (const mode of ['auto', 'events'] as const) {
    const { answer, settled } = await open(t, { mode, calls: [FIRST], begin: (exchange) => exchange.cancel(FIRST) })
    const response = await (await answer).end()
    t.match(response.headers, { 'content-type': 'text/event-stream' })
    t.strictSame([response.text, settled()], ['', 1], mode)
  }
  const { answer, exchange, settled } = await open(t, { mode: 'json', calls: [FIRST] })
  exchange.cancel(FIRST)
  exchange.cancel(FIRST)
  t.strictSame((await (await answer).end()).messages, [CANCELLED])
  t.equal(settled(), 1)
})

t.test('an answer that is not JSON becomes an error, and nobody waits for it', async (t) => {
  const circular: Record<string, unknown> = {}
  circular['self'] = circular
  for (const result of [{ count: 10n }, circular]) {
    for (const mode of ['auto', 'json', 'events'] as const) {
      const answers: Answer[] = []
      const { answer, settled } = await open(t, {
        mode, calls: [SECOND], onAnswer: (answer) => { answers.push(answer) }, begin: (exchange) => exchange.answer(SECOND, { jsonrpc: '2.0', id: SECOND.serverId, result })
      })
      const { messages } = await (await answer).end()
      t.match(messages, [{ id: 1, error: { code: -32603, message: /^The answer is not JSON: .*(BigInt|circular)/ } }], mode)
      t.strictSame([answers.length, settled()], [1, 1])
      t.strictSame(answers, messages, 'what it goes by is what the client gets')
    }
  }
})

t.test('one cancelled call of a batch', async (t) => {
  const auto = await open(t)
  auto.exchange.cancel(FIRST)
  auto.exchange.answer(SECOND, answerOf(SECOND, 'second'))
  const { isJson, text } = await (await auto.answer).end()
  t.strictSame([isJson, JSON.parse(text)], [true, [received('second')]], 'it was a batch, and is answered as one')
  const json = await open(t, { mode: 'json' })
  json.exchange.answer(SECOND, answerOf(SECOND, 'second'))
  json.exchange.cancel(FIRST)
  t.strictSame((await (await json.answer).end()).messages, [received('second'), CANCELLED])
})

t.test('who still waits is kept with each event', async (t) => {
  const log = new EventBuffer({ maxEvents: 100, maxBytes: 1000 })
  const third = { clientId: 'three', serverId: 'three' }
  const { answer, exchange } = await open(t, { mode: 'events', log, isPrimed: true, calls: [FIRST, SECOND, third] })
  const response = await answer
  await response.see('retry: 500')
  t.strictSame(response.events, [{ id: response.events[0]?.id, message: undefined }])
  const pending = async (): Promise<unknown> => (await log.after(String(response.events[0]?.id)))?.pending
  t.strictSame(await pending(), [1, 1, 'three'])
  exchange.answer(SECOND, answerOf(SECOND, 'second'))
  t.strictSame(await pending(), [1, 'three'])
  exchange.say(NEWS)
  exchange.cancel(third)
  t.strictSame(await pending(), [1])
  exchange.answer(FIRST, answerOf(FIRST, 'x'.repeat(2000)))
  t.strictSame(await pending(), [])
  await response.end()
  const kept: string[] = []
  for await (const page of (await log.after(String(response.events[0]?.id)))?.pages() ?? []) kept.push(...page.map(({ data }) => data))
  const notKept = { code: -32000, message: 'The answer was larger than resumable.maxBytes, and has not been kept' }
  t.strictSame(kept.map((data) => JSON.parse(data)), [received('second'), NEWS, { jsonrpc: '2.0', id: 1, error: notKept }])
})

t.test('sees each answer before it goes out', async (t) => {
  const seen: Answer[] = []
  const { answer, exchange } = await open(t, {
    calls: [SECOND],
    holdHead: true,
    onAnswer (given, reply) {
      seen.push(given)
      reply.header('mcp-session-id', 'one')
    }
  })
  exchange.say(NEWS)
  await turn()
  exchange.answer(SECOND, answerOf(SECOND, 'one'))
  const response = await (await answer).end()
  t.strictSame(seen, [received('one')])
  t.equal(response.headers['mcp-session-id'], 'one', 'also when it is a stream')
  t.strictSame(response.messages, [NEWS, received('one')])
})

t.test('is settled when its last answer is on its way', async (t) => {
  for (const mode of ['json', 'events'] as const) {
    const held = createDeferred()
    const { answer, exchange, settled } = await open(t, { mode, calls: [FIRST], barrier: () => held.promise })
    const answered = exchange.answer(FIRST, answerOf(FIRST, 'one'))
    await turn()
    t.equal(settled(), 0)
    held.resolve()
    await answered
    t.equal(settled(), 1)
    t.strictSame((await (await answer).end()).messages, [received('one')])
  }
})

t.test('an answer that must not go out', async (t) => {
  const lost: Barrier = async () => { throw new OwnerFailedError() }
  for (const mode of ['json', 'events'] as const) {
    const { answer, settled } = await open(t, { mode, calls: [FIRST], barrier: lost, begin: (exchange) => exchange.answer(FIRST, answerOf(FIRST, 'one')) })
    const response = await (await answer).end()
    t.strictSame([response.status, response.text.includes('"one"'), settled()], [502, false, 1], mode)
  }
  const { answer, exchange } = await open(t, { mode: 'events', calls: [FIRST], barrier: lost })
  const response = await answer
  await exchange.answer(FIRST, answerOf(FIRST, 'one'))
  await response.end()
  t.ok(response.broken, 'after the head')
})

t.test('a message on the way that must not go out', async (t) => {
  const { answer, exchange } = await open(t, { barrier: async () => { throw new OwnerFailedError() } })
  exchange.answer(FIRST, answerOf(FIRST, 'one'))
  await t.rejects(Promise.resolve(exchange.say(NEWS)), { code: 'FST_ERR_MCP_SESSION_OWNER_FAILED' })
  t.equal((await (await answer).end()).status, 502)
})

t.test('when somebody else has answered, that is the answer', async (t) => {
  for (const barrier of [() => undefined, async () => { throw new OwnerFailedError() }]) {
    const { answer, exchange, reply, settled } = await open(t, { calls: [FIRST], barrier })
    reply.code(503).send('too late')
    await exchange.answer(FIRST, answerOf(FIRST, 'one'))
    const { status, text } = await (await answer).end()
    t.strictSame([status, text, settled()], [503, 'too late', 1])
  }
})

t.test('a stream that its server lets go of goes on without its connection', async (t) => {
  const log = new EventBuffer({ maxEvents: 100, maxBytes: 1000 })
  const { answer, exchange, settled } = await open(t, { mode: 'events', log, isPrimed: true, calls: [FIRST] })
  t.equal(exchange.isLetGo, false)
  exchange.letGo()
  const response = await (await answer).end()
  t.strictSame([exchange.isLetGo, exchange.isPending, response.broken, response.messages], [true, true, false, []])
  exchange.disconnect()
  t.ok(exchange.isReachable)
  exchange.say(NEWS)
  exchange.answer(FIRST, answerOf(FIRST, 'one'))
  t.equal(settled(), 1)
  const kept: string[] = []
  for await (const page of (await log.after(String(response.events[0]?.id)))?.pages() ?? []) kept.push(...page.map(({ data }) => data))
  t.strictSame(kept.map((data) => JSON.parse(data)), [NEWS, received('one')])
})

t.test('a call whose connection breaks goes on', async (t) => {
  const quiet = await open(t, { calls: [FIRST] })
  t.ok(quiet.exchange.isReachable)
  quiet.reply.raw.destroy()
  quiet.exchange.disconnect()
  t.equal(quiet.exchange.isReachable, false)
  quiet.exchange.say(NEWS)
  quiet.exchange.answer(FIRST, answerOf(FIRST, 'one'))
  t.strictSame([quiet.reply.raw.headersSent, quiet.settled()], [false, 1])

  const broken = await open(t, { calls: [FIRST], mode: 'events' })
  const response = await broken.answer
  broken.exchange.disconnect()
  await response.end()
  t.ok(response.broken)
  t.equal(broken.exchange.isReachable, false)
  broken.exchange.cancel(FIRST)
  t.equal(broken.settled(), 1)
})

t.test('what has reached its client is said to the log', async (t) => {
  for (const isAnswered of [true, false]) {
    const released: string[] = []
    class Log extends EventBuffer {
      override release (streamId: string): void { released.push(streamId) }
    }
    const { answer, exchange } = await open(t, { mode: 'events', log: new Log({ maxEvents: 10, maxBytes: 1000 }), calls: [FIRST] })
    const response = await answer
    if (isAnswered) exchange.answer(FIRST, answerOf(FIRST, 'one'))
    else response.vanish()
    await response.end()
    exchange.disconnect()
    if (!isAnswered) exchange.answer(FIRST, answerOf(FIRST, 'one'))
    t.strictSame(released, isAnswered ? ['a'] : [])
  }
})
