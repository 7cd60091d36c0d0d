import type { FastifyReply } from 'fastify'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { PostStream, type PostStreamOptions } from '../../../lib/endpoint/transport/post-stream.js'
import { serveRequest, type ServedRequest } from '../../helpers/apps/served-request.js'

const OPTIONS = { heartbeatInterval: 0, maxBuffered: 1000, holdHead: false }

interface Served extends ServedRequest {
  readonly stream: PostStream
}

/** A request, and the stream that is its answer. `begin` runs before the event loop turns. */
async function serve (t: Test, begin: (stream: PostStream, reply: FastifyReply) => void = () => {}, options: Partial<PostStreamOptions> = {}): Promise<Served> {
  const streams: PostStream[] = []
  const served = await serveRequest(t, {
    handle (_request, reply) {
      const stream = new PostStream(reply, { ...OPTIONS, ...options })
      streams.push(stream)
      begin(stream, reply)
    }
  })
  const [stream] = streams
  if (stream === undefined) throw new Error('No request has come in')
  return { ...served, stream }
}

t.test('what ends before the event loop turns is sent in one piece', async (t) => {
  const { stream, answer } = await serve(t, (stream) => {
    stream.write('data: 1\n\n')
    stream.write('data: 2\n\n')
    stream.end()
  })
  const { headers, text } = await (await answer).end()
  t.equal(text, 'data: 1\n\ndata: 2\n\n')
  t.match(headers, { 'content-type': 'text/event-stream', 'content-length': '18', 'cache-control': 'no-cache, no-transform', 'x-accel-buffering': 'no' })
  t.ok(stream.isOver)
  stream.end()
  stream.fail(new Error('too late'))
  await turn()
})

t.test('nothing at all is an answer too', async (t) => {
  const { answer } = await serve(t, (stream) => stream.end())
  const { status, text, headers } = await (await answer).end()
  t.match({ status, text, headers }, { status: 200, text: '', headers: { 'content-type': 'text/event-stream' } })
})

t.test('what takes longer is a stream, whose head goes out at once', async (t) => {
  const { stream, answer } = await serve(t, (stream) => stream.write('data: 1\n\n'))
  const received = await answer
  await received.see('data: 1\n\n')
  t.equal(received.headers['content-length'], undefined)
  stream.write('data: 2\n\n')
  await received.see('data: 2\n\n')
  t.notOk(stream.isOver)
  stream.end()
  await received.end()
  t.strictSame([received.broken, stream.isOver], [false, true])
})

t.test('a stream that has nothing to say yet', async (t) => {
  const { stream, answer } = await serve(t)
  const received = await answer
  t.equal(received.text, '')
  stream.end()
  await received.end()
})

t.test('what is too much to hold does not wait for the event loop', async (t) => {
  const { stream, reply, answer } = await serve(t, (stream, reply) => {
    stream.write('x'.repeat(1000))
    t.notOk(reply.raw.headersSent)
    stream.write('y')
    t.ok(reply.raw.headersSent)
  })
  await turn()
  await (await answer).see('xy')
  t.ok(reply.raw.headersSent)
  stream.end()
})

t.test('what cannot go out is an error before the head, and a broken connection after it', async (t) => {
  const before = await serve(t, (stream) => {
    stream.write('data: 1\n\n')
    stream.fail(Object.assign(new Error('not ours any more'), { statusCode: 502 }))
  })
  const refused = await (await before.answer).end()
  t.strictSame([refused.status, refused.text.includes('not ours any more'), refused.text.includes('data')], [502, true, false])
  t.ok(before.stream.isOver)

  const after = await serve(t)
  const received = await after.answer
  after.stream.fail(new Error('not ours any more'))
  await received.end()
  t.strictSame([received.broken, after.stream.isOver], [true, true])
})

t.test('a head that depends on what is in the stream waits for its end', async (t) => {
  const { stream, reply, answer } = await serve(t, (stream) => stream.write('x'.repeat(2000)), { holdHead: true })
  await turn()
  await turn()
  t.notOk(reply.raw.headersSent, 'however long it takes, and however large it is')
  reply.header('mcp-session-id', 'one')
  stream.write('y')
  stream.end()
  const { headers, text } = await (await answer).end()
  t.match(headers, { 'mcp-session-id': 'one', 'content-type': 'text/event-stream' })
  t.equal(text.length, 2001)
})

t.test('when the connection has gone, nothing is sent', async (t) => {
  const { stream, reply } = await serve(t, (stream) => stream.destroy())
  await turn()
  t.strictSame([stream.isOver, reply.raw.headersSent], [true, false])
  stream.write('x'.repeat(2000))
  t.equal(reply.raw.headersSent, false)
  reply.send()

  const open = await serve(t)
  const received = await open.answer
  open.stream.destroy()
  await received.end()
  t.ok(received.broken)
})

t.test('when somebody else has answered, that is the answer', async (t) => {
  for (const finish of [(stream: PostStream) => stream.end(), (stream: PostStream) => stream.fail(new Error('no')), () => {}]) {
    const { stream, answer } = await serve(t, (stream, reply) => {
      stream.write('data: 1\n\n')
      reply.code(503).send('too late')
      finish(stream)
    })
    await turn()
    t.ok(stream.isOver)
    const { status, text } = await (await answer).end()
    t.strictSame([status, text], [503, 'too late'])
  }
})
