import t from 'tap'
import { EventBuffer } from '../../../lib/endpoint/transport/event-buffer.js'
import type { EventLogBounds, KeptEvent, RequestId } from '../../../lib/http/event-log.js'
import { createRandom } from '../../helpers/chance/random.js'

const GET = 'get'

function buffer ({ maxEvents = 1000, maxBytes = 1_000_000 }: Partial<EventLogBounds> = {}): EventBuffer {
  return new EventBuffer({ maxEvents, maxBytes })
}

interface Missed {
  readonly streamId: string
  readonly events: KeptEvent[]
  readonly pending: readonly RequestId[]
}

async function resume (log: EventBuffer, lastEventId: string): Promise<Missed | undefined> {
  const resumption = await log.after(lastEventId)
  if (resumption === undefined) return undefined
  const events: KeptEvent[] = []
  for await (const page of resumption.pages()) events.push(...page.map(({ id, data }) => ({ id, data })))
  return { streamId: resumption.streamId, events, pending: resumption.pending }
}

async function readAfter (log: EventBuffer, lastEventId: string): Promise<string[] | undefined> {
  return (await resume(log, lastEventId))?.events.map(({ data }) => data)
}

t.test('gives what a stream has had since, in order and under the same ids', async (t) => {
  const log = buffer()
  const first = log.append(GET, '1', [])
  log.append('other', 'not this', [1])
  const second = log.append(GET, '2', [])
  const third = log.append(GET, '3', [])
  t.strictSame(await resume(log, first), { streamId: GET, events: [{ id: second, data: '2' }, { id: third, data: '3' }], pending: [] })
  t.strictSame(await readAfter(log, third), [])
})

t.test('an event that only gives an id is not given again', async (t) => {
  const log = buffer()
  const primed = log.append('a', '', [1])
  log.append('a', '', [1])
  log.append('a', 'answer', [])
  t.strictSame(await readAfter(log, primed), ['answer'])
})

t.test('says which requests are still to be answered', async (t) => {
  const log = buffer()
  const primed = log.append('a', '', [1, 'two'])
  t.strictSame((await resume(log, primed))?.pending, [1, 'two'])
  const answered = log.append('a', 'answer to 1', ['two'])
  t.strictSame((await resume(log, primed))?.pending, ['two'])
  t.strictSame((await resume(log, answered))?.pending, ['two'])
})

t.test('ids that it has not given are of no stream', async (t) => {
  const log = buffer()
  const id = log.append(GET, '1', [])
  const mark = id.slice(0, 8)
  const wrong = [
    '', '/', GET, `/${GET}`, `${mark}/${GET}`, `${mark}-/${GET}`, `${mark}--1/${GET}`, `${mark}-1e0/${GET}`, `${mark}-1.0/${GET}`, `${mark}-x/${GET}`,
    `${mark}-2/${GET}`, `${mark}-${'9'.repeat(15)}/${GET}`, `${mark}-${'9'.repeat(30)}/${GET}`, `${mark}-1/other`, `${mark}-1/__proto__`, `${mark}-1/`,
    ` ${id}`, `${id} `, `${id}\n`, buffer().append(GET, '1', [])
  ]
  for (const eventId of wrong) t.equal(await log.after(eventId), undefined, JSON.stringify(eventId))
  t.ok(await log.after(id))
})

t.test('an id fits into a header, and into a line of an event stream', async (t) => {
  t.match(buffer().append('a-_b', '1', []), /^[\x21-\x7e]+$/)
})

t.test('keeps no more events than it may, whatever stream they are of', async (t) => {
  const log = buffer({ maxEvents: 3 })
  const [a, b] = [log.append('a', 'a0', []), log.append('b', 'b0', [])]
  for (let i = 1; i < 5; i++) {
    log.append('a', `a${i}`, [])
    log.append('b', `b${i}`, [])
  }
  t.strictSame([await readAfter(log, a), await readAfter(log, b)], [['a4'], ['b3', 'b4']])
})

