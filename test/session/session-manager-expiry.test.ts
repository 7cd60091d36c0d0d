import { mock } from 'node:test'
import t from 'tap'
import { IdleQueue } from '../../lib/session/idle-queue.js'
import { nextTurn, recordManager, stopTime, type RecordedManager } from '../helpers/session/recorded-manager.js'

const TTL = 1000
const LONGEST_TIMER = 2 ** 31 - 1
const SLICE = 256

function open (manager: RecordedManager['manager'], count: number): string[] {
  const ids = Array.from({ length: count }, (_, index) => `s${index}`)
  for (const id of ids) manager.register(id)
  return ids
}

t.test('a session that has been idle for its ttl is alive, a millisecond later it is not', async (t) => {
  for (const ask of ['get', 'touch', 'update', 'acquire'] as const) {
    await t.test(ask, async (t) => {
      const timers = stopTime(t)
      const { manager, takeLog, events } = recordManager({ ttl: TTL })
      const expired: string[] = []
      manager.setExpirationHandler((id) => { expired.push(id) })
      function find (id: string): unknown {
        if (ask === 'get' || ask === 'acquire') return manager[ask](id)
        const result = ask === 'touch' ? manager.touch(id) : manager.update(id, {})
        return result.success ? true : result.error.message
      }
      manager.register('alive')
      manager.register('late')
      timers.tick(TTL)
      t.ok(find('alive'))
      timers.tick(1)
      takeLog()
      t.equal(manager.getActiveSessionCount(), 2, 'it stays in the count until it is found out')
      t.equal(manager.list().length, 2)
      const notFound = ask === 'get' || ask === 'acquire' ? undefined : 'Session not found: late'
      t.equal(find('late'), notFound)
      t.strictSame(expired, ['late'])
      t.strictSame(events, ['created alive', 'created late', 'closed late expired'])
      t.strictSame(takeLog(), ['Cleanup completed: removed 1 expired session(s): late'])
      t.strictSame(manager.list().map(({ id }) => id), ['alive'])
      t.equal(find('late'), notFound, 'it expires once')
      t.strictSame(expired, ['late'])
    })
  }
})

t.test('the list and the count show a session past its ttl and do not expire it', async (t) => {
  const timers = stopTime(t)
  const { manager, events } = recordManager({ ttl: TTL })
  manager.register('a')
  timers.tick(10 * TTL)
  t.equal(manager.list()[0]?.id, 'a')
  t.equal(manager.getActiveSessionCount(), 1)
  t.strictSame(events, ['created a'])
})

t.test('cleanup of a session past its ttl closes it as deleted', async (t) => {
  const timers = stopTime(t)
  const { manager, events } = recordManager({ ttl: TTL })
  manager.register('a')
  timers.tick(TTL + 1)
  t.equal(manager.cleanup('a').success, true)
  t.strictSame(events, ['created a', 'closed a deleted'])
})

t.test('a touched session lives on from its touch', async (t) => {
  const timers = stopTime(t)
  const { manager } = recordManager({ ttl: TTL })
  manager.register('a')
  for (let count = 0; count < 5; count++) {
    timers.tick(TTL)
    t.equal(manager.touch('a').success, true)
  }
  timers.tick(TTL + 1)
  t.equal(manager.touch('a').success, false)
})

t.test('the timer removes what has been idle for more than the ttl', async (t) => {
  const timers = stopTime(t)
  const { manager, takeLog, events } = recordManager({ ttl: TTL, cleanupInterval: 500 })
  const expired: string[] = []
  manager.setExpirationHandler((id) => { expired.push(id) })
  manager.startTTLCleanup()
  t.teardown(() => manager.stopTTLCleanup())
  manager.register('a')
  timers.tick(1)
  manager.register('b')
  takeLog()
  timers.tick(499)
  timers.tick(500)
  t.strictSame(events, ['created a', 'created b'], 'a has been idle for exactly its ttl')
  t.strictSame(takeLog(), [], 'a sweep that removes nothing says nothing')
  manager.touch('b')
  timers.tick(500)
  t.strictSame(events.slice(2), ['closed a expired'])
  t.strictSame(expired, ['a'])
  t.strictSame(takeLog(), ['Cleanup completed: removed 1 expired session(s): a'])
  timers.tick(500)
  t.equal(manager.getActiveSessionCount(), 1)
  timers.tick(500)
  t.strictSame(events.slice(3), ['closed b expired'])
  t.strictSame(takeLog(), ['Cleanup completed: removed 1 expired session(s): b'])
})

