import t from 'tap'
import { IdleQueue } from '../../lib/session/idle-queue.js'
import { SessionRecord } from '../../lib/session/session-record.js'
import { collectNow } from '../helpers/heap/garbage.js'
import { createRandom } from '../helpers/chance/random.js'

const TTL = 6400
// What the queue makes of the ttl.
const SLOT = 100
const ALL = 1_000_000

function fill (queue: IdleQueue, times: number[]): SessionRecord[] {
  return times.map((time, index) => {
    const session = new SessionRecord(`s${index}`, time)
    queue.add(session)
    return session
  })
}

function range (length: number, at: (index: number) => number = (index) => index): number[] {
  return Array.from({ length }, (_, index) => at(index))
}

function idsOf (sessions: SessionRecord[]): string[] {
  return sessions.map(({ id }) => id)
}

/** One pass, however many batches it takes. */
function takeAll (queue: IdleQueue, time: number, visits: number): SessionRecord[] {
  const taken: SessionRecord[] = []
  for (let batches = 0; batches < 100_000; batches++) {
    const { sessions, more } = queue.takeIdleBefore(time, visits)
    taken.push(...sessions)
    if (!more) return taken
  }
  throw new Error('The pass does not end')
}

t.test('an empty queue has nobody idle', async (t) => {
  t.strictSame(new IdleQueue(TTL).takeIdleBefore(ALL, ALL), { sessions: [], more: false })
  t.strictSame(new IdleQueue(TTL).takeIdleBefore(ALL, 0), { sessions: [], more: true }, 'not one visit is allowed')
})

t.test('a session is taken when it has been idle since before the time, not at it', async (t) => {
  for (const time of [0, 1, SLOT - 1, SLOT, SLOT + 1, 7 * SLOT]) {
    const queue = new IdleQueue(TTL)
    const [session] = fill(queue, [time])
    t.strictSame(queue.takeIdleBefore(time - 1, ALL).sessions, [])
    t.strictSame(queue.takeIdleBefore(time, ALL), { sessions: [], more: false })
    t.ok(session?.isLinked, 'it is still in the queue')
    const { sessions } = queue.takeIdleBefore(time + 1, ALL)
    t.equal(sessions[0], session)
    t.notOk(session?.isLinked, 'it has left the queue')
    t.strictSame(queue.takeIdleBefore(ALL, ALL).sessions, [], 'it is taken once')
  }
})

t.test('the longest idle slot comes first, in the order of arrival', async (t) => {
  const queue = new IdleQueue(TTL)
  fill(queue, [250, 20, 130, 10, 251, 30])
  t.strictSame(idsOf(takeAll(queue, 251, 1)), ['s1', 's3', 's5', 's2', 's0'])
})

t.test('a batch looks at no more sessions than it may, and the next goes on', async (t) => {
  const queue = new IdleQueue(TTL)
  fill(queue, range(10, (index) => index * 30))
  const first = queue.takeIdleBefore(ALL, 4)
  t.strictSame(idsOf(first.sessions), ['s0', 's1', 's2', 's3'])
  t.equal(first.more, true)
  t.strictSame(idsOf(queue.takeIdleBefore(ALL, 4).sessions), ['s4', 's5', 's6', 's7'])
  const last = queue.takeIdleBefore(ALL, 4)
  t.strictSame(idsOf(last.sessions), ['s8', 's9'])
  t.equal(last.more, false)
})

t.test('a session that has been touched moves on to the slot of its touch', async (t) => {
  const queue = new IdleQueue(TTL)
  const [touched, idle] = fill(queue, [10, 10])
  if (touched !== undefined) touched.lastAccessedAt = 1234
  t.strictSame(takeAll(queue, 1000, 1), [idle])
  t.strictSame(takeAll(queue, 1234, 1), [])
  t.strictSame(takeAll(queue, 1235, 1), [touched])
})

t.test('a pass looks once at a slot whose sessions stay', async (t) => {
  const queue = new IdleQueue(TTL)
  fill(queue, range(50, () => 60))
  for (const visits of [1, 7, 49, 50]) {
    let looks = 0
    do looks += visits
    while (queue.takeIdleBefore(50 + visits / 10, visits).more)
    t.ok(looks <= 50 + visits, `${looks} visits`)
  }
})

t.test('two passes for the same time both end', async (t) => {
  const queue = new IdleQueue(TTL)
  const sessions = fill(queue, [60, 40, 60])
  t.strictSame(takeAll(queue, 50, 2), [sessions[1]])
  t.strictSame(takeAll(queue, 50, 2), [])
  t.equal(sessions[0]?.isLinked, true)
})

t.test('a pass that was broken off does not hide anyone from the next', async (t) => {
  const queue = new IdleQueue(TTL)
  const sessions = fill(queue, [70, 71, 72, 73])
  t.equal(queue.takeIdleBefore(50, 2).more, true, 'two have been put back')
  t.strictSame(takeAll(queue, 72, 1), [sessions[0], sessions[1]])
  t.strictSame(takeAll(queue, 74, 1), [sessions[2], sessions[3]])
})

t.test('young sessions cost nothing: no slot of theirs is looked at', async (t) => {
  const queue = new IdleQueue(TTL)
  fill(queue, range(TTL))
  // The slot of the time asked for, and one look to see that it is over.
  t.equal(queue.takeIdleBefore(50, SLOT + 1).more, false)
  const { sessions, more } = queue.takeIdleBefore(SLOT, SLOT + 1)
  t.equal(sessions.length, SLOT - 50)
  t.equal(more, false)
})

