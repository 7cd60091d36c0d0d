import t from 'tap'
import type { Session } from '../../lib/session/session.js'
import { recordManager, stopTime } from '../helpers/session/recorded-manager.js'

const TTL = 1000

/** The session, held once more. */
function hold (manager: { acquire (id: string): Session | undefined }, id: string): Session {
  const session = manager.acquire(id)
  if (session === undefined) throw new Error(`${id} is not there`)
  return session
}

t.test('requests are counted in and out', async (t) => {
  const { manager, events, takeLog } = recordManager()
  manager.register('a')
  takeLog()
  const session = hold(manager, 'a')
  t.equal(session, manager.get('a'))
  t.equal(session.activeRequests, 1)
  hold(manager, 'a')
  t.equal(session.activeRequests, 2)
  manager.release(session)
  t.equal(session.activeRequests, 1)
  manager.release(session)
  t.equal(session.activeRequests, 0)
  t.strictSame(takeLog(), [])
  t.strictSame(events, ['created a'])
})

t.test('one release too many does nothing', async (t) => {
  const timers = stopTime(t, 5000)
  const { manager } = recordManager({ ttl: TTL })
  manager.register('a')
  const session = hold(manager, 'a')
  manager.release(session)
  timers.tick(10)
  manager.release(session)
  t.equal(session.activeRequests, 0)
  t.equal(session.lastAccessedAt, 5000)
})

t.test('a request of an unknown or expired session is not counted', async (t) => {
  const timers = stopTime(t)
  const { manager, events } = recordManager({ ttl: TTL })
  t.equal(manager.acquire('nobody'), undefined)
  manager.register('a')
  timers.tick(TTL + 1)
  t.equal(manager.acquire('a'), undefined)
  t.strictSame(events, ['created a', 'closed a expired'])
})

t.test('a request of a stranger is not counted, and does not touch the session', async (t) => {
  const timers = stopTime(t, 5000)
  const { manager } = recordManager({ ttl: TTL })
  manager.create(undefined, { principal: 'anna' })
  manager.create()
  const [named, anonymous] = manager.list()
  timers.tick(10)
  for (const [session, friend, strangers] of [[named, 'anna', ['bert', undefined]], [anonymous, undefined, ['anna', '']]] as const) {
    if (session === undefined) throw new Error('There is no session')
    for (const stranger of strangers) t.equal(manager.acquireFor(session.id, stranger), undefined)
    t.equal(session.activeRequests, 0)
    t.equal(session.lastAccessedAt, 5000)
    t.equal(manager.acquireFor(session.id, friend), session)
    t.equal(session.activeRequests, 1)
    t.equal(session.lastAccessedAt, 5010)
  }
  t.equal(manager.acquireFor('nobody', undefined), undefined)
})

t.test('a request touches the session as it starts', async (t) => {
  const timers = stopTime(t, 5000)
  const { manager } = recordManager({ ttl: TTL })
  manager.register('a')
  timers.tick(TTL)
  t.equal(manager.acquire('a')?.lastAccessedAt, 5000 + TTL)
})

t.test('a session with a request in flight does not age', async (t) => {
  const timers = stopTime(t)
  const { manager, events } = recordManager({ ttl: TTL, cleanupInterval: 100 })
  manager.startTTLCleanup()
  t.teardown(() => manager.stopTTLCleanup())
  manager.register('a')
  const session = hold(manager, 'a')
  for (let sweep = 0; sweep < 50; sweep++) timers.tick(100)
  t.equal(manager.get('a'), session)
  t.equal(manager.touch('a').success, true)
  t.equal(manager.update('a', { alive: true }).success, true)
  t.strictSame(events, ['created a'])
})

t.test('the idle clock starts at the end of the last request', async (t) => {
  for (const sweeps of [true, false]) {
    await t.test(sweeps ? 'with the timer' : 'without a timer', async (t) => {
      const timers = stopTime(t)
      const { manager, events } = recordManager({ ttl: TTL, cleanupInterval: 100 })
      if (sweeps) manager.startTTLCleanup()
      t.teardown(() => manager.stopTTLCleanup())
      manager.register('a')
      const session = hold(manager, 'a')
      hold(manager, 'a')
      for (let count = 0; count < 30; count++) timers.tick(100)
      manager.release(session)
      for (let count = 0; count < 30; count++) timers.tick(100)
      t.equal(manager.get('a'), session, 'the second request still holds it')
      manager.release(session)
      for (let count = 0; count < 10; count++) timers.tick(100)
      t.equal(manager.get('a'), session, 'idle for the ttl')
      timers.tick(1)
      t.equal(manager.get('a'), undefined, 'and a millisecond more')
      t.strictSame(events, ['created a', 'closed a expired'])
    })
  }
})

t.test('a sweep finds a session again whose request is over', async (t) => {
  const timers = stopTime(t)
  const { manager, events } = recordManager({ ttl: TTL, cleanupInterval: 100 })
  manager.startTTLCleanup()
  t.teardown(() => manager.stopTTLCleanup())
  manager.register('a')
  for (let round = 0; round < 3; round++) {
    const session = hold(manager, 'a')
    for (let count = 0; count < 25; count++) timers.tick(100)
    manager.release(session)
  }
  for (let count = 0; count < 11; count++) timers.tick(100)
  t.equal(manager.getActiveSessionCount(), 0)
  t.strictSame(events, ['created a', 'closed a expired'])
})

t.test('cleanup and clearAll close a session in spite of its requests', async (t) => {
  const { manager, events } = recordManager()
  for (const id of ['a', 'b']) {
    manager.register(id)
    manager.acquire(id)
  }
  t.equal(manager.cleanup('a').success, true)
  manager.clearAll()
  t.strictSame(events.slice(2), ['closed a deleted', 'closed b cleared'])
})

t.test('release of a closed session does nothing', async (t) => {
  const timers = stopTime(t, 5000)
  const { manager, events } = recordManager({ ttl: TTL, cleanupInterval: 100 })
  manager.startTTLCleanup()
  t.teardown(() => manager.stopTTLCleanup())
  manager.register('a')
  const session = hold(manager, 'a')
  timers.tick(10)
  manager.cleanup('a')
  manager.release(session)
  t.equal(session.activeRequests, 1)
  t.equal(session.lastAccessedAt, 5000)
  for (let count = 0; count < 30; count++) timers.tick(100)
  t.strictSame(events, ['created a', 'closed a deleted'], 'it did not come back into the queue')
})

t.test('release of a replaced session does not count against its successor', async (t) => {
  const { manager } = recordManager()
  manager.register('a')
  const replaced = hold(manager, 'a')
  manager.register('a')
  const session = hold(manager, 'a')
  manager.release(replaced)
  t.equal(session.activeRequests, 1)
  manager.release(session)
  t.equal(session.activeRequests, 0)
})

t.test('a session of another manager cannot be released here', async (t) => {
  const one = recordManager().manager
  const two = recordManager().manager
  one.register('a')
  two.register('a')
  const session = hold(one, 'a')
  hold(two, 'a')
  two.release(session)
  t.equal(session.activeRequests, 1)
  t.equal(two.get('a')?.activeRequests, 1)
})
