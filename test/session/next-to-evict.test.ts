import t from 'tap'
import { IdleQueue } from '../../lib/session/idle-queue.js'
import { SessionRecord } from '../../lib/session/session-record.js'
import { createRandom } from '../helpers/chance/random.js'

const TTL = 6400
// What the queue makes of the ttl.
const SLOT = 100
// So many that they are not searched one by one.
const MANY = 2000

function fill (queue: IdleQueue, times: number[]): SessionRecord[] {
  return times.map((time, index) => {
    const session = new SessionRecord(`s${index}`, time)
    queue.add(session)
    return session
  })
}

/** The ids in the order in which they would be evicted. */
function drain (queue: IdleQueue): string[] {
  const ids: string[] = []
  for (let session = queue.nextToEvict(); session !== undefined; session = queue.nextToEvict()) {
    ids.push(session.id)
    session.unlink()
  }
  return ids
}

t.test('nobody is idle in an empty queue', async (t) => {
  t.equal(new IdleQueue(TTL).nextToEvict(), undefined)
})

t.test('the longest idle session stays in the queue', async (t) => {
  const queue = new IdleQueue(TTL)
  const [session] = fill(queue, [5])
  t.equal(queue.nextToEvict(), session)
  t.equal(queue.nextToEvict(), session)
  t.ok(session?.isLinked)
})

t.test('within a slot they go by the last access', async (t) => {
  const queue = new IdleQueue(TTL)
  fill(queue, [30, 10, 50, 0, 99, 20])
  t.strictSame(drain(queue), ['s3', 's1', 's5', 's0', 's2', 's4'])
})

t.test('across slots they go by the last access', async (t) => {
  const queue = new IdleQueue(TTL)
  fill(queue, [950, 10, 500, 10_000, 499, 20])
  t.strictSame(drain(queue), ['s1', 's5', 's4', 's2', 's0', 's3'])
})

t.test('of those that are idle equally long, the first goes', async (t) => {
  const queue = new IdleQueue(TTL)
  fill(queue, [7, 7, 7])
  t.strictSame(drain(queue), ['s0', 's1', 's2'])
})

t.test('a touch within the slot, to the next, and far away counts', async (t) => {
  const queue = new IdleQueue(TTL)
  const [near, next, far, idle] = fill(queue, [1, 2, 3, 4])
  if (near !== undefined) near.lastAccessedAt = SLOT - 1
  if (next !== undefined) next.lastAccessedAt = SLOT
  if (far !== undefined) far.lastAccessedAt = 50 * SLOT
  t.equal(queue.nextToEvict(), idle)
  t.strictSame(drain(queue), ['s3', 's0', 's1', 's2'])
})

t.test('an active session leaves, and comes back when it is added', async (t) => {
  const queue = new IdleQueue(TTL)
  const [active, idle] = fill(queue, [1, 2])
  if (active === undefined) throw new Error('unreachable')
  active.activeRequests = 1
  t.equal(queue.nextToEvict(), idle)
  t.notOk(active.isLinked)
  active.activeRequests = 0
  active.lastAccessedAt = 3
  queue.add(active)
  t.strictSame(drain(queue), ['s1', 's0'])
})

t.test('nobody is idle when all are active', async (t) => {
  const queue = new IdleQueue(TTL)
  for (const session of fill(queue, [1, 2, SLOT, 5 * SLOT])) session.activeRequests = 1
  t.equal(queue.nextToEvict(), undefined)
})

t.test('a sweep that is under way does not disturb it, nor it the sweep', async (t) => {
  const queue = new IdleQueue(TTL)
  fill(queue, [10, 20, 30, 40, SLOT + 10])
  t.strictSame(queue.takeIdleBefore(1000, 2).sessions.map(({ id }) => id), ['s0', 's1'])
  t.equal(queue.nextToEvict()?.id, 's2')
  queue.nextToEvict()?.unlink()
  queue.nextToEvict()?.unlink()
  t.equal(queue.nextToEvict()?.id, 's4', 'past the slot of which only the mark of the sweep is left')
  const rest = queue.takeIdleBefore(1000, 100)
  t.strictSame(rest.sessions.map(({ id }) => id), ['s4'])
  t.notOk(rest.more)
})