t.test('the timer logs its start once and its stop once', async (t) => {
  stopTime(t)
  const { manager, takeLog } = recordManager({ ttl: TTL, cleanupInterval: 500 })
  manager.stopTTLCleanup()
  t.strictSame(takeLog(), [], 'there is nothing to stop')
  manager.startTTLCleanup()
  t.strictSame(takeLog(), ['Starting TTL cleanup (interval: 500ms, TTL: 1000ms)'])
  manager.startTTLCleanup()
  t.strictSame(takeLog(), [])
  manager.stopTTLCleanup()
  t.strictSame(takeLog(), ['Stopped TTL cleanup'])
  manager.stopTTLCleanup()
  t.strictSame(takeLog(), [])
})

t.test('a second start does not add a timer', async (t) => {
  const timers = stopTime(t)
  const interval = t.capture(globalThis, 'setInterval', globalThis.setInterval)
  const { manager, events } = recordManager({ ttl: TTL, cleanupInterval: 500 })
  manager.startTTLCleanup()
  manager.startTTLCleanup()
  t.equal(interval().length, 1)
  manager.stopTTLCleanup()
  manager.register('a')
  timers.tick(5 * TTL)
  t.strictSame(events, ['created a'], 'no timer is left')
})

t.test('the timer can be started again', async (t) => {
  const timers = stopTime(t)
  const { manager } = recordManager({ ttl: TTL, cleanupInterval: 500 })
  manager.startTTLCleanup()
  manager.stopTTLCleanup()
  manager.startTTLCleanup()
  manager.register('a')
  timers.tick(1500)
  t.equal(manager.getActiveSessionCount(), 0)
  manager.stopTTLCleanup()
})

t.test('the timer has the defaults of the issue', async (t) => {
  const timers = stopTime(t)
  const { manager, takeLog } = recordManager()
  manager.startTTLCleanup()
  t.strictSame(takeLog(), ['Starting TTL cleanup (interval: 300000ms, TTL: 3600000ms)'])
  manager.register('a')
  takeLog()
  for (let count = 0; count < 12; count++) timers.tick(300_000)
  t.equal(manager.getActiveSessionCount(), 1)
  timers.tick(300_000)
  t.equal(manager.getActiveSessionCount(), 0)
  manager.stopTTLCleanup()
})

t.test('ttl 0: sessions never expire and no timer starts', async (t) => {
  const timers = stopTime(t)
  const interval = t.capture(globalThis, 'setInterval', globalThis.setInterval)
  const { manager, takeLog } = recordManager({ ttl: 0 })
  manager.startTTLCleanup()
  manager.stopTTLCleanup()
  t.equal(interval().length, 0)
  t.strictSame(takeLog(), [])
  manager.register('a')
  timers.tick(1e12)
  t.equal(manager.get('a')?.id, 'a')
  t.equal(manager.touch('a').success, true)
})

t.test('cleanupInterval 0 is half of the ttl, as far as a timer can wait', async (t) => {
  stopTime(t)
  for (const [ttl, shown] of [
    [1000, 500],
    [3, 1.5],
    [1, 1],
    [0.5, 1],
    [2 * LONGEST_TIMER, LONGEST_TIMER],
    [2 * LONGEST_TIMER + 2, LONGEST_TIMER],
    [1e300, LONGEST_TIMER]
  ] as const) {
    const { manager, takeLog } = recordManager({ ttl, cleanupInterval: 0 })
    manager.startTTLCleanup()
    t.strictSame(takeLog(), [`Starting TTL cleanup (interval: ${shown}ms, TTL: ${ttl}ms)`])
    manager.stopTTLCleanup()
  }
})

t.test('a ttl below a millisecond and one beyond all clocks work', async (t) => {
  const timers = stopTime(t)
  const short = recordManager({ ttl: 0.5, cleanupInterval: 10 })
  const long = recordManager({ ttl: Number.MAX_VALUE, cleanupInterval: 10 })
  for (const { manager } of [short, long]) {
    manager.startTTLCleanup()
    manager.register('a')
  }
  t.ok(short.manager.get('a'))
  timers.tick(10)
  t.equal(short.manager.getActiveSessionCount(), 0)
  t.equal(long.manager.getActiveSessionCount(), 1)
  for (const { manager } of [short, long]) manager.stopTTLCleanup()
  timers.tick(1e12)
  t.ok(long.manager.get('a'))
})

