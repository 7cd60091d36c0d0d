// Who makes room for whom.
import t from 'tap'
import { SessionManager } from '../../lib/session/session-manager.js'
import { recordManager, stopTime } from '../helpers/session/recorded-manager.js'

const TTL = 1000
const LIMIT = { code: 'FST_ERR_MCP_SESSION_LIMIT' }
const ADA = { principal: 'ada' }
// More than are searched one by one.
const MANY = 100

/** Opens a stream in the session. Returns what ends it. */
function openStream (manager: SessionManager, id: string): () => void {
  const session = manager.acquire(id)
  if (session === undefined) throw new Error(`${id} is not there`)
  const endStream = manager.holdStream(session)
  return () => {
    endStream()
    manager.release(session)
  }
}

/** Counts a request in. Returns what counts it out. */
function call (manager: SessionManager, id: string): () => void {
  const session = manager.acquire(id)
  if (session === undefined) throw new Error(`${id} is not there`)
  return () => manager.release(session)
}

for (const limit of ['maxSessions', 'maxSessionsPerPrincipal']) {
  for (const max of [3, MANY]) {
    t.test(`${limit}: ${max}`, async (t) => {
      function fill (t: Parameters<typeof stopTime>[0]) {
        const timers = stopTime(t)
        const recorded = recordManager({ ttl: TTL, cleanupInterval: 100, [limit]: max })
        for (let index = 0; index < max; index++) {
          recorded.manager.register(`s${index}`, undefined, ADA)
          timers.tick(1)
        }
        recorded.events.length = 0
        recorded.takeLog()
        return { ...recorded, timers, ids: Array.from({ length: max }, (_, index) => `s${index}`) }
      }

      t.test('the longest idle session makes room', async (t) => {
        const { manager, events, takeLog } = fill(t)
        manager.touch('s0')
        manager.register('new', undefined, ADA)
        t.strictSame(events, ['closed s1 evicted', 'created new'])
        t.strictSame(takeLog(), ['Session evicted: s1', 'Session registered: new'])
      })

      t.test('one that holds nothing but a stream makes room when none is idle', async (t) => {
        const { manager, events, timers, ids } = fill(t)
        const ends = new Map(ids.map((id) => [id, openStream(manager, id)]))
        timers.tick(1)
        call(manager, 's0')()
        timers.tick(1)
        manager.register('idle', undefined, ADA)
        manager.register('next', undefined, ADA)
        t.strictSame(events, ['closed s1 evicted', 'created idle', 'closed idle evicted', 'created next'], 's0 was used last')
        events.length = 0
        openStream(manager, 'next')
        manager.register('last', undefined, ADA)
        t.strictSame(events, ['closed s2 evicted', 'created last'])
        events.length = 0
        for (const end of ends.values()) end()
        t.equal(manager.get('s0')?.activeRequests, 0)
        t.equal(manager.get('s0')?.openStreams, 0)
      })

      t.test('one that has a request running stays, stream or not', async (t) => {
        const { manager, events, ids } = fill(t)
        for (const id of ids) openStream(manager, id)
        const releases = ids.map((id) => call(manager, id))
        t.throws(() => manager.register('new', undefined, ADA), LIMIT)
        t.throws(() => manager.register('new', undefined, ADA), LIMIT)
        t.strictSame(events, [])
        releases[1]?.()
        manager.register('new', undefined, ADA)
        t.strictSame(events, ['closed s1 evicted', 'created new'], 'only the stream was left')
      })

      t.test('one whose stream is over is idle', async (t) => {
        const { manager, events, ids, timers } = fill(t)
        const ends = ids.map((id) => openStream(manager, id))
        manager.register('new', undefined, ADA)
        openStream(manager, 'new')
        events.length = 0
        timers.tick(1)
        ends[2]?.()
        manager.register('newer', undefined, ADA)
        t.strictSame(events, ['closed s2 evicted', 'created newer'], 'though it was used last')
      })

      t.test('a stream that opens when its session has left the queue counts', async (t) => {
        const { manager, events, ids } = fill(t)
        const sessions = ids.flatMap((id) => manager.acquire(id) ?? [])
        t.throws(() => manager.register('new', undefined, ADA), LIMIT)
        const [first] = sessions
        if (first !== undefined) manager.holdStream(first)
        manager.register('new', undefined, ADA)
        t.strictSame(events, ['closed s0 evicted', 'created new'])
      })

      t.test('one that has been touched after the clock went back is found', async (t) => {
        const { manager, events, timers, ids } = fill(t)
        timers.setTime(Date.now() - 500)
        manager.touch(ids.at(-1) ?? '')
        timers.tick(100)
        manager.register('new', undefined, ADA)
        t.strictSame(events, [`closed ${ids.at(-1)} evicted`, 'created new'])
      })

      t.test('one that has expired makes room as one that has expired', async (t) => {
        const { manager, events, timers, takeLog } = fill(t)
        timers.tick(2 * TTL)
        manager.register('new', undefined, ADA)
        t.strictSame(events, ['closed s0 expired', 'created new'])
        t.strictSame(takeLog(), ['Cleanup completed: removed 1 expired session(s): s0', 'Session registered: new'])
      })

      t.test('a sweep in between does not hide those with streams or requests', async (t) => {
        const { manager, events, timers, ids } = fill(t)
        manager.startTTLCleanup()
        t.teardown(() => manager.stopTTLCleanup())
        const ends = ids.map((id, index) => index === 1 ? call(manager, id) : openStream(manager, id))
        timers.tick(10 * TTL)
        manager.register('new', undefined, ADA)
        t.strictSame(events, ['closed s0 evicted', 'created new'])
        timers.tick(1)
        ends[1]?.()
        timers.tick(1)
        manager.register('newer', undefined, ADA)
        manager.register('newest', undefined, ADA)
        t.strictSame(events.filter((event) => event.startsWith('closed')), ['closed s0 evicted', 'closed new evicted', 'closed s1 evicted'])
      })
    })
  }
}