for (const [ttl, slot] of [[TTL, SLOT], [Infinity, 60_000]] as const) {
  t.test(`none is lost, however many slots there are, with a ttl of ${ttl}`, async (t) => {
    // When the queue clears out empty slots is its own affair, so all counts are tried.
    for (let count = 1; count <= 300; count++) {
      const queue = new IdleQueue(ttl)
      const [first] = fill(queue, Array.from({ length: count }, (_, index) => index * slot))
      if (first !== undefined) first.lastAccessedAt = count * slot
      const order = Array.from({ length: count }, (_, index) => `s${(index + 1) % count}`)
      t.strictSame(drain(queue), order)
    }
  })
}

/** The ids in the order of the last access, those that are equal in the order in which they came. */
function byLastAccess (sessions: SessionRecord[]): string[] {
  return sessions.toSorted((one, other) => one.lastAccessedAt - other.lastAccessedAt).map(({ id }) => id)
}

for (const ttl of [TTL, Infinity]) {
  t.test(`many go by the last access, with a ttl of ${ttl}`, async (t) => {
    const random = createRandom(1)
    for (const span of [1, 2, 50, SLOT, 20 * SLOT]) {
      const queue = new IdleQueue(ttl)
      const sessions = fill(queue, Array.from({ length: MANY }, () => 5 * SLOT + random.below(span)))
      t.strictSame(drain(queue), byLastAccess(sessions), `within ${span} ms`)
    }
  })

  t.test(`many go by the last access, however they are touched in between, with a ttl of ${ttl}`, async (t) => {
    const random = createRandom(2)
    const queue = new IdleQueue(ttl)
    const sessions = fill(queue, Array.from({ length: MANY }, () => 7))
    let now = 7
    while (sessions.length > 0) {
      now++
      for (let touches = 0; touches < 3; touches++) {
        const touched = random.pick(sessions)
        if (touched !== undefined) touched.lastAccessedAt = now
      }
      const oldest = Math.min(...sessions.map(({ lastAccessedAt }) => lastAccessedAt))
      const next = queue.nextToEvict()
      if (next === undefined || next.lastAccessedAt !== oldest) throw new Error(`${next?.lastAccessedAt} instead of ${oldest}`)
      sessions.splice(sessions.indexOf(next), 1)
      next.unlink()
    }
    t.equal(queue.nextToEvict(), undefined)
  })
}

t.test('one that comes when others have been put in order finds its place, whatever it is', async (t) => {
  const queue = new IdleQueue(TTL)
  const sessions = fill(queue, Array.from({ length: MANY }, (_, index) => 3 * SLOT + 10 + index % 80))
  queue.nextToEvict()
  for (let time = 2 * SLOT; time < 5 * SLOT; time++) sessions.push(...fill(queue, [time]))
  const times: number[] = []
  for (let session = queue.nextToEvict(); session !== undefined; session = queue.nextToEvict()) {
    times.push(session.lastAccessedAt)
    session.unlink()
  }
  t.strictSame(times, sessions.map(({ lastAccessedAt }) => lastAccessedAt).sort((one, other) => one - other))
})

t.test('those that come late into parts of a slot go by the last access too', async (t) => {
  const random = createRandom(3)
  for (let round = 0; round < 30; round++) {
    const queue = new IdleQueue(random.pick([TTL, Infinity]) ?? TTL)
    const sessions = fill(queue, Array.from({ length: 200 }, () => 3 * SLOT + random.below(SLOT)))
    for (let late = 0; late < 200; late++) {
      const next = queue.nextToEvict()
      const [expected] = byLastAccess(sessions)
      if (next?.lastAccessedAt !== sessions.find(({ id }) => id === expected)?.lastAccessedAt) t.fail(`round ${round}`)
      if (next === undefined) return
      sessions.splice(sessions.indexOf(next), 1)
      next.unlink()
      const session = new SessionRecord(`late ${late}`, random.below(6 * SLOT))
      sessions.push(session)
      queue.add(session)
    }
  }
  t.pass('30 rounds')
})

