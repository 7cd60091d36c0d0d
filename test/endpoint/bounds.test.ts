// What is kept in memory is bounded in bytes: what waits for a slow reader, what is kept for one that comes back.
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { SessionEndpointOptions } from '../../lib/endpoint/options.js'
import { activeRequests } from '../helpers/apps/app.js'
import { buildEndpoint, type EndpointApp } from '../helpers/apps/endpoint-app.js'
import { collectGarbage } from '../helpers/heap/garbage.js'
import { type Answer, call, type HttpClient, openSession } from '../helpers/clients/http-client.js'
import { captureLog } from '../helpers/observe/log-lines.js'
import { connectRaw, openUnreadStream, type RawClient } from '../helpers/clients/raw-client.js'
import { until } from '../helpers/waiting/until.js'

const KB = 1000
const MB = 1000 * KB

interface Opened extends EndpointApp {
  readonly url: URL
  readonly client: HttpClient
  readonly log: string[]
}

async function open (t: Test, endpoint: Partial<SessionEndpointOptions>): Promise<Opened> {
  const { lines, stream } = captureLog()
  const built = await buildEndpoint(t, { endpoint, server: { logger: { level: 'warn', stream } } })
  const url = await built.listen()
  const client = await openSession(t, url)
  await until(() => activeRequests(built.app, client.sessionId) === 0, 'initialize is over')
  return { ...built, url, client, log: lines }
}

async function big (client: HttpClient, id: number, bytes: number): Promise<Answer> {
  return (await client.post(call(id, 'big', { bytes }))).end()
}

async function resume (client: HttpClient, id: string | undefined): Promise<Answer> {
  return client.get({ 'last-event-id': String(id) })
}

t.test('of answers that have reached their clients, no more is kept than maxBytes', async (t) => {
  const { client } = await open(t, { resumable: {} })
  await big(client, 1, 5 * MB)
  await collectGarbage()
  const before = process.memoryUsage().heapUsed
  for (let id = 2; id < 32; id++) await big(client, id, 5 * MB)
  await collectGarbage()
  const kept = process.memoryUsage().heapUsed - before
  t.ok(kept < 30 * MB, `${Math.round(kept / MB)} MB of 150 are kept`)
})

t.test('maxBytes says how much: of what has been delivered, the newest can be had again', async (t) => {
  const { client } = await open(t, { resumable: { maxBytes: 100 * KB } })
  const answers: Answer[] = []
  for (let id = 2; id < 12; id++) answers.push(await big(client, id, 30 * KB))
  for (const [index, { events: [priming] }] of answers.entries()) {
    const again = await (await resume(client, priming?.id)).end()
    if (index < 7) t.equal(again.status, 400, `number ${index} has been let go of`)
    else t.match(again.messages, [{ id: index + 2, result: {} }])
  }
})

t.test('what has not been delivered is kept in favour of what has', async (t) => {
  const { client, server } = await open(t, { resumable: { maxBytes: 100 * KB } })
  const lost = await client.post(call(2, 'tell'))
  await lost.see('first')
  lost.vanish()
  await until(() => lost.broken, 'the connection has gone')
  server().answer('missed')
  await until(() => server().waiting.length === 1, 'the tool has spoken')
  server().answer('the answer')
  for (let id = 3; id < 30; id++) await big(client, id, 30 * KB)
  const rest = await (await resume(client, lost.events.at(-1)?.id)).end()
  t.match(rest.messages, [{ params: { data: 'missed' } }, { id: 2, result: { content: [{ text: 'the answer' }] } }])
})

t.test('an answer that is larger than maxBytes is delivered, but kept as an error that says so', async (t) => {
  const { client } = await open(t, { resumable: { maxBytes: 10 * KB } })
  const answer = await big(client, 2, 20 * KB)
  t.ok(answer.text.length > 20 * KB)
  const [priming, last] = answer.events
  t.ok(last?.id, 'it has an id, too')
  const again = await (await resume(client, priming?.id)).end()
  t.match(again.messages, [{ id: 2, error: { code: -32000, message: /larger than resumable\.maxBytes/ } }])
})