t.test('an active session leaves the queue and comes back when it is added', async (t) => {
  const queue = new IdleQueue(TTL)
  const [session] = fill(queue, [10])
  if (session === undefined) return
  session.activeRequests = 1
  t.strictSame(takeAll(queue, ALL, 10), [])
  t.notOk(session.isLinked)
  session.activeRequests = 0
  session.lastAccessedAt = 500
  queue.add(session)
  t.strictSame(takeAll(queue, 501, 10), [session])
})

t.test('a session that is unlinked is not found', async (t) => {
  const queue = new IdleQueue(TTL)
  const sessions = fill(queue, [10, 11, 12, 300])
  sessions[1]?.unlink()
  sessions[3]?.unlink()
  t.strictSame(takeAll(queue, ALL, 2), [sessions[0], sessions[2]])
})

t.test('sessions that arrive out of order find their slot', async (t) => {
  const queue = new IdleQueue(TTL)
  const times = [900, 100, 500, 0, 950, 510, 199, 5000, 99]
  const sessions = fill(queue, times)
  const found: number[] = []
  for (let time = 0; time < 5100; time += 50) {
    for (const session of takeAll(queue, time, 3)) {
      found.push(session.lastAccessedAt)
      t.ok(session.lastAccessedAt < time && session.lastAccessedAt >= time - 50)
    }
  }
  t.equal(found.length, sessions.length)
})

t.test('a session that is added to an earlier slot between two batches is found', async (t) => {
  const queue = new IdleQueue(TTL)
  fill(queue, range(6, () => 550))
  t.equal(queue.takeIdleBefore(520, 2).more, true)
  const late = new SessionRecord('late', 100)
  queue.add(late)
  t.strictSame(takeAll(queue, 520, 2), [late])
  t.equal(takeAll(queue, 551, 2).length, 6)
})

t.test('without a ttl nobody is idle for too long', async (t) => {
  const queue = new IdleQueue(Infinity)
  const sessions = fill(queue, range(300, (index) => index * 60_000))
  t.strictSame(queue.takeIdleBefore(-Infinity, ALL), { sessions: [], more: false })
  t.equal(takeAll(queue, Infinity, 10).length, sessions.length)
})

t.test('the shortest ttl has slots of a millisecond', async (t) => {
  for (const ttl of [0.001, 1, 63, 64]) {
    const queue = new IdleQueue(ttl)
    const [first, second] = fill(queue, [5, 6])
    t.strictSame(takeAll(queue, 6, 1), [first])
    t.strictSame(takeAll(queue, 7, 1), [second])
  }
})

t.test('sessions outlive the removal of empty slots', async (t) => {
  const queue = new IdleQueue(TTL)
  const sessions = fill(queue, range(2000, (index) => index * SLOT))
  for (const [index, session] of sessions.entries()) if (index % 7 !== 0) session.unlink()
  fill(queue, range(2000, (index) => (2000 + index) * SLOT)).forEach((session) => session.unlink())
  t.strictSame(takeAll(queue, ALL, 10), sessions.filter((_, index) => index % 7 === 0))
})

t.test('empty slots do not pile up', async (t) => {
  function heapUsed (): number {
    collectNow()
    return process.memoryUsage().heapUsed
  }
  const queue = new IdleQueue(TTL)
  const before = heapUsed()
  for (let index = 0; index < 100_000; index++) {
    const session = new SessionRecord('gone', index * SLOT)
    queue.add(session)
    session.unlink()
  }
  const grown = heapUsed() - before
  t.ok(grown < 4_000_000, `${grown} bytes`)
  t.strictSame(takeAll(queue, Infinity, 10), [])
})

t.test('whoever is idle is found, and nobody else, whatever happens in between', async (t) => {
  for (let seed = 1; seed <= 40; seed++) {
    const random = createRandom(seed)
    const ttl = random.pick([1, 50, 640, 6400]) ?? TTL
    const queue = new IdleQueue(ttl)
    const queued = new Set<SessionRecord>()
    const held = new Set<SessionRecord>()
    let now = 1_000_000

    function disturb (): void {
      const session = random.pick([...queued])
      switch (random.below(6)) {
        case 0: case 1: {
          const added = new SessionRecord(`${seed}-${now}`, now)
          queue.add(added)
          queued.add(added)
          break
        }
        case 2: if (session !== undefined) session.lastAccessedAt = now; break
        case 3: if (session !== undefined && queued.delete(session)) session.unlink(); break
        case 4:
          if (session === undefined || !queued.delete(session)) break
          session.activeRequests = 1
          held.add(session)
          break
        case 5: {
          const released = random.pick([...held])
          if (released === undefined) break
          held.delete(released)
          released.activeRequests = 0
          released.lastAccessedAt = now
          if (!released.isLinked) queue.add(released)
          queued.add(released)
        }
      }
    }

    for (let step = 0; step < 200; step++) {
      now += random.below(ttl)
      for (let count = random.below(12); count > 0; count--) disturb()
      const time = now - ttl
      let more = true
      for (let batches = 0; more && batches < 1000; batches++) {
        const batch = queue.takeIdleBefore(time, 1 + random.below(5))
        more = batch.more
        for (const session of batch.sessions) {
          if (!queued.delete(session)) t.fail(`seed ${seed}: ${session.id} was not in the queue`)
          if (session.lastAccessedAt >= time) t.fail(`seed ${seed}: ${session.id} is too young`)
        }
        if (more && random.below(3) === 0) disturb()
      }
      if (more) t.fail(`seed ${seed}: the pass does not end`)
      for (const session of queued) {
        if (session.lastAccessedAt < time) t.fail(`seed ${seed}: ${session.id} was overlooked`)
      }
    }
  }
  t.pass('40 seeds')
})