t.test('keeps no more bytes than it may, and bytes are not characters', async (t) => {
  const log = buffer({ maxBytes: 10 })
  const first = log.append(GET, '€', [])
  log.append(GET, '€€', [])
  t.strictSame(await readAfter(log, first), ['€€'])
  log.append(GET, 'a', [])
  t.strictSame(await readAfter(log, first), ['€€', 'a'], '10 bytes with the first, 7 without')
  log.append(GET, 'abcd', [])
  t.strictSame(await readAfter(log, first), ['a', 'abcd'])
})

t.test('one that is too large for all that it may keep is not kept', async (t) => {
  const log = buffer({ maxBytes: 10 })
  t.equal(log.maxBytes, 10)
  const first = log.append('a', '', [1])
  log.append('a', 'x'.repeat(11), [1])
  t.strictSame(await resume(log, first), { streamId: 'a', events: [], pending: [1] }, 'the call can still be resumed')
})

t.test('what has reached its client goes first, then what is oldest', async (t) => {
  const log = buffer({ maxEvents: 5 })
  const old = log.append('old', '', [])
  log.append('old', 'old', [])
  for (const stream of ['a', 'b']) log.append(stream, stream, [])
  log.release('b')
  log.release('a')
  log.append(GET, '1', [])
  t.strictSame([await log.after(`${old.slice(0, 8)}-1/a`) !== undefined, await readAfter(log, old)], [true, ['old']], 'not before there is need')
  log.append(GET, '2', [])
  log.append(GET, '3', [])
  for (const stream of ['a', 'b']) t.equal(await log.after(`${old.slice(0, 8)}-1/${stream}`), undefined)
  t.strictSame(await readAfter(log, old), ['old'])
  log.append(GET, '4', [])
  log.append(GET, '5', [])
  t.equal(await log.after(old), undefined, 'then the oldest')
  log.release('b')
  log.release('never heard of')
})

t.test('a call that is running can be resumed after its events have gone', async (t) => {
  const log = buffer({ maxEvents: 2 })
  const primed = log.append('slow', '', [1])
  for (let i = 0; i < 10; i++) log.append(GET, String(i), [])
  t.strictSame(await resume(log, primed), { streamId: 'slow', events: [], pending: [1] })
  log.release('slow')
  log.append('slow', 'answer', [])
  t.strictSame(await resume(log, primed), { streamId: 'slow', events: [{ id: `${primed.slice(0, 8)}-12/slow`, data: 'answer' }], pending: [] })
  for (let i = 0; i < 2; i++) log.append(GET, String(i), [])
  t.equal(await log.after(primed), undefined, 'it is forgotten with its last event')
})

t.test('a stream that is forgotten while its client reads goes on when it begins again', async (t) => {
  const log = buffer({ maxEvents: 2 })
  const resumption = await log.after(log.append(GET, '1', []))
  const forget = (): void => { for (let i = 0; i < 2; i++) log.append('other', 'other', []) }
  const read = async (): Promise<string[]> => {
    const data: string[] = []
    for await (const page of resumption?.pages() ?? []) data.push(...page.map(({ data }) => data))
    return data
  }
  log.append(GET, '2', [])
  t.strictSame(await read(), ['2'])
  forget()
  t.strictSame([await read(), resumption?.pending], [[], []])
  log.append(GET, '3', [])
  t.strictSame(await read(), ['3'])
})

/** The same, as simple as can be, and as slow. */
class NaiveLog {
  readonly #bounds: EventLogBounds
  #events: Array<{ id: string, number: number, streamId: string, data: string }> = []
  readonly #pending = new Map<string, readonly RequestId[]>()
  #released: string[] = []

  constructor (bounds: EventLogBounds) {
    this.#bounds = bounds
  }