t.test('the log names 10 sessions at most', async (t) => {
  for (const count of [9, 10, 11, 300]) {
    await t.test(`${count} sessions`, async (t) => {
      const timers = stopTime(t)
      const { manager, takeLog } = recordManager({ ttl: TTL, cleanupInterval: 500 })
      manager.startTTLCleanup()
      t.teardown(() => manager.stopTTLCleanup())
      const ids = open(manager, count)
      takeLog()
      timers.tick(1500)
      await nextTurn()
      const shown = ids.slice(0, 10).join(', ') + (count > 10 ? ', …' : '')
      t.strictSame(takeLog(), [`Cleanup completed: removed ${count} expired session(s): ${shown}`])
    })
  }
})

t.test('many sessions that expire together are removed in slices', async (t) => {
  const timers = stopTime(t)
  const { manager, events, takeLog } = recordManager({ ttl: TTL, cleanupInterval: 500 })
  manager.startTTLCleanup()
  t.teardown(() => manager.stopTTLCleanup())
  const count = 3 * SLICE + 50
  open(manager, count)
  takeLog()
  timers.tick(1500)
  t.equal(manager.getActiveSessionCount(), count - SLICE)
  t.strictSame(takeLog(), [], 'the log waits for the end')
  await nextTurn()
  t.equal(manager.getActiveSessionCount(), count - 2 * SLICE, 'others run between two slices')
  await nextTurn()
  await nextTurn()
  t.equal(manager.getActiveSessionCount(), 0)
  t.equal(events.length, 2 * count, 'each is closed once')
  t.match(takeLog(), [/^Cleanup completed: removed 818 expired session\(s\): s0, s1, .*, s9, …$/])
})

t.test('a slice does not keep the process alive', async (t) => {
  const timers = stopTime(t)
  const slices: NodeJS.Immediate[] = []
  const original = globalThis.setImmediate
  t.intercept(globalThis, 'setImmediate', {
    configurable: true,
    value: (callback: () => void) => {
      const slice = original(callback)
      slices.push(slice)
      return slice
    }
  })
  const { manager } = recordManager({ ttl: TTL, cleanupInterval: 500 })
  manager.startTTLCleanup()
  t.teardown(() => manager.stopTTLCleanup())
  open(manager, SLICE + 1)
  timers.tick(1500)
  t.equal(slices.length, 1)
  t.equal(slices[0]?.hasRef(), false)
})

t.test('what is touched, held or closed between two slices is left alone', async (t) => {
  const timers = stopTime(t)
  const { manager, events } = recordManager({ ttl: TTL, cleanupInterval: 500 })
  manager.startTTLCleanup()
  t.teardown(() => manager.stopTTLCleanup())
  const ids = open(manager, SLICE + 10)
  timers.tick(500)
  timers.tick(500)
  const [closed = '', held = '', touched = ''] = ids.slice(SLICE)
  manager.touch(touched)
  const session = manager.acquire(held)
  timers.tick(500)
  manager.cleanup(closed)
  await nextTurn()
  t.strictSame(manager.list().map(({ id }) => id), [held, touched])
  t.equal(events.filter((event) => event.startsWith('closed')).length, SLICE + 8)
  if (session !== undefined) manager.release(session)
  timers.tick(500)
  timers.tick(1)
  timers.tick(499)
  t.strictSame(manager.list().map(({ id }) => id), [held], 'the touched one has followed')
  timers.tick(500)
  t.equal(manager.getActiveSessionCount(), 0)
})

