import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { EventBuffer } from '../../../lib/endpoint/transport/event-buffer.js'
import { formatEvent, formatPriming } from '../../../lib/endpoint/transport/event-format.js'
import { Outlet, type OutletOptions, type PacedSink } from '../../../lib/endpoint/transport/outlet.js'
import type { EventLog, RequestId, Resumption } from '../../../lib/http/event-log.js'
import { createDeferred, type Deferred } from '../../helpers/waiting/deferred.js'
import { createRandom, type Random } from '../../helpers/chance/random.js'

const GET = 'get'

/** A connection that keeps what it gets. */
class Connection implements PacedSink {
  isOver = false
  text = ''
  error: Error | undefined

  write (text: string): void {
    if (this.isOver) throw new Error('It is over')
    this.text += text
  }

  end (): void {
    this.isOver = true
  }

  fail (error: Error): void {
    this.isOver = true
    this.error = error
  }

  whenTaken (): Promise<void> | undefined {
    return undefined
  }

  get data (): string[] {
    return Array.from(this.text.matchAll(/^data: (.+)$/gm), ([, data = '']) => data)
  }

  get ids (): string[] {
    return Array.from(this.text.matchAll(/^id: (.+)$/gm), ([, id = '']) => id)
  }
}

/** Lets through, or fails, when the test says so, in whatever order. */
class Gate {
  readonly waiting: Deferred<Error | undefined>[] = []

  async pass (): Promise<void> {
    const deferred = createDeferred<Error | undefined>()
    this.waiting.push(deferred)
    const error = await deferred.promise
    if (error !== undefined) throw error
  }

  async open (index = 0, error?: Error): Promise<void> {
    const [deferred] = this.waiting.splice(index, 1)
    if (deferred === undefined) throw new Error('Nothing waits here')
    deferred.resolve(error)
    await turn()
  }
}

/** A log that is elsewhere. */
class SlowLog implements EventLog {
  readonly maxBytes = 1000
  readonly gate = new Gate()
  readonly released: string[] = []
  readonly #buffer = new EventBuffer({ maxEvents: 1000, maxBytes: 1_000_000 })

  async append (streamId: string, data: string, pending: readonly RequestId[]): Promise<string> {
    await this.gate.pass()
    return this.#buffer.append(streamId, data, pending)
  }

  async after (lastEventId: string): Promise<Resumption | undefined> {
    return this.#buffer.after(lastEventId)
  }

  release (streamId: string): void {
    this.released.push(streamId)
  }
}

function build (options: Partial<OutletOptions> = {}): { outlet: Outlet, connection: Connection } {
  const outlet = new Outlet({ streamId: GET, log: undefined, barrier: undefined, retryInterval: 1000, ...options })
  const connection = new Connection()
  outlet.attach(connection)
  return { outlet, connection }
}

function createLog (): EventBuffer {
  return new EventBuffer({ maxEvents: 100, maxBytes: 100 })
}

async function find (log: EventLog, id: string | undefined): Promise<Resumption> {
  const resumption = await log.after(String(id))
  if (resumption === undefined) throw new Error(`${id} is not known`)
  return resumption
}

async function pendingAfter (log: EventLog, id: string | undefined): Promise<readonly RequestId[]> {
  return (await find(log, id)).pending
}

t.test('what has nothing to wait for goes out at once', async (t) => {
  const { outlet, connection } = build()
  t.equal(outlet.emit('a', []), undefined)
  t.equal(connection.text, formatEvent('a'))
  const log = createLog()
  const kept = build({ log, barrier: () => undefined })
  t.equal(kept.outlet.emit('a', [1]), undefined)
  t.equal(kept.connection.text, formatEvent('a', kept.connection.ids[0]))
  t.strictSame(await pendingAfter(log, kept.connection.ids[0]), [1])
  kept.outlet.prime([1])
  t.equal(kept.connection.text.slice(formatEvent('a', kept.connection.ids[0]).length), formatPriming(String(kept.connection.ids[1]), 1000))
})

t.test('what waits goes out in the order in which it was said', async (t) => {
  const [barrier, log] = [new Gate(), new SlowLog()]
  const { outlet, connection } = build({ barrier: () => barrier.pass(), log })
  const sent = ['a', 'b', 'c'].map((data) => outlet.emit(data, []))
  outlet.prime([])
  await turn()
  t.strictSame([barrier.waiting.length, log.gate.waiting.length], [1, 0], 'nothing is kept before it may go out')
  for (const data of ['a', 'b', 'c']) {
    await barrier.open()
    t.notOk(connection.data.includes(data), 'nothing goes out before it is kept')
    await log.gate.open()
    t.equal(connection.data.at(-1), data)
  }
  await Promise.all(sent)
  await log.gate.open()
  await outlet.settle()
  t.strictSame([connection.data, connection.ids.length], [['a', 'b', 'c'], 4])
  outlet.emit('d', [])
  await barrier.open()
  await log.gate.open()
  t.equal(connection.data.at(-1), 'd', 'and so it goes on')
})