t.test('a session that is replaced makes room for itself', async (t) => {
  const { manager, events } = recordManager({ maxSessions: 1 })
  manager.register('a')
  call(manager, 'a')
  manager.register('a')
  t.strictSame(events, ['created a', 'closed a replaced', 'created a'])
})

t.test('a principal at its limit takes no room from others', async (t) => {
  const { manager, events } = recordManager({ maxSessionsPerPrincipal: 1 })
  manager.register('a', undefined, ADA)
  manager.register('b', undefined, { principal: 'bob' })
  manager.register('c')
  manager.register('d')
  openStream(manager, 'a')
  manager.register('e', undefined, ADA)
  call(manager, 'e')
  t.throws(() => manager.register('f', undefined, ADA), LIMIT)
  t.strictSame(events.filter((event) => event.startsWith('closed')), ['closed a evicted'])
})

t.test('streams are counted in and out, once', async (t) => {
  const { manager } = recordManager()
  manager.register('a')
  const session = manager.acquire('a')
  if (session === undefined) throw new Error('unreachable')
  const [endOne, endOther] = [manager.holdStream(session), manager.holdStream(session)]
  t.equal(session.openStreams, 2)
  endOne()
  endOne()
  t.equal(session.openStreams, 1)
  endOther()
  t.equal(session.openStreams, 0)
})

t.test('a stream of a closed session changes nothing', async (t) => {
  const { manager, events } = recordManager({ ttl: TTL, maxSessions: 1 })
  manager.register('a')
  const closed = manager.acquire('a')
  if (closed === undefined) throw new Error('unreachable')
  const end = manager.holdStream(closed)
  manager.cleanup('a')
  manager.register('a')
  end()
  manager.holdStream(closed)()
  t.equal(closed.openStreams, 0)
  t.equal(manager.get('a')?.openStreams, 0)
  manager.register('b')
  t.strictSame(events.slice(-2), ['closed a evicted', 'created b'], 'the one that was closed has not come back into the queue')
})

t.test('a session that is idle before its stream is said to be over expires like others', async (t) => {
  const timers = stopTime(t)
  const { manager, events } = recordManager({ ttl: TTL, cleanupInterval: 100, maxSessions: 2 })
  manager.startTTLCleanup()
  t.teardown(() => manager.stopTTLCleanup())
  manager.register('a')
  manager.register('b')
  openStream(manager, 'a')
  const session = manager.acquire('b')
  if (session === undefined) throw new Error('unreachable')
  const end = manager.holdStream(session)
  manager.register('c')
  manager.release(session)
  end()
  timers.tick(2 * TTL)
  t.strictSame(events.slice(3).toSorted(), ['closed b expired', 'closed c expired', 'created c'])
})

t.test('says how much room there is, and who would have to go', (t) => {
  const unlimited = new SessionManager()
  t.equal(unlimited.room, Infinity)
  t.equal(unlimited.nextToEvict(), undefined)
  const sessions = new SessionManager({ maxSessions: 3, maxSessionsPerPrincipal: 2 })
  const [first, second] = ['ann', 'ann'].map((principal) => sessions.create(undefined, { principal }))
  t.equal(sessions.room, 1)
  t.equal(sessions.nextToEvict('bob'), undefined)
  t.equal(sessions.nextToEvict('ann')?.id, first, 'a principal makes room for itself')
  for (const id of [first, second]) sessions.acquire(String(id))
  t.equal(sessions.nextToEvict('ann'), null)
  const third = sessions.create()
  t.equal(sessions.room, 0)
  t.equal(sessions.nextToEvict('bob')?.id, third)
  sessions.acquire(third)
  t.equal(sessions.nextToEvict('bob'), null)
  t.equal(sessions.getActiveSessionCount(), 3, 'and nobody has gone')
  t.end()
})