t.test('stopping in the middle of a sweep ends it and says what it did', async (t) => {
  const timers = stopTime(t)
  const { manager, events, takeLog } = recordManager({ ttl: TTL, cleanupInterval: 500 })
  manager.startTTLCleanup()
  open(manager, 2 * SLICE + 10)
  takeLog()
  timers.tick(1500)
  manager.stopTTLCleanup()
  t.match(takeLog(), [/^Cleanup completed: removed 256 expired session\(s\): s0, .*, s9, …$/, 'Stopped TTL cleanup'])
  for (let turn = 0; turn < 5; turn++) await nextTurn()
  timers.tick(5000)
  t.equal(manager.getActiveSessionCount(), SLICE + 10)
  t.strictSame(takeLog(), [])

  manager.startTTLCleanup()
  t.teardown(() => manager.stopTTLCleanup())
  takeLog()
  timers.tick(500)
  for (let turn = 0; turn < 5; turn++) await nextTurn()
  t.equal(manager.getActiveSessionCount(), 0, 'the next sweep takes the rest')
  t.match(takeLog(), [/^Cleanup completed: removed 266 expired session\(s\): s256, /])
  t.equal(events.length, 2 * (2 * SLICE + 10))
})

t.test('a sweep that takes longer than the interval is not started over', async (t) => {
  const timers = stopTime(t)
  const { manager, takeLog } = recordManager({ ttl: TTL, cleanupInterval: 500 })
  manager.startTTLCleanup()
  t.teardown(() => manager.stopTTLCleanup())
  open(manager, 4 * SLICE)
  takeLog()
  timers.tick(1500)
  timers.tick(500)
  timers.tick(500)
  t.equal(manager.getActiveSessionCount(), 3 * SLICE, 'one slice at a time')
  for (let turn = 0; turn < 6; turn++) await nextTurn()
  t.equal(manager.getActiveSessionCount(), 0)
  t.match(takeLog(), [/^Cleanup completed: removed 1024 expired/])
  manager.register('later')
  timers.tick(1500)
  t.equal(manager.getActiveSessionCount(), 0, 'the next sweep runs')
})

t.test('an error inside a sweep is logged and the next sweep runs', async (t) => {
  const timers = stopTime(t)
  const { manager, entries } = recordManager({ ttl: TTL, cleanupInterval: 500 })
  manager.startTTLCleanup()
  t.teardown(() => manager.stopTTLCleanup())
  manager.register('a')
  timers.tick(1000)
  entries.length = 0
  const broken = mock.method(IdleQueue.prototype, 'takeIdleBefore', () => { throw new Error('out of order') })
  timers.tick(500)
  broken.mock.restore()
  t.strictSame(entries, [{ level: 'error', data: 'TTL cleanup failed: out of order', logger: 'SessionManager' }])
  timers.tick(500)
  t.equal(manager.getActiveSessionCount(), 0)
})

t.test('the expiration handler is called with the id, while the session is still tracked', async (t) => {
  const timers = stopTime(t)
  const { manager, events } = recordManager({ ttl: TTL, cleanupInterval: 500 })
  const seen: unknown[] = []
  manager.setExpirationHandler(function (...args) {
    seen.push(args, manager.list().map(({ id }) => id), manager.getActiveSessionCount(), [...events])
  })
  manager.startTTLCleanup()
  t.teardown(() => manager.stopTTLCleanup())
  manager.register('a')
  timers.tick(1500)
  t.strictSame(seen, [['a'], ['a'], 1, ['created a']])
  t.strictSame(events, ['created a', 'closed a expired'])
})

t.test('the handler is called for expiry only', async (t) => {
  const { manager } = recordManager({ ttl: TTL })
  let calls = 0
  manager.setExpirationHandler(() => { calls++ })
  manager.register('a')
  manager.register('a')
  manager.cleanup('a')
  manager.register('b')
  manager.clearAll()
  t.equal(calls, 0)
})

t.test('the handler can be replaced and taken away', async (t) => {
  const timers = stopTime(t)
  const { manager } = recordManager({ ttl: TTL })
  const calls: string[] = []
  function expire (id: string): void {
    manager.register(id)
    timers.tick(TTL + 1)
    manager.get(id)
  }
  manager.setExpirationHandler((id) => { calls.push(`first ${id}`) })
  expire('a')
  manager.setExpirationHandler((id) => { calls.push(`second ${id}`) })
  expire('b')
  manager.setExpirationHandler(undefined)
  expire('c')
  t.strictSame(calls, ['first a', 'second b'])
})

