import { once } from 'node:events'
import { PassThrough, Writable } from 'node:stream'
import { ReadableStream, type ReadableStreamDefaultController, type ReadableStreamDefaultReader } from 'node:stream/web'
import { mock } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { EventStream } from '../../../lib/endpoint/transport/event-stream.js'

const BEAT = 15_000

interface Source {
  readonly controller: ReadableStreamDefaultController<Uint8Array>
  readonly reader: ReadableStreamDefaultReader<Uint8Array>
  /** What the stream was cancelled with. */
  readonly cancelled: unknown[]
  readonly reads: { pending: number, most: number }
}

function createSource (): Source {
  let controller: ReadableStreamDefaultController<Uint8Array> | undefined
  const cancelled: unknown[] = []
  const stream = new ReadableStream<Uint8Array>({
    start (given) { controller = given },
    cancel (reason) { cancelled.push(reason) }
  })
  if (controller === undefined) throw new Error('The stream has not started')
  const reader = stream.getReader()
  const reads = { pending: 0, most: 0 }
  const read = reader.read.bind(reader)
  reader.read = async function countedRead () {
    reads.pending++
    reads.most = Math.max(reads.most, reads.pending)
    try {
      return await read()
    } finally {
      reads.pending--
    }
  }
  return { controller, reader, cancelled, reads }
}

function open (t: Test, source: Source, heartbeatInterval = BEAT, chunks: Uint8Array[] = []): EventStream {
  mock.timers.enable({ apis: ['setInterval'] })
  t.teardown(() => mock.timers.reset())
  const begun = source.reader.read()
  const stream = new EventStream(source.reader, chunks, begun, { heartbeatInterval })
  t.teardown(() => stream.destroy())
  return stream
}

/** What comes out, as it comes. */
function collect (stream: EventStream): { text: string } {
  const collected = { text: '' }
  stream.on('data', (chunk) => { collected.text += String(chunk) })
  return collected
}

/** A client that takes a chunk when the test says so. */
class SlowClient extends Writable {
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

  take (): void {
    const next = this.#next
    this.#next = undefined
    next?.()
  }
}

t.test('the first byte comes at once, and is a comment', async (t) => {
  const { text } = await new Promise<{ text: string }>((resolve) => {
    const collected = collect(open(t, createSource()).once('data', () => resolve(collected)))
  })
  t.equal(text, ':\n\n')
})

t.test('what has been read already comes before what is read next', async (t) => {
  const source = createSource()
  const stream = open(t, source, BEAT, [Buffer.from('one '), Buffer.from('two ')])
  const collected = collect(stream)
  source.controller.enqueue(Buffer.from('three '))
  source.controller.enqueue(Buffer.from('four'))
  source.controller.close()
  await once(stream, 'close')
  t.equal(collected.text, ':\n\none two three four')
})

t.test('an empty chunk does not stop the stream', async (t) => {
  const source = createSource()
  const stream = open(t, source, BEAT, [Buffer.alloc(0)])
  const collected = collect(stream)
  source.controller.enqueue(new Uint8Array(0))
  await turn()
  source.controller.enqueue(Buffer.from('after'))
  source.controller.close()
  await once(stream, 'close')
  t.equal(collected.text, ':\n\nafter')
})

t.test('a quiet stream carries a comment in every heartbeat', async (t) => {
  const stream = open(t, createSource())
  const collected = collect(stream)
  await turn()
  for (let beat = 0; beat < 3; beat++) {
    mock.timers.tick(BEAT)
    await turn()
  }
  t.equal(collected.text, ':\n\n'.repeat(4))
  t.notOk(stream.destroyed, 'a client that reads is not given up')
})

t.test('without heartbeats there is only the first comment', async (t) => {
  const stream = open(t, createSource(), 0)
  const collected = collect(stream)
  await turn()
  mock.timers.tick(BEAT * 10)
  await turn()
  t.equal(collected.text, ':\n\n')
})

t.test('a heartbeat while a read is under way neither doubles nor loses a chunk', async (t) => {
  const source = createSource()
  const stream = open(t, source)
  const collected = collect(stream)
  await turn()
  mock.timers.tick(BEAT)
  mock.timers.tick(BEAT)
  await turn()
  source.controller.enqueue(Buffer.from('once'))
  await turn()
  mock.timers.tick(BEAT)
  source.controller.close()
  await once(stream, 'close')
  t.equal(collected.text.replaceAll(':\n\n', ''), 'once')
  t.equal(source.reads.most, 1, 'never two reads at once')
})

t.test('a stream that ends has no heartbeat any more', async (t) => {
  const source = createSource()
  const stream = open(t, source)
  const collected = collect(stream)
  source.controller.close()
  await once(stream, 'close')
  mock.timers.tick(BEAT * 3)
  t.equal(collected.text, ':\n\n')
  t.equal(source.cancelled.length, 0, 'it was not cancelled')
})

