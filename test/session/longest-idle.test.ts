import t from 'tap'
import { IdleQueue } from '../../lib/session/idle-queue.js'
import { SessionRecord } from '../../lib/session/session-record.js'

const TTL = 6400
// What the queue makes of the ttl, and of none.
const SLOT = 100
const SLOT_WITHOUT_TTL = 60_000

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
  for (let session = queue.longestIdle(); session !== undefined; session = queue.longestIdle()) {
    ids.push(session.id)
    session.unlink()
  }
  return ids
}

t.test('nobody is idle in an empty queue', async (t) => {
  t.equal(new IdleQueue(TTL).longestIdle(), undefined)
})

t.test('the longest idle session stays in the queue', async (t) => {
  const queue = new IdleQueue(TTL)
  const [session] = fill(queue, [5])
  t.equal(queue.longestIdle(), session)
  t.equal(queue.longestIdle(), session)
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
  t.equal(queue.longestIdle(), idle)
  t.strictSame(drain(queue), ['s3', 's0', 's1', 's2'])
})

t.test('an active session leaves, and comes back when it is added', async (t) => {
  const queue = new IdleQueue(TTL)
  const [active, idle] = fill(queue, [1, 2])
  if (active === undefined) throw new Error('unreachable')
  active.activeRequests = 1
  t.equal(queue.longestIdle(), idle)
  t.notOk(active.isLinked)
  active.activeRequests = 0
  active.lastAccessedAt = 3
  queue.add(active)
  t.strictSame(drain(queue), ['s1', 's0'])
})

t.test('nobody is idle when all are active', async (t) => {
  const queue = new IdleQueue(TTL)
  for (const session of fill(queue, [1, 2, SLOT, 5 * SLOT])) session.activeRequests = 1
  t.equal(queue.longestIdle(), undefined)
})

t.test('a sweep that is under way does not disturb it, nor it the sweep', async (t) => {
  const queue = new IdleQueue(TTL)
  fill(queue, [10, 20, 30, 40, SLOT + 10])
  t.strictSame(queue.takeIdleBefore(1000, 2).sessions.map(({ id }) => id), ['s0', 's1'])
  t.equal(queue.longestIdle()?.id, 's2')
  queue.longestIdle()?.unlink()
  queue.longestIdle()?.unlink()
  t.equal(queue.longestIdle()?.id, 's4', 'past the slot of which only the mark of the sweep is left')
  const rest = queue.takeIdleBefore(1000, 100)
  t.strictSame(rest.sessions.map(({ id }) => id), ['s4'])
  t.notOk(rest.more)
})

for (const [ttl, slot] of [[TTL, SLOT], [Infinity, SLOT_WITHOUT_TTL]] as const) {
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

t.test('it is right however sessions are used', async (t) => {
  let state = 1
  const below = (bound: number): number => {
    state = (state * 48_271) % 2_147_483_647
    return state % bound
  }
  for (let round = 0; round < 50; round++) {
    const queue = new IdleQueue(TTL)
    const sessions = new Set<SessionRecord>()
    let now = 0
    for (let step = 0; step < 400; step++) {
      now += below(3 * SLOT)
      const all = [...sessions]
      const session = all[below(Math.max(1, all.length))]
      switch (below(6)) {
        case 0: case 1: {
          const added = new SessionRecord(`${round}-${step}`, now)
          sessions.add(added)
          queue.add(added)
          break
        }
        case 2:
          if (session !== undefined) session.lastAccessedAt = now
          break
        case 3:
          if (session !== undefined) session.activeRequests = 1
          break
        case 4:
          if (session !== undefined && session.activeRequests === 1) {
            session.activeRequests = 0
            session.lastAccessedAt = now
            if (!session.isLinked) queue.add(session)
          }
          break
        case 5:
          for (const taken of queue.takeIdleBefore(now - TTL, below(4)).sessions) sessions.delete(taken)
      }
      const idle = [...sessions].filter(({ activeRequests }) => activeRequests === 0)
      const oldest = Math.min(...idle.map(({ lastAccessedAt }) => lastAccessedAt))
      const longest = queue.longestIdle()
      if ((longest?.lastAccessedAt ?? Infinity) !== oldest) {
        t.fail(`round ${round}, step ${step}: ${longest?.lastAccessedAt} instead of ${oldest}`)
        return
      }
    }
  }
  t.pass('in 20,000 steps')
})
