import Fastify from 'fastify'
import { once } from 'node:events'
import { Writable } from 'node:stream'
import { mock } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { EventStream, removeEventHeaders, sendEvents, setEventHeaders, type EventStreamOptions } from '../../../lib/endpoint/transport/event-stream.js'
import { listen } from '../../helpers/apps/app.js'
import { connectRaw } from '../../helpers/clients/raw-client.js'

const BEAT = 15_000

interface Opened {
  readonly stream: EventStream
  /** What was waiting when it was cut. */
  readonly cuts: number[]
  readonly beats: () => number
}

function open (t: Test, options: Partial<EventStreamOptions> = {}): Opened {
  mock.timers.enable({ apis: ['setInterval'] })
  const cuts: number[] = []
  let beats = 0
  const stream = new EventStream({
    heartbeatInterval: BEAT,
    maxBuffered: 1000,
    onCut: (waiting) => { cuts.push(waiting) },
    onHeartbeat: () => { beats++ },
    ...options
  })
  t.teardown(() => {
    stream.destroy()
    mock.timers.reset()
  })
  return { stream, cuts, beats: () => beats }
}

/** A reader that takes everything, as it comes. */
function collect (stream: EventStream): { text: string } {
  const collected = { text: '' }
  stream.on('data', (chunk) => { collected.text += String(chunk) })
  return collected
}

/** A reader that takes a chunk when the test says so. */
class SlowReader extends Writable {
  taken = 0
  #next: (() => void) | undefined

  constructor () {
    super({ highWaterMark: 1 })
  }

  override _write (chunk: Buffer, _encoding: BufferEncoding, callback: () => void): void {
    this.#next = () => {
      this.taken += chunk.length
      callback()
    }
  }

  async take (): Promise<void> {
    const next = this.#next
    this.#next = undefined
    next?.()
    await turn()
  }
}

async function beat (): Promise<void> {
  mock.timers.tick(BEAT)
  await turn()
}

t.test('says nothing before it is told to', async (t) => {
  const { stream } = open(t)
  const collected = collect(stream)
  await turn()
  t.equal(collected.text, '')
  t.notOk(stream.isOver)
})

t.test('what is written goes out as it is, and the end after it', async (t) => {
  const { stream } = open(t)
  const collected = collect(stream)
  stream.write('one ')
  stream.write(Buffer.from('zwei ä '))
  stream.end()
  t.ok(stream.isOver)
  stream.write('too late')
  stream.end()
  await once(stream, 'close')
  t.equal(collected.text, 'one zwei ä ')
})

t.test('a quiet stream carries a comment in every heartbeat', async (t) => {
  const { stream, beats } = open(t)
  const collected = collect(stream)
  for (let i = 0; i < 3; i++) await beat()
  t.equal(collected.text, ':\n\n'.repeat(3))
  t.equal(beats(), 3)
  t.notOk(stream.isOver, 'a client that reads is not given up')
})

t.test('without heartbeats there is no comment', async (t) => {
  const { stream, beats } = open(t, { heartbeatInterval: 0 })
  const collected = collect(stream)
  for (let i = 0; i < 3; i++) await beat()
  t.strictSame([collected.text, beats()], ['', 0])
})

t.test('heartbeats need no callback', async (t) => {
  const { stream } = open(t, { onHeartbeat: undefined })
  const collected = collect(stream)
  await beat()
  t.equal(collected.text, ':\n\n')
})

t.test('a stream that is over has no heartbeat any more', async (t) => {
  for (const finish of [(stream: EventStream) => stream.end(), (stream: EventStream) => stream.fail(), (stream: EventStream) => stream.destroy()]) {
    const { stream, beats } = open(t)
    const collected = collect(stream)
    finish(stream)
    t.ok(stream.isOver)
    stream.write('too late')
    await once(stream, 'close')
    await beat()
    t.strictSame([collected.text, beats()], ['', 0])
    mock.timers.reset()
  }
})

t.test('a message is let in while no more than the bound waits, however large it is', async (t) => {
  const { stream, cuts } = open(t)
  stream.write(Buffer.alloc(1000))
  stream.write(Buffer.alloc(200_000))
  t.notOk(stream.destroyed)
  stream.write('one more')
  t.strictSame([stream.destroyed, cuts], [true, [201_000]])
  stream.write('and another')
  t.equal(cuts.length, 1)
})