t.test('a sweep of a slot that is split in between misses nobody, and ends', async (t) => {
  for (const visits of [1, 10, 150]) {
    const queue = new IdleQueue(TTL)
    const sessions = fill(queue, Array.from({ length: 300 }, (_, index) => index % SLOT))
    const time = SLOT / 2
    const first = queue.takeIdleBefore(time, visits)
    t.equal(queue.nextToEvict()?.lastAccessedAt, Math.min(...sessions.filter(({ isLinked }) => isLinked).map(({ lastAccessedAt }) => lastAccessedAt)))
    const rest = queue.takeIdleBefore(time, 1000)
    t.equal(first.sessions.length + rest.sessions.length, 150)
    t.notOk(rest.more)
    const left = sessions.filter(({ isLinked }) => isLinked)
    t.ok(left.every(({ lastAccessedAt }) => lastAccessedAt >= time))
    t.equal(drain(queue).length, left.length)
  }
})

// How many looks at the time of a session it takes, without a clock that would measure what else the machine does.
function countLooks (sessions: SessionRecord[]): () => number {
  let looks = 0
  for (const session of sessions) {
    let time = session.lastAccessedAt
    Object.defineProperty(session, 'lastAccessedAt', {
      get () {
        looks++
        return time
      },
      set (now) { time = now }
    })
  }
  return () => looks
}

// As many as are searched at a time, thrice each; all of them would be thousands.
const LOOKS_PER_SESSION = 200

for (const [name, touch] of [
  ['opened together', () => {}],
  ['touched since', (session: SessionRecord, index: number) => { session.lastAccessedAt = SLOT * 40 + index * 7919 % 5000 }],
  ['streaming', (session: SessionRecord) => { session.activeRequests = session.openStreams = 1 }]
] as const) {
  t.test(`who is next is not searched for among all: ${name}`, async (t) => {
    const queue = new IdleQueue(TTL)
    const sessions = fill(queue, Array.from({ length: MANY }, () => 5))
    sessions.forEach(touch)
    const looks = countLooks(sessions)
    t.equal(drain(queue).length, MANY)
    t.ok(looks() < MANY * LOOKS_PER_SESSION, `${looks()} looks`)
  })
}

t.test('the first who makes room is found among a few of those that came one after the other', async (t) => {
  for (const ttl of [3_600_000, Infinity]) {
    const queue = new IdleQueue(ttl)
    const sessions = fill(queue, Array.from({ length: 10 * MANY }, (_, index) => Math.floor(index / 100)))
    const looks = countLooks(sessions)
    t.equal(queue.nextToEvict(), sessions[0])
    t.ok(looks() < MANY * 5, `${looks()} looks`)
    t.strictSame(drain(queue), sessions.map(({ id }) => id))
  }
})

t.test('in a steady state who is next is not searched for among all', async (t) => {
  const queue = new IdleQueue(TTL)
  const sessions = fill(queue, Array.from({ length: MANY }, () => 5))
  const looks = countLooks(sessions)
  for (let round = 0; round < 5 * MANY; round++) {
    const next = queue.nextToEvict()
    if (next === undefined) throw new Error('nobody is idle')
    next.unlink()
    next.lastAccessedAt = 6 + Math.floor(round / 10)
    queue.add(next)
  }
  t.ok(looks() < 5 * MANY * LOOKS_PER_SESSION, `${looks()} looks`)
})

t.test('when all have requests running, nobody is searched a second time', async (t) => {
  const queue = new IdleQueue(TTL)
  const sessions = fill(queue, Array.from({ length: MANY }, () => 5))
  for (const session of sessions) session.activeRequests = 1
  t.equal(queue.nextToEvict(), undefined)
  t.ok(sessions.every(({ isLinked }) => !isLinked), 'all have left')
})

/** Lets the session hold streams, and requests besides. */
function use (session: SessionRecord | undefined, streams: number, requests = 0): void {
  if (session === undefined) throw new Error('unreachable')
  session.activeRequests = streams + requests
  session.openStreams = streams
}

t.test('one that holds nothing but streams is next when none is idle', async (t) => {
  const queue = new IdleQueue(TTL)
  const [two, one, called, idle] = fill(queue, [3, 2, 1, SLOT])
  use(two, 2)
  use(one, 1)
  use(called, 1, 1)
  t.equal(queue.nextToEvict(), idle)
  t.ok(one?.isLinked)
  t.strictSame(drain(queue), ['s3', 's1', 's0'])
  t.notOk(called?.isLinked)
})