t.test('what must not go out ends the connection and says why', async (t) => {
  const [barrier, log] = [new Gate(), new SlowLog()]
  const { outlet, connection } = build({ barrier: () => barrier.pass(), log })
  const [first, second] = [outlet.emit('a', []), outlet.emit('b', [])]
  const error = new Error('not yours any more')
  const refused = t.rejects(Promise.resolve(first), error)
  await barrier.open(0, error)
  await refused
  t.strictSame([connection.text, connection.error], ['', error])

  const other = new Connection()
  outlet.attach(other)
  await barrier.open()
  const failed = t.rejects(Promise.resolve(second), { message: 'not kept' })
  await log.gate.open(0, new Error('not kept'))
  await failed
  t.match(other.error, { message: 'not kept' })

  const last = new Connection()
  outlet.attach(last)
  const third = outlet.emit('c', [])
  await barrier.open()
  await log.gate.open()
  await third
  t.strictSame(last.data, ['c'], 'what is said later has its own chance')

  outlet.detach(last)
  const nobody = t.rejects(Promise.resolve(outlet.emit('d', [])), { message: 'again' })
  await barrier.open(0, new Error('again'))
  await nobody
})

t.test('a priming event that cannot be kept', async (t) => {
  const log = new SlowLog()
  const { outlet, connection } = build({ log })
  outlet.prime([])
  await log.gate.open(0, new Error('lost'))
  t.match(connection.error, { message: 'lost' })

  outlet.prime([])
  outlet.detach(connection)
  await log.gate.open(0, new Error('lost again'))
  await outlet.settle()

  const forgetful = build({ log: { maxBytes: 100, append: () => '', after: async () => undefined, release () {} } })
  forgetful.outlet.prime([])
  t.equal(forgetful.connection.text, '', 'without an id it says nothing')
  forgetful.outlet.emit('a', [])
  t.equal(forgetful.connection.text, formatEvent('a'), 'and a message goes without one')
  t.strictSame([forgetful.outlet.isReachable, (forgetful.connection.end(), forgetful.outlet.isReachable)], [true, false])
})

t.test('does something else in its turn, when the barrier lets it pass', async (t) => {
  const done: string[] = []
  const note = (what: string) => (error?: Error) => { done.push(error === undefined ? what : `${what}: ${error.message}`) }
  const barrier = new Gate()
  let isUp = false
  const { outlet, connection } = build({ barrier: () => isUp ? barrier.pass() : undefined })
  t.equal(outlet.pass(note('at once'), note('held')), undefined)
  isUp = true
  outlet.emit('a', [])
  const second = outlet.pass(note('second'), note('held'))
  const third = outlet.pass(note('third'), note('held'))
  await barrier.open()
  t.strictSame([connection.data, done], [['a'], ['at once']])
  await barrier.open()
  await second
  await barrier.open(0, new Error('lost'))
  await third
  t.strictSame(done, ['at once', 'second', 'held: lost'])
})

t.test('the newest connection wins', async (t) => {
  const { outlet, connection } = build()
  const newer = new Connection()
  outlet.attach(newer)
  outlet.detach(connection)
  outlet.emit('a', [])
  t.strictSame([connection.isOver, connection.text, newer.data], [true, '', ['a']])
  outlet.detach(newer)
  outlet.emit('b', [])
  t.strictSame(newer.data, ['a'])
})

t.test('whether a message can reach the client', async (t) => {
  const { outlet, connection } = build()
  t.equal(outlet.isReachable, true)
  connection.end()
  t.equal(outlet.isReachable, false, 'its connection is over')
  outlet.detach(connection)
  t.equal(outlet.isReachable, false)
  const kept = build({ log: createLog() })
  kept.connection.end()
  kept.outlet.emit('a', [])
  t.equal(kept.outlet.isReachable, false, 'it has no id to come back with')
  kept.outlet.attach(new Connection())
  kept.outlet.emit('a', [])
  kept.outlet.attach(kept.connection)
  t.equal(kept.outlet.isReachable, true)
})

t.test('ends after all that was said before', async (t) => {
  const barrier = new Gate()
  const { outlet, connection } = build({ barrier: () => barrier.pass() })
  outlet.emit('a', [])
  const ended = outlet.end()
  t.notOk(connection.isOver)
  await barrier.open()
  await ended
  t.strictSame([connection.data, connection.isOver], [['a'], true])
  t.equal(outlet.end(), undefined, 'again is nothing')
  outlet.detach(connection)
  t.equal(outlet.end(), undefined)
  t.equal(outlet.finish(), undefined)
})