/** A client that has made a call, or opened the GET stream, and reads nothing of it. */
async function openUnread (t: Test, { url, client }: Opened, method: string): Promise<RawClient> {
  if (method === 'GET') return openUnreadStream(t, url, client.sessionId)
  const raw = await connectRaw(t, Number(url.port))
  const body = JSON.stringify(call(2, 'tell'))
  raw.send('POST /mcp HTTP/1.1', 'host: 127.0.0.1', 'accept: text/event-stream', 'content-type: application/json',
    `mcp-session-id: ${client.sessionId}`, `content-length: ${body.length}`, '', body)
  await raw.see('first')
  raw.socket.pause()
  return raw
}

t.test('a client that trickles a GET stream is cut off at maxBuffered, and that is logged', async (t) => {
  const opened = await open(t, { maxBuffered: MB })
  const { app, client, server, log } = opened
  const slow = await openUnread(t, opened, 'GET')
  const noise = 'x'.repeat(100 * KB)
  let sent = 0
  for (; sent < 400 && activeRequests(app, client.sessionId) > 0; sent++) {
    await server().mcp.sendLoggingMessage({ level: 'info', data: noise })
    slow.socket.read(4 * KB)
    await turn()
  }
  t.ok(sent < 200, `after ${sent} messages of 100 KB`)
  t.match(log.join(''), /A stream was cut off: its client reads too slowly or not at all, see the option maxBuffered/)
  const waiting = Number(/"waiting":(\d+)/.exec(log.join(''))?.[1])
  t.ok(waiting > MB && waiting < 1.2 * MB, `${waiting} bytes were waiting`)
  t.notOk(log.some((line) => line.includes(client.sessionId)), 'the id of the session is in no log')
  const again = await client.get()
  await server().noteHasChanged()
  await again.see('updated')
})

t.test('a client that takes what there is gets all of it, however much', async (t) => {
  const { client, server } = await open(t, { maxBuffered: MB })
  const stream = await client.get()
  const noise = 'x'.repeat(100 * KB)
  for (let count = 0; count < 100; count++) {
    await server().mcp.sendLoggingMessage({ level: 'info', data: noise })
    await until(() => stream.text.length >= count * 100 * KB, 'it keeps up')
  }
  await until(() => stream.messages.length === 100, 'all have come')
})

t.test('a call whose stream was cut off goes on, and its client can come back for the rest', async (t) => {
  const opened = await open(t, { maxBuffered: MB, resumable: { maxBytes: 30 * MB } })
  const { client, server, log } = opened
  const slow = await openUnread(t, opened, 'POST')
  const [id] = /(?<=id: )\S+/.exec(slow.received) ?? []
  // One message may be larger than all that may wait; the next one finds it waiting.
  server().answer('x'.repeat(20 * MB))
  await until(() => server().waiting.length === 1, 'the tool has spoken')
  server().answer('and this is the answer')
  await until(() => log.length > 0, 'the stream is cut off')
  const rest = await (await resume(client, id)).end()
  t.match(rest.messages, [{ method: 'notifications/message' }, { id: 2, result: { content: [{ text: 'and this is the answer' }] } }])
})

t.test('a client that comes back gets all that it has missed, also when it is more than may wait', async (t) => {
  const { app, client, server, log } = await open(t, { maxBuffered: 10 * KB, resumable: { maxBytes: 30 * MB } })
  const stream = await client.get()
  await stream.see('id: ')
  stream.vanish()
  await until(() => activeRequests(app, client.sessionId) === 0, 'it has gone')
  const noise = 'x'.repeat(100 * KB)
  for (let count = 0; count < 100; count++) await server().mcp.sendLoggingMessage({ level: 'info', data: `${count} ${noise}` })
  const again = await resume(client, stream.events[0]?.id)
  await again.see('"99 ')
  await server().noteHasChanged()
  await again.see('updated')
  t.equal(again.messages.length, 101)
  t.strictSame(log, [])
})