t.test('those that hold only streams go by the last access, also when they are used in between', async (t) => {
  const queue = new IdleQueue(TTL)
  const sessions = fill(queue, Array.from({ length: MANY }, (_, index) => index % 700))
  for (const session of sessions) use(session, 1)
  t.equal(queue.nextToEvict(), sessions[0])
  for (const [index, session] of sessions.entries()) if (index % 3 === 0) session.lastAccessedAt = 1000 + index * 7919 % 500
  const times = new Map(sessions.map(({ id, lastAccessedAt }) => [id, lastAccessedAt]))
  t.strictSame(drain(queue).map((id) => times.get(id)), [...times.values()].sort((one, other) => one - other))
})

t.test('one whose streams are over is idle, one that is called has left until it is added again', async (t) => {
  const queue = new IdleQueue(TTL)
  const [called, over, streaming] = fill(queue, [1, 2, 3])
  for (const session of [called, over, streaming]) use(session, 1)
  t.equal(queue.nextToEvict(), called)
  use(called, 1, 1)
  t.equal(queue.nextToEvict(), over)
  t.notOk(called?.isLinked)
  use(over, 0)
  t.equal(queue.nextToEvict(), streaming, 'it was found out only now')
  t.equal(queue.nextToEvict(), over)
  use(called, 1)
  if (called !== undefined) queue.add(called)
  t.strictSame(drain(queue), ['s1', 's0', 's2'])
})

t.test('a sweep leaves those that hold only streams for the day when none is idle', async (t) => {
  const queue = new IdleQueue(TTL)
  const [streaming, called, idle] = fill(queue, [1, 2, 3])
  use(streaming, 1)
  use(called, 0, 1)
  t.strictSame(queue.takeIdleBefore(SLOT, 10), { sessions: [idle], more: false })
  t.strictSame([streaming?.isLinked, called?.isLinked], [true, false])
  t.strictSame(queue.takeIdleBefore(100 * SLOT, 10), { sessions: [], more: false }, 'they do not expire')
  t.equal(queue.nextToEvict(), streaming)
})

t.test('it is right however sessions are used', async (t) => {
  const random = createRandom(4)
  for (let round = 0; round < 60; round++) {
    const queue = new IdleQueue(random.pick([TTL, Infinity]) ?? TTL)
    const sessions = new Set<SessionRecord>()
    let now = 0
    // Sometimes many are in one slot, sometimes few.
    const pace = random.pick([1, 5, 3 * SLOT]) ?? 1
    for (let step = 0; step < 400; step++) {
      now += random.below(pace)
      const session = random.pick([...sessions])
      switch (random.below(7)) {
        case 0: case 1:
          for (let count = random.below(step % 100 === 0 ? 200 : 3); count >= 0; count--) {
            const added = new SessionRecord(`${round}-${step}`, now)
            sessions.add(added)
            queue.add(added)
          }
          break
        case 2:
          if (session !== undefined) session.lastAccessedAt = now
          break
        case 3:
          if (session?.isIdle === true) use(session, random.below(2), random.below(2))
          break
        case 4:
          if (session?.isIdle === false) {
            use(session, 0)
            session.lastAccessedAt = now
            session.unlink()
            queue.add(session)
          }
          break
        case 5:
          for (const taken of queue.takeIdleBefore(now - TTL, random.below(4)).sessions) sessions.delete(taken)
          break
        case 6:
          if (session?.isLinked === true) {
            session.unlink()
            sessions.delete(session)
          }
      }
      const idle = [...sessions].filter(({ isIdle }) => isIdle)
      const streaming = [...sessions].filter(({ holdsOnlyStreams }) => holdsOnlyStreams)
      const times = (idle.length > 0 ? idle : streaming).map(({ lastAccessedAt }) => lastAccessedAt)
      const next = queue.nextToEvict()
      if ((next?.lastAccessedAt ?? Infinity) !== Math.min(...times) || (next?.isIdle ?? false) !== (idle.length > 0)) {
        t.fail(`round ${round}, step ${step}: ${next?.lastAccessedAt} instead of ${Math.min(...times)}`)
        return
      }
    }
  }
  t.pass('in 24,000 steps')
})