t.test('who comes back gets what was missed before what is new', async (t) => {
  const log = new SlowLog()
  const { outlet, connection } = build({ log })
  for (const data of ['a', 'b', 'c']) {
    outlet.emit(data, [])
    await turn()
    await log.gate.open()
  }
  const newer = new Connection()
  outlet.emit('d', [])
  const resumed = outlet.resume(newer, await find(log, connection.ids[0]))
  outlet.emit('e', [])
  for (let count = 0; count < 2; count++) {
    await turn()
    await log.gate.open()
  }
  await resumed
  t.strictSame([newer.data, connection.isOver], [['b', 'c', 'd', 'e'], true])
  outlet.emit('f', [])
  await turn()
  await log.gate.open()
  t.strictSame([newer.data, connection.data], [['b', 'c', 'd', 'e', 'f'], ['a', 'b', 'c', 'd', 'e']])
  t.equal(new Set([...connection.ids, ...newer.ids]).size, 6, 'what comes twice has one id')
})

t.test('a client that takes its time to read what it missed holds nothing up, and is not cut off', async (t) => {
  const log = createLog()
  const { outlet, connection } = build({ log })
  for (const data of ['a', 'b', 'c']) outlet.emit(data, [])
  const taken = createDeferred()
  const slow = new Connection()
  slow.whenTaken = () => slow.data.length === 1 ? taken.promise : undefined
  const resumed = outlet.resume(slow, await find(log, connection.ids[0]))
  await turn()
  t.strictSame(slow.data, ['b'])
  t.equal(outlet.emit('d', []), undefined, 'what is new does not wait for it')
  t.strictSame(connection.data, ['a', 'b', 'c', 'd'])
  taken.resolve()
  await resumed
  outlet.emit('e', [])
  t.strictSame(slow.data, ['b', 'c', 'd', 'e'])
})

t.test('a client that goes while it takes its time takes no place', async (t) => {
  const log = createLog()
  const { outlet, connection } = build({ log })
  for (const data of ['a', 'b', 'c']) outlet.emit(data, [])
  const taken = createDeferred()
  const gone = new Connection()
  gone.whenTaken = () => taken.promise
  const resumed = outlet.resume(gone, await find(log, connection.ids[0]))
  gone.end()
  taken.resolve()
  await resumed
  outlet.emit('d', [])
  t.strictSame([gone.data, connection.data], [[], ['a', 'b', 'c', 'd']])
})

t.test('who comes back to a stream that is finished gets the rest and the end', async (t) => {
  const log = createLog()
  const { outlet, connection } = build({ log })
  outlet.emit('a', [1])
  outlet.detach(connection)
  outlet.emit('b', [])
  outlet.finish()
  const newer = new Connection()
  await outlet.resume(newer, await find(log, connection.ids[0]))
  t.strictSame([newer.data, newer.isOver], [['b'], true])
  const ended = build({ log })
  ended.outlet.emit('c', [])
  ended.outlet.end()
  const last = new Connection()
  await ended.outlet.resume(last, await find(log, ended.connection.ids[0]))
  t.equal(last.isOver, false, 'the end of a connection is not that of the stream')
})

t.test('a connection that is newer than one that still gets what it missed wins', async (t) => {
  const log = createLog()
  const { outlet, connection } = build({ log })
  outlet.emit('a', [])
  const [older, newer] = [new Connection(), new Connection()]
  const resumed = outlet.resume(older, await find(log, connection.ids[0]))
  outlet.attach(newer)
  await resumed
  t.strictSame([older.isOver, newer.isOver], [true, false])

  const gone = new Connection()
  outlet.emit('missed', [])
  const again = outlet.resume(gone, await find(log, connection.ids[0]))
  gone.end()
  outlet.detach(gone)
  await again
  await outlet.emit('b', [])
  t.strictSame(newer.data, ['missed', 'b'], 'one that has gone meanwhile does not take the place of one that is there')
})

t.test('a log that does not give what was missed spoils nothing else', async (t) => {
  const { outlet, connection } = build()
  const broken: Resumption = {
    streamId: GET,
    pending: [],
    async * pages () { throw new Error('no log') }
  }
  await t.rejects(Promise.resolve(outlet.resume(new Connection(), broken)), { message: 'no log' })
  await outlet.emit('a', [])
  t.strictSame(connection.data, ['a'])
})

t.test('notes who still waits without a word', async (t) => {
  const log = createLog()
  const { outlet, connection } = build({ log })
  outlet.prime([1, 2])
  const [id] = connection.ids
  const before = connection.text
  outlet.note([2])
  t.strictSame([await pendingAfter(log, id), connection.text], [[2], before])

  const slow = new SlowLog()
  const other = build({ log: slow })
  other.outlet.note([])
  await slow.gate.open(0, new Error('lost'))
  await other.outlet.settle()
  t.equal(other.connection.error, undefined, 'a failure is nobody\'s business')
})