t.test('a handler that is no function is a TypeError, and the old one stays', async (t) => {
  const timers = stopTime(t)
  const { manager } = recordManager({ ttl: TTL })
  const calls: string[] = []
  manager.setExpirationHandler((id) => { calls.push(id) })
  for (const json of ['null', '"f"', '{}']) {
    t.throws(
      () => manager.setExpirationHandler(JSON.parse(json)),
      { name: 'TypeError', message: /^Option "handler" must be a function \(sessionId\) => / }
    )
  }
  manager.register('a')
  timers.tick(TTL + 1)
  manager.get('a')
  t.strictSame(calls, ['a'])
})

t.test('a handler that fails is logged as an error and changes nothing else', async (t) => {
  const failures: Array<[string, () => void | Promise<void>, string]> = [
    ['throws', () => { throw new Error('boom') }, 'boom'],
    ['throws text', () => { throw 'boom' }, 'boom'], // eslint-disable-line no-throw-literal
    ['throws what cannot be described', () => { throw Object.create(null) }, '[object]'],
    ['rejects', async () => { throw new Error('later') }, 'later'],
    ['rejects with what cannot be described', () => Promise.reject(Object.create(null)), '[object]']
  ]
  for (const [name, handler, message] of failures) {
    await t.test(name, async (t) => {
      const timers = stopTime(t)
      const { manager, entries, events } = recordManager({ ttl: TTL, cleanupInterval: 500 })
      manager.setExpirationHandler(handler)
      manager.startTTLCleanup()
      t.teardown(() => manager.stopTTLCleanup())
      manager.register('swept')
      manager.register('swept-too')
      timers.tick(1500)
      manager.register('asked')
      manager.stopTTLCleanup()
      timers.tick(TTL + 1)
      t.equal(manager.touch('asked').success, false)
      await nextTurn()
      t.equal(manager.getActiveSessionCount(), 0)
      t.strictSame(events.filter((event) => event.startsWith('closed')), [
        'closed swept expired', 'closed swept-too expired', 'closed asked expired'
      ])
      t.strictSame(entries.filter(({ level }) => level === 'error'), ['swept', 'swept-too', 'asked'].map((id) => ({
        level: 'error',
        data: `Expiration handler failed for session ${id}: ${message}`,
        logger: 'SessionManager'
      })))
      t.ok(entries.some(({ data }) => data === 'Cleanup completed: removed 2 expired session(s): swept, swept-too'))
    })
  }
})

t.test('an async handler is not waited for', async (t) => {
  const timers = stopTime(t)
  const { manager, events } = recordManager({ ttl: TTL })
  manager.setExpirationHandler(() => new Promise(() => {}))
  manager.register('a')
  timers.tick(TTL + 1)
  t.equal(manager.get('a'), undefined)
  t.strictSame(events, ['created a', 'closed a expired'])
})

t.test('when the clock goes back, sessions stay', async (t) => {
  const timers = stopTime(t, 1_000_000)
  const { manager, events } = recordManager({ ttl: TTL })
  manager.register('a')
  timers.setTime(500_000)
  t.ok(manager.get('a'))
  t.equal(manager.touch('a').success, true)
  t.equal(manager.get('a')?.lastAccessedAt, 500_000)
  timers.setTime(500_000 + TTL)
  t.ok(manager.get('a'))
  timers.setTime(500_000 + TTL + 1)
  t.equal(manager.get('a'), undefined)
  t.strictSame(events, ['created a', 'closed a expired'])
})

t.test('a sweep finds what was touched, held or opened after the clock went back', async (t) => {
  mock.timers.enable({ apis: ['Date', 'setInterval'], now: 1_000_000 })
  t.teardown(() => mock.timers.reset())
  const { manager } = recordManager({ ttl: TTL, cleanupInterval: 500 })
  for (const id of ['touched', 'held', 'released']) manager.register(id)
  const released = manager.acquire('released')
  mock.timers.setTime(500_000)
  manager.startTTLCleanup()
  t.teardown(() => manager.stopTTLCleanup())
  manager.register('opened')
  manager.touch('touched')
  const held = manager.acquire('held')
  if (held !== undefined) manager.release(held)
  if (released !== undefined) manager.release(released)
  mock.timers.tick(500)
  mock.timers.tick(500)
  t.equal(manager.getActiveSessionCount(), 4)
  mock.timers.tick(500)
  t.equal(manager.getActiveSessionCount(), 0)
})