t.test('one that is cut need not be told of', async (t) => {
  const { stream } = open(t, { onCut: undefined, maxBuffered: 1 })
  for (let i = 0; i < 3; i++) stream.write('ab')
  t.ok(stream.destroyed)
})

t.test('a client that takes nothing for a whole heartbeat is given up', async (t) => {
  const { stream, cuts } = open(t)
  stream.pipe(new SlowReader())
  stream.write('first')
  stream.write('second')
  await turn()
  // In the first heartbeat something was taken.
  await beat()
  t.notOk(stream.destroyed)
  await beat()
  t.strictSame([stream.destroyed, cuts], [true, [6]])
})

t.test('so is one of a quiet stream, and of one that has ended', async (t) => {
  const quiet = open(t)
  quiet.stream.pipe(new SlowReader())
  // One comment goes to the client, one waits, and then nothing moves.
  for (let i = 0; i < 2; i++) await beat()
  t.notOk(quiet.stream.destroyed)
  await beat()
  t.ok(quiet.stream.destroyed)
  mock.timers.reset()

  const ended = open(t)
  ended.stream.pipe(new SlowReader())
  ended.stream.write('first')
  ended.stream.write('second')
  ended.stream.end()
  await turn()
  await beat()
  t.equal(ended.stream.readableLength, 6, 'nothing is added to it')
  await beat()
  t.ok(ended.stream.destroyed)
})

t.test('one that has ended, and of which all is taken, gets no comment', async (t) => {
  const { stream } = open(t)
  stream.end()
  await beat()
  t.equal(stream.readableLength, 0)
  t.notOk(stream.destroyed)
})

t.test('a client that takes something in every heartbeat is not given up', async (t) => {
  const { stream } = open(t, { maxBuffered: 1_000_000 })
  const reader = new SlowReader()
  stream.pipe(reader)
  // In one message: how much of it has gone can be told.
  stream.write(Buffer.alloc(1_000_000))
  for (let i = 0; i < 10; i++) {
    await reader.take()
    await beat()
    t.notOk(stream.destroyed)
  }
  t.ok(reader.taken > 500_000 && stream.readableLength > 0)
})

t.test('can be filled at the pace of its reader', async (t) => {
  const { stream } = open(t, { maxBuffered: 1_000_000 })
  t.equal(stream.whenTaken(), undefined, 'there is room')
  const reader = new SlowReader()
  stream.pipe(reader)
  for (let i = 0; i < 10; i++) stream.write(Buffer.alloc(50_000))
  let isTaken = false
  const taken = stream.whenTaken()?.then(() => { isTaken = true })
  await reader.take()
  t.equal(isTaken, false)
  for (let i = 0; i < 9; i++) await reader.take()
  await taken
  t.ok(stream.readableLength < stream.readableHighWaterMark, 'until it has taken what there was')
  t.equal(stream.whenTaken(), undefined)

  stream.write(Buffer.alloc(500_000))
  const gone = stream.whenTaken()
  stream.destroy()
  await gone
  t.equal(stream.whenTaken(), undefined, 'or has gone')
})

t.test('an answer that is no stream after all has no headers of one, but keeps those of others', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  app.get('/', async (_request, reply) => {
    setEventHeaders(reply)
    reply.header('cache-control', 'private')
    removeEventHeaders(reply)
    return reply.getHeaders()
  })
  t.strictSame((await app.inject('/')).json(), { 'cache-control': 'private' })
})

t.test('the head goes out at once, and not a byte of body', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  const streams: EventStream[] = []
  app.get('/', (_request, reply) => {
    const stream = new EventStream({ heartbeatInterval: 0, maxBuffered: 1000 })
    streams.push(stream)
    sendEvents(reply, stream)
  })
  const client = await connectRaw(t, await listen(app))
  client.get('/')
  await client.see('\r\n\r\n')
  t.match(client.received, /^HTTP\/1\.1 200 .*\r\n/)
  for (const header of ['content-type: text/event-stream', 'cache-control: no-cache, no-transform', 'x-accel-buffering: no']) t.match(client.received, header)
  await turn()
  t.ok(client.received.endsWith('\r\n\r\n'))
  streams[0]?.write('data: 1\n\n')
  await client.see('data: 1')
  streams[0]?.end()
  await client.see('\r\n0\r\n\r\n')
})