t.test('a client that has gone is how the source learns of it', async (t) => {
  const source = createSource()
  const stream = open(t, source)
  collect(stream)
  await turn()
  stream.destroy()
  await once(stream, 'close')
  t.equal(source.cancelled.length, 1)
})

t.test('what comes out of the source after the client has gone is dropped', async (t) => {
  const source = createSource()
  const stream = open(t, source)
  const collected = collect(stream)
  await turn()
  source.controller.enqueue(Buffer.from('late'))
  stream.destroy()
  await once(stream, 'close')
  await turn()
  t.equal(collected.text, ':\n\n')
})

t.test('a source that fails fails the stream', async (t) => {
  const source = createSource()
  const stream = open(t, source)
  collect(stream)
  const failed = once(stream, 'error')
  source.controller.error(new Error('broken'))
  t.match(await failed, [{ message: 'broken' }])
  t.ok(stream.destroyed)
})

t.test('a source that fails while the client takes nothing is no unhandled rejection', async (t) => {
  const source = createSource()
  const stream = open(t, source)
  stream.pipe(new SlowClient())
  source.controller.enqueue(Buffer.alloc(1_000_000))
  await turn()
  t.ok(stream.readableLength > 500_000, 'so that nothing more is asked for')
  const rejections: unknown[] = []
  const note = (reason: unknown): void => { rejections.push(reason) }
  process.on('unhandledRejection', note)
  t.teardown(() => process.off('unhandledRejection', note))
  source.controller.error(new Error('broken'))
  await turn()
  await turn()
  t.strictSame(rejections, [])
})

t.test('a source is not read faster than the client takes', async (t) => {
  const source = createSource()
  const stream = open(t, source)
  const client = new SlowClient()
  stream.pipe(client)
  for (let chunk = 0; chunk < 50; chunk++) source.controller.enqueue(Buffer.alloc(10_000))
  await turn()
  t.ok((source.controller.desiredSize ?? 0) < -20, 'most chunks are still in the source')
  t.ok(stream.readableLength < 200_000)
})

t.test('a client that takes nothing for a whole heartbeat is given up', async (t) => {
  const source = createSource()
  const stream = open(t, source)
  stream.pipe(new SlowClient())
  source.controller.enqueue(Buffer.from('event'))
  await turn()
  // In the first something was taken, in the second nothing.
  mock.timers.tick(BEAT)
  t.notOk(stream.destroyed)
  mock.timers.tick(BEAT)
  t.ok(stream.destroyed)
  await turn()
  t.equal(source.cancelled.length, 1)
})

t.test('a quiet stream whose client takes nothing is given up too', async (t) => {
  const stream = open(t, createSource())
  stream.pipe(new SlowClient())
  await turn()
  // One comment goes to the client, one waits, and then nothing moves.
  for (let beat = 0; beat < 4; beat++) {
    mock.timers.tick(BEAT)
    await turn()
  }
  t.ok(stream.destroyed)
})

t.test('a client that takes something in every heartbeat is not given up', async (t) => {
  const source = createSource()
  const stream = open(t, source)
  const client = new SlowClient()
  stream.pipe(client)
  for (let chunk = 0; chunk < 20; chunk++) source.controller.enqueue(Buffer.alloc(10_000))
  await turn()
  for (let beat = 0; beat < 10; beat++) {
    client.take()
    await turn()
    mock.timers.tick(BEAT)
  }
  t.notOk(stream.destroyed)
})

t.test('nor is one that takes a large event bit by bit', async (t) => {
  const source = createSource()
  const stream = open(t, source)
  const client = new SlowClient()
  stream.pipe(client)
  const event = Buffer.alloc(2_000_000, 'x')
  source.controller.enqueue(event)
  source.controller.close()
  await turn()
  for (let beat = 0; beat < 10; beat++) {
    client.take()
    await turn()
    mock.timers.tick(BEAT)
    await turn()
  }
  t.notOk(stream.destroyed)
  while (!client.writableFinished) {
    client.take()
    await turn()
  }
  t.equal(client.taken, event.length + ':\n\n'.length)
})

t.test('the end of the source does not save a client that takes nothing', async (t) => {
  const source = createSource()
  const stream = open(t, source)
  stream.pipe(new SlowClient())
  source.controller.enqueue(Buffer.from('last event'))
  source.controller.close()
  await turn()
  mock.timers.tick(BEAT)
  mock.timers.tick(BEAT)
  t.ok(stream.destroyed)
})

t.test('an event that is given up half-way is not ended as if it were whole', async (t) => {
  const source = createSource()
  const stream = open(t, source)
  const client = stream.pipe(new PassThrough())
  const ended = t.capture(client, 'end', client.end)
  await turn()
  stream.destroy()
  await once(stream, 'close')
  t.equal(ended().length, 0)
})
