import { ReadableStream, type ReadableStreamDefaultController } from 'node:stream/web'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { sendWebResponse } from '../../../lib/endpoint/modern/web-response.js'
import { serveRequest, type ServedRequest } from '../../helpers/apps/served-request.js'
import { until } from '../../helpers/waiting/until.js'

const OPTIONS = { heartbeatInterval: 0, maxBuffered: 1000 }
const EVENTS = { headers: { 'content-type': 'text/event-stream' } }

interface Source {
  readonly controller: ReadableStreamDefaultController<Uint8Array>
  readonly stream: ReadableStream<Uint8Array>
  /** What it was cancelled with. */
  readonly cancelled: unknown[]
}

function createSource (onCancel: () => void = () => {}): Source {
  let controller: ReadableStreamDefaultController<Uint8Array> | undefined
  const cancelled: unknown[] = []
  const stream = new ReadableStream<Uint8Array>({
    start (given) { controller = given },
    cancel (reason) {
      cancelled.push(reason)
      onCancel()
    }
  })
  if (controller === undefined) throw new Error('The stream has not started')
  return { controller, stream, cancelled }
}

async function serve (t: Test, response: Response): Promise<ServedRequest & { sent: Promise<void> }> {
  const sending: Promise<void>[] = []
  const served = await serveRequest(t, {
    handle (_request, reply) {
      const sent = sendWebResponse(reply, response, OPTIONS)
      sent.catch((error: unknown) => reply.send(error))
      sending.push(sent)
    }
  })
  const [sent] = sending
  if (sent === undefined) throw new Error('No request has come in')
  return { ...served, sent }
}

t.test('status, headers and body are those of the response', async (t) => {
  const headers = new Headers({ 'content-type': 'application/json', connection: 'close', 'x-custom': 'one' })
  for (const cookie of ['a=1', 'b=2']) headers.append('set-cookie', cookie)
  const { answer } = await serve(t, new Response('{"a":"ä"}', { status: 404, headers }))
  const response = await (await answer).end()
  t.strictSame([response.status, response.text], [404, '{"a":"ä"}'])
  t.match(response.headers, { 'content-type': 'application/json', 'x-custom': 'one', 'set-cookie': ['a=1', 'b=2'], 'content-length': '10' })
  t.not(response.headers.connection, 'close', 'the connection is not its business')
})

t.test('a response need not say what it is', async (t) => {
  const { answer } = await serve(t, new Response(Buffer.from('data')))
  t.equal((await (await answer).end()).text, 'data')
})

t.test('a response need not have a body', async (t) => {
  for (const init of [{ status: 202 }, { status: 202, ...EVENTS }]) {
    const { answer } = await serve(t, new Response(null, init))
    const { status, text } = await (await answer).end()
    t.strictSame([status, text], [202, ''])
  }
})

t.test('events that are there at once are sent in one piece', async (t) => {
  const { controller, stream } = createSource()
  for (const event of ['data: 1\n\n', 'data: 2\n\n']) controller.enqueue(Buffer.from(event))
  controller.close()
  const { answer } = await serve(t, new Response(stream, EVENTS))
  const response = await (await answer).end()
  t.match(response.headers, { 'content-type': 'text/event-stream', 'content-length': '18' })
  t.equal(response.text, 'data: 1\n\ndata: 2\n\n')
})

t.test('events that come later are a stream', async (t) => {
  for (const type of ['text/event-stream', 'Text/Event-Stream; charset=utf-8']) {
    const { controller, stream, cancelled } = createSource()
    controller.enqueue(Buffer.from('data: 1\n\n'))
    const { answer, sent } = await serve(t, new Response(stream, { headers: { 'content-type': type } }))
    const response = await answer
    await response.see('data: 1\n\n')
    t.match(response.headers, { 'content-type': 'text/event-stream', 'x-accel-buffering': 'no' })
    for (const event of ['data: 2\n\n', 'data: 3\n\n']) {
      controller.enqueue(Buffer.from(event))
      await response.see(event)
    }
    controller.close()
    await sent
    await response.end()
    t.strictSame([response.text, response.broken, cancelled], ['data: 1\n\ndata: 2\n\ndata: 3\n\n', false, []])
  }
})

t.test('that the client has gone is how the source learns of it', async (t) => {
  for (const onCancel of [() => {}, () => { throw new Error('cannot be cancelled') }]) {
    const { stream, cancelled } = createSource(onCancel)
    const { answer, sent } = await serve(t, new Response(stream, EVENTS))
    const response = await answer
    response.vanish()
    await until(() => cancelled.length > 0, 'the source is cancelled')
    await sent
  }
})

t.test('a source that fails before the head is an error, and after it a broken connection', async (t) => {
  const before = createSource()
  before.controller.error(new Error('broken'))
  const refused = await serve(t, new Response(before.stream, EVENTS))
  await t.rejects(refused.sent, { message: 'broken' })
  t.equal((await (await refused.answer).end()).status, 500)

  const after = createSource()
  const { answer, sent, reply } = await serve(t, new Response(after.stream, EVENTS))
  const logged = t.capture(reply.log, 'error')
  const response = await answer
  await turn()
  after.controller.error(new Error('broken'))
  await sent
  t.match(logged(), [{ args: [{ message: 'broken' }, 'The answer to a client without a session has broken off'] }])
  t.ok((await response.end()).broken, 'nobody takes what has come so far for all of it')
})