  get size (): EventLogBounds {
    return { maxEvents: this.#events.length, maxBytes: this.#events.reduce((sum, { data }) => sum + data.length, 0) }
  }

  append (id: string, number: number, streamId: string, data: string, pending: readonly RequestId[]): void {
    this.#events.push({ id, number, streamId, data })
    this.#pending.set(streamId, pending)
    while (this.size.maxEvents > this.#bounds.maxEvents || this.size.maxBytes > this.#bounds.maxBytes) this.#drop()
  }

  release (streamId: string): void {
    if (this.#has(streamId) && !this.#released.includes(streamId)) this.#released.push(streamId)
  }

  after (number: number, streamId: string): Missed | undefined {
    const pending = this.#pending.get(streamId)
    if (pending === undefined) return undefined
    const events = this.#events.filter((event) => event.streamId === streamId && event.number > number && event.data !== '')
    return { streamId, events: events.map(({ id, data }) => ({ id, data })), pending }
  }

  #drop (): void {
    const first = this.#released[0]
    const index = first === undefined ? 0 : this.#events.findIndex(({ streamId }) => streamId === first)
    const [{ streamId } = { streamId: '' }] = this.#events.splice(index, 1)
    if (this.#has(streamId)) return
    this.#released = this.#released.filter((released) => released !== streamId)
    if (this.#pending.get(streamId)?.length === 0) this.#pending.delete(streamId)
  }

  #has (streamId: string): boolean {
    return this.#events.some((event) => event.streamId === streamId)
  }
}

// With the number 0 of a stream, all of it.
async function sizeOf (log: EventBuffer, mark: string): Promise<EventLogBounds> {
  const streams = await Promise.all(STREAMS.map((streamId) => readAfter(log, `${mark}-0/${streamId}`)))
  const kept = streams.flatMap((events) => events ?? [])
  return { maxEvents: kept.length, maxBytes: kept.join('').length }
}

const STREAMS = [GET, 'a', 'b', 'c', 'd']

t.test('does what a naive log does', async (t) => {
  const seed = Number(process.env['SEED'] ?? 1)
  const random = createRandom(seed)
  for (let round = 0; round < 200; round++) {
    const bounds = { maxEvents: 1 + random.below(12), maxBytes: 1 + random.below(60) }
    const [log, model] = [buffer(bounds), new NaiveLog(bounds)]
    const given: Array<{ id: string, streamId: string, number: number }> = []
    for (let step = 0; step < 60; step++) {
      const streamId = String(random.pick(STREAMS))
      if (random.below(6) === 0) {
        log.release(streamId)
        model.release(streamId)
        continue
      }
      const data = String.fromCharCode(97 + random.below(26)).repeat(random.below(3) * random.below(12))
      const pending = streamId === GET ? [] : [1, 2].slice(random.below(3))
      const id = log.append(streamId, data, pending)
      given.push({ id, streamId, number: step })
      model.append(id, step, streamId, data, pending)

      const seen = random.pick(given) ?? { id, streamId, number: step }
      const [actual, expected] = [await resume(log, seen.id), model.after(seen.number, seen.streamId)]
      const { maxEvents, maxBytes } = await sizeOf(log, id.slice(0, 8))
      const isWithinBounds = maxEvents <= bounds.maxEvents && maxBytes <= bounds.maxBytes
      if (isWithinBounds && JSON.stringify(actual) === JSON.stringify(expected)) continue
      t.strictSame({ actual, maxEvents, maxBytes }, { actual: expected, ...bounds }, `seed ${seed}, round ${round}, step ${step}`)
      return
    }
  }
})

t.test('what is kept while pages are read comes with the next, and once', async (t) => {
  const buffer = new EventBuffer({ maxEvents: 10, maxBytes: 100 })
  const first = buffer.append('get', 'a', [])
  buffer.append('get', '', [])
  buffer.append('get', 'b', [])
  const resumption = await buffer.after(first)
  if (resumption === undefined) throw new Error('It is not known')
  const read: string[] = []
  for await (const page of resumption.pages()) {
    read.push(...page.map(({ data }) => data))
    if (read.length === 1) buffer.append('get', 'c', [])
  }
  t.strictSame(read, ['b', 'c'])
  buffer.append('get', '', [])
  buffer.append('get', 'd', [])
  for await (const page of resumption.pages()) read.push(...page.map(({ data }) => data))
  t.strictSame(read, ['b', 'c', 'd'])
})