t.test('a message that is larger than the log is sent and not kept', async (t) => {
  const log = createLog()
  const { outlet, connection } = build({ log })
  const large = 'é'.repeat(51)
  outlet.prime([1])
  outlet.emit('before', [1])
  outlet.emit(large, [1])
  outlet.emit(large, [], () => 'it was too large')
  outlet.emit('é'.repeat(10), [], () => 'not this')
  t.strictSame(connection.data, ['before', large, large, 'é'.repeat(10)])
  t.equal(connection.ids.length, 5)
  const newer = new Connection()
  await outlet.resume(newer, await find(log, connection.ids[0]))
  t.strictSame(newer.data, ['before', 'it was too large', 'é'.repeat(10)], 'and drives nothing else out')
})

t.test('says to the log when the client has all of it', async (t) => {
  const log = new SlowLog()
  build({ log }).outlet.release()
  build().outlet.release()
  t.strictSame(log.released, [GET])
})

// A client that comes and goes, and a barrier and a log that take their time and fail, in any order.
class Play {
  readonly random: Random
  readonly log = new SlowLog()
  readonly barrier = new Gate()
  readonly outlet = new Outlet({ streamId: GET, log: this.log, barrier: () => this.random.below(2) === 0 ? this.barrier.pass() : undefined, retryInterval: 0 })
  readonly connections: Connection[] = []
  /** What was said and must be heard. */
  readonly said: string[] = []
  readonly refused = new Set<string>()
  #count = 0

  constructor (random: Random) {
    this.random = random
    this.connect()
    this.outlet.prime([])
  }

  /** By id, and so each once. */
  get heard (): string[] {
    return Array.from(new Map(this.connections.flatMap((connection) => connection.data.map((data) => [data, data]))).keys())
  }

  get lastId (): string | undefined {
    return this.connections.flatMap(({ ids }) => ids).sort(byNumber).at(-1)
  }

  say (): void {
    const data = `m${this.#count++}`
    this.said.push(data)
    Promise.resolve(this.outlet.emit(data, [])).catch(() => { this.refused.add(data) })
  }

  connect (): Connection {
    const connection = new Connection()
    this.connections.push(connection)
    this.outlet.attach(connection)
    return connection
  }

  async comeBack (): Promise<void> {
    if (this.lastId === undefined) return
    const connection = new Connection()
    this.connections.push(connection)
    Promise.resolve(this.outlet.resume(connection, await find(this.log, this.lastId))).catch(() => {})
  }

  leave (): void {
    const connection = this.connections.at(-1)
    connection?.end()
    if (connection !== undefined) this.outlet.detach(connection)
  }

  async let (error?: Error): Promise<void> {
    const gate = this.random.below(2) === 0 ? this.barrier : this.log.gate
    if (gate.waiting.length > 0) await gate.open(this.random.below(gate.waiting.length), error)
  }

  async rest (): Promise<void> {
    do {
      for (const gate of [this.barrier, this.log.gate]) while (gate.waiting.length > 0) await gate.open()
      await turn()
    } while (this.barrier.waiting.length + this.log.gate.waiting.length > 0)
    await this.outlet.settle()
  }
}

function byNumber (a: string, b: string): number {
  return Number(/-(\d+)\//.exec(a)?.[1]) - Number(/-(\d+)\//.exec(b)?.[1])
}

t.test('whatever happens meanwhile, a client that comes back has heard everything, in order', async (t) => {
  const seed = Number(process.env['SEED'] ?? 1)
  for (let round = 0; round < 60; round++) {
    const play = new Play(createRandom(seed * 1000 + round))
    // So that there is an id to come back with.
    await play.rest()
    const acts = [
      () => play.say(), () => play.say(), () => play.leave(), () => play.comeBack(), () => play.let(), () => play.let(), () => play.let(),
      () => play.let(new Error('no')), () => { play.outlet.end() }
    ]
    for (let step = 0; step < 60; step++) await play.random.pick(acts)?.()
    await play.rest()
    await play.comeBack()
    await play.rest()
    checkRound(t, play, `seed ${seed}, round ${round}`)
  }
})

function checkRound (t: Test, play: Play, name: string): void {
  const expected = play.said.filter((data) => !play.refused.has(data))
  const isOrdered = play.connections.every(({ ids }) => ids.join() === ids.toSorted(byNumber).join())
  const heard = play.heard.toSorted((a, b) => Number(a.slice(1)) - Number(b.slice(1)))
  t.strictSame({ heard, isOrdered }, { heard: expected, isOrdered: true }, name)
}
