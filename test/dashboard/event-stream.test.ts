import { Writable } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { EventStream } from '../../lib/dashboard/event-stream.js'

/** A stream with a clock of its own, and what its reader has got. */
function readStream (): { stream: EventStream, read: string[], pass: (ms: number) => void } {
  let now = 0
  const stream = new EventStream(() => now)
  const read: string[] = []
  stream.on('data', (chunk) => { read.push(String(chunk)) })
  return { stream, read, pass (ms) { now += ms } }
}

t.test('who reads gets each state', async (t) => {
  const { stream, read } = readStream()
  await turn()
  t.ok(stream.wantsMore)
  stream.sayState('{"n":1}')
  await turn()
  stream.sayState('{"n":2}')
  await turn()
  t.strictSame(read, ['retry: 1000\n\n', 'event: state\ndata: {"n":1}\n\n', 'event: state\ndata: {"n":2}\n\n'])
})

t.test('who does not read is not offered more', async (t) => {
  const stream = new EventStream(() => 0)
  const slow = new Writable({ highWaterMark: 1, write () {} })
  stream.pipe(slow)
  await turn()
  stream.sayState('{}')
  await turn()
  t.notOk(stream.wantsMore)
  t.ok(stream.readableLength < 100)
})

t.test('a silence is broken by a comment', async (t) => {
  const { stream, read, pass } = readStream()
  await turn()
  pass(14_000)
  stream.lookAfter()
  t.equal(read.length, 1)
  pass(1000)
  stream.lookAfter()
  t.strictSame(read.slice(1), [':\n\n'])
  await turn()
  stream.lookAfter()
  t.equal(read.length, 2)
})

t.test('a reader that has not read for long is left', async (t) => {
  let now = 0
  const stream = new EventStream(() => now)
  stream.pipe(new Writable({ highWaterMark: 1, write () {} }))
  await turn()
  stream.sayState('{}')
  await turn()
  now += 29_000
  stream.lookAfter()
  t.notOk(stream.destroyed)
  now += 1000
  stream.lookAfter()
  t.ok(stream.destroyed)
  stream.end()
  stream.sayState('{}')
  t.equal(stream.errored, null)
})

t.test('it ends after a while, so that its reader has to be let in again', async (t) => {
  const { stream, read, pass } = readStream()
  let hasEnded = false
  stream.on('end', () => { hasEnded = true })
  await turn()
  pass(15 * 60_000)
  stream.lookAfter()
  t.notOk(stream.wantsMore)
  stream.end()
  stream.sayState('{}')
  await turn()
  t.ok(hasEnded)
  t.equal(read.length, 1, 'nothing comes after the end')
})
