import { mock } from 'node:test'
import t from 'tap'
import type { SessionManager } from '../../lib/session/session-manager.js'
import { nextTurn, recordManager, stopTime, type RecordedManager } from '../helpers/session/recorded-manager.js'

const TTL = 1000
const SLICE = 256

interface Expiring extends RecordedManager {
  readonly handled: string[]
  /** Lets the sessions a, b and c expire in one sweep. */
  sweep (): void
  /** Lets all expire, and asks for a. */
  ask (): void
}

/** The app does `work` in its expiration handler. */
function recordExpiring (t: Parameters<typeof stopTime>[0], work: (manager: SessionManager, id: string) => void): Expiring {
  const timers = stopTime(t)
  const recorded = recordManager({ ttl: TTL, cleanupInterval: 500 })
  const { manager, events, takeLog } = recorded
  const handled: string[] = []
  manager.setExpirationHandler((id) => {
    handled.push(id)
    if (handled.length > 100) throw new Error('it does not end')
    work(manager, id)
  })
  for (const id of ['a', 'b', 'c']) manager.register(id)
  events.length = 0
  takeLog()
  return {
    ...recorded,
    handled,
    sweep () {
      manager.startTTLCleanup()
      timers.tick(1500)
      takeLog()
      manager.stopTTLCleanup()
    },
    ask () {
      timers.tick(TTL + 1)
      manager.get('a')
    }
  }
}

t.test('to its own handler an expired session is not found, though it is tracked', async (t) => {
  for (const way of ['sweep', 'ask'] as const) {
    await t.test(way, async (t) => {
      const found: unknown[] = []
      const app = recordExpiring(t, (manager, id) => {
        const touched = manager.touch(id)
        found.push(manager.get(id), manager.acquire(id), touched.success, manager.update(id, {}).success)
        t.ok(manager.list().some((session) => session.id === id))
      })
      app[way]()
      t.strictSame(found.slice(0, 4), [undefined, undefined, false, false])
      t.strictSame(app.handled, way === 'sweep' ? ['a', 'b', 'c'] : ['a'], 'it is called once for each')
      t.strictSame(app.events, app.handled.map((id) => `closed ${id} expired`))
    })
  }
})

t.test('the handler may clean the session up itself', async (t) => {
  for (const way of ['sweep', 'ask'] as const) {
    await t.test(way, async (t) => {
      const app = recordExpiring(t, (manager, id) => {
        t.equal(manager.cleanup(id).success, true)
        t.equal(manager.cleanup(id).success, false)
      })
      app[way]()
      t.strictSame(app.handled, way === 'sweep' ? ['a', 'b', 'c'] : ['a'])
      t.strictSame(app.events, app.handled.map((id) => `closed ${id} deleted`), 'it is closed once')
    })
  }
})

t.test('the handler may register the same id anew', async (t) => {
  for (const way of ['sweep', 'ask'] as const) {
    await t.test(way, async (t) => {
      const app = recordExpiring(t, (manager, id) => manager.register(id, { anew: true }))
      app[way]()
      t.strictSame(app.handled, way === 'sweep' ? ['a', 'b', 'c'] : ['a'])
      t.strictSame(app.events, app.handled.flatMap((id) => [`closed ${id} replaced`, `created ${id}`]))
      t.strictSame(app.manager.get('a')?.metadata, { anew: true })
      t.equal(app.manager.getActiveSessionCount(), 3)
    })
  }
})

t.test('the handler may clear everything', async (t) => {
  for (const way of ['sweep', 'ask'] as const) {
    await t.test(way, async (t) => {
      const app = recordExpiring(t, (manager) => manager.clearAll())
      app[way]()
      t.strictSame(app.handled, ['a'], 'what has been cleared does not expire as well')
      t.strictSame(app.events, ['closed a cleared', 'closed b cleared', 'closed c cleared'])
      t.equal(app.manager.getActiveSessionCount(), 0)
    })
  }
})

t.test('the handler may open other sessions', async (t) => {
  const app = recordExpiring(t, (manager, id) => manager.register(`${id}2`))
  app.sweep()
  t.strictSame(app.manager.list().map(({ id }) => id), ['a2', 'b2', 'c2'])
})

t.test('the handler may replace itself', async (t) => {
  const app = recordExpiring(t, (manager) => manager.setExpirationHandler(undefined))
  app.sweep()
  t.strictSame(app.handled, ['a'])
  t.equal(app.events.length, 3)
})

t.test('a handler that asks for the other expired sessions expires each once', async (t) => {
  const app = recordExpiring(t, (manager) => {
    for (const id of ['a', 'b', 'c']) manager.touch(id)
  })
  app.sweep()
  t.strictSame(app.handled, ['a', 'b', 'c'])
  t.strictSame([...app.events].sort(), ['closed a expired', 'closed b expired', 'closed c expired'])
})

t.test('a listener that touches the others in the middle of a sweep expires each once', async (t) => {
  const timers = stopTime(t)
  const { manager, events, takeLog } = recordManager({ ttl: TTL, cleanupInterval: 500 })
  const handled: string[] = []
  manager.setExpirationHandler((id) => { handled.push(id) })
  manager.startTTLCleanup()
  t.teardown(() => manager.stopTTLCleanup())
  for (const id of ['a', 'b', 'c']) manager.register(id)
  events.length = 0
  takeLog()
  manager.on('closed', () => { for (const id of ['a', 'b', 'c']) t.equal(manager.touch(id).success, false) })
  timers.tick(1500)
  t.strictSame(handled, ['a', 'b', 'c'])
  t.strictSame(events, ['closed a expired', 'closed b expired', 'closed c expired'])
  const logged = takeLog().join('\n')
  for (const id of ['a', 'b', 'c']) t.equal(logged.split(`: ${id}`).length, 2, `${id} is logged once`)
})

t.test('a listener that replaces the others in the middle of a sweep keeps their successors', async (t) => {
  const timers = stopTime(t)
  const { manager, events } = recordManager({ ttl: TTL, cleanupInterval: 500 })
  const handled: string[] = []
  manager.setExpirationHandler((id) => { handled.push(id) })
  manager.startTTLCleanup()
  t.teardown(() => manager.stopTTLCleanup())
  for (const id of ['a', 'b', 'c']) manager.register(id)
  events.length = 0
  manager.once('closed', () => {
    manager.register('b')
    manager.cleanup('c')
  })
  timers.tick(1500)
  t.strictSame(handled, ['a'], 'the handler is not called for the successor of b')
  t.strictSame(events, ['closed a expired', 'closed b replaced', 'created b', 'closed c deleted'])
  t.ok(manager.get('b'))
})

t.test('a listener in the middle of a sweep may hold others that the clock has made young again', async (t) => {
  const timers = stopTime(t, 1_000_000)
  const { manager, events } = recordManager({ ttl: TTL, cleanupInterval: 500 })
  manager.startTTLCleanup()
  t.teardown(() => manager.stopTTLCleanup())
  for (const id of ['a', 'released', 'touched', 'held']) manager.register(id)
  events.length = 0
  manager.once('closed', () => {
    timers.setTime(1_001_000)
    const released = manager.acquire('released')
    if (released !== undefined) manager.release(released)
    manager.touch('touched')
    manager.acquire('held')
  })
  timers.tick(1500)
  t.strictSame(events, ['closed a expired'])
  timers.tick(500)
  timers.tick(500)
  t.equal(manager.getActiveSessionCount(), 3)
  timers.tick(500)
  t.strictSame(events, ['closed a expired', 'closed released expired', 'closed touched expired'])
  const held = manager.get('held')
  if (held !== undefined) manager.release(held)
  for (let count = 0; count < 3; count++) timers.tick(500)
  t.equal(manager.getActiveSessionCount(), 0)
})

// A mocked interval that is cleared by its own callback comes back: the timers of these two run for real.
function recordManySweptForReal (t: { teardown (reset: () => void): void }): RecordedManager {
  mock.timers.enable({ apis: ['Date'], now: 1_000_000 })
  const recorded = recordManager({ ttl: TTL, cleanupInterval: 1 })
  t.teardown(() => {
    recorded.manager.stopTTLCleanup()
    mock.timers.reset()
  })
  for (let count = 0; count < 2 * SLICE; count++) recorded.manager.register(`s${count}`)
  recorded.events.length = 0
  mock.timers.setTime(1_000_000 + TTL + 1)
  recorded.manager.startTTLCleanup()
  recorded.takeLog()
  return recorded
}

t.test('a listener that stops the cleanup stops the sweep that it is called from', async (t) => {
  const { manager, events, takeLog } = recordManySweptForReal(t)
  manager.once('closed', () => manager.stopTTLCleanup())
  while (events.length === 0) await nextTurn()
  const immediates = t.capture(globalThis, 'setImmediate', globalThis.setImmediate)
  for (let turn = 0; turn < 4; turn++) await nextTurn()
  t.equal(immediates().length, 4, 'no slice follows')
  immediates.restore()
  t.strictSame(events, ['closed s0 expired'])
  t.strictSame(takeLog(), ['Stopped TTL cleanup', 'Cleanup completed: removed 1 expired session(s): s0'])
  t.equal(manager.getActiveSessionCount(), 2 * SLICE - 1)
  manager.startTTLCleanup()
  while (manager.getActiveSessionCount() > 0) await nextTurn()
  t.equal(events.length, 2 * SLICE, 'the rest is not lost')
})

t.test('a sweep that is stopped from within a later slice says once what it did', async (t) => {
  const { manager, takeLog } = recordManySweptForReal(t)
  manager.on('closed', ({ id }) => { if (id === `s${SLICE}`) manager.stopTTLCleanup() })
  while (manager.getActiveSessionCount() >= SLICE) await nextTurn()
  await nextTurn()
  const log = takeLog()
  t.equal(log.length, 2)
  t.match(log, ['Stopped TTL cleanup', /^Cleanup completed: removed 257 expired session\(s\): s0, .*, s9, …$/])
  t.equal(manager.getActiveSessionCount(), SLICE - 1)
})

t.test('a listener that starts the cleanup over loses no session', async (t) => {
  const { manager, events, takeLog } = recordManySweptForReal(t)
  manager.once('closed', () => {
    manager.stopTTLCleanup()
    manager.startTTLCleanup()
  })
  while (manager.getActiveSessionCount() > 0) await nextTurn()
  t.equal(events.length, 2 * SLICE)
  t.strictSame(takeLog().slice(0, 3), [
    'Stopped TTL cleanup',
    'Starting TTL cleanup (interval: 1ms, TTL: 1000ms)',
    'Cleanup completed: removed 1 expired session(s): s0'
  ])
})

t.test('a listener of created may close the session again', async (t) => {
  const { manager, events } = recordManager()
  manager.on('created', ({ id }) => { manager.cleanup(id) })
  const id = manager.create()
  t.equal(manager.get(id), undefined)
  t.strictSame(events, [`created ${id}`, `closed ${id} deleted`])
})

t.test('a listener of a replaced session may close its successor: it is never created', async (t) => {
  const { manager, events } = recordManager()
  manager.register('a')
  manager.once('closed', ({ id }) => { manager.cleanup(id) })
  manager.register('a')
  t.equal(manager.getActiveSessionCount(), 0)
  t.strictSame(events, ['created a', 'closed a replaced', 'closed a deleted'])
})

t.test('a listener of a replaced session may register the id once more', async (t) => {
  const timers = stopTime(t)
  const { manager, events } = recordManager({ ttl: TTL, cleanupInterval: 500 })
  manager.register('a', { number: 1 })
  manager.once('closed', () => manager.register('a', { number: 3 }))
  manager.register('a', { number: 2 })
  t.strictSame(manager.get('a')?.metadata, { number: 3 })
  t.strictSame(events, ['created a', 'closed a replaced', 'closed a replaced', 'created a'])
  manager.startTTLCleanup()
  timers.tick(1500)
  manager.stopTTLCleanup()
  t.strictSame(events.slice(4), ['closed a expired'])
})

t.test('a listener that opens a session for each that is closed does not hold up clearAll', async (t) => {
  const { manager, takeLog } = recordManager()
  manager.register('a')
  manager.register('b')
  manager.on('closed', ({ id }) => { manager.register(id) })
  takeLog()
  manager.clearAll()
  t.equal(manager.getActiveSessionCount(), 2)
  t.equal(takeLog().at(-1), 'All sessions cleared: 2 session(s) removed')
})

t.test('clearAll counts what it has closed itself', async (t) => {
  const { manager, events, takeLog } = recordManager()
  for (const id of ['a', 'b', 'c']) manager.register(id)
  events.length = 0
  takeLog()
  manager.once('closed', () => { manager.cleanup('b') })
  manager.clearAll()
  t.strictSame(events, ['closed a cleared', 'closed b deleted', 'closed c cleared'])
  t.equal(takeLog().at(-1), 'All sessions cleared: 2 session(s) removed')
})

t.test('a listener that clears everything again closes each once', async (t) => {
  const { manager, events, takeLog } = recordManager()
  for (const id of ['a', 'b', 'c']) manager.register(id)
  events.length = 0
  takeLog()
  manager.on('closed', () => { manager.clearAll() })
  manager.clearAll()
  t.strictSame(events.sort(), ['closed a cleared', 'closed b cleared', 'closed c cleared'])
  const removed = takeLog().map((entry) => Number(/(\d+) session/.exec(String(entry))?.[1]))
  t.equal(removed.reduce((sum, count) => sum + count), 3)
})

t.test('a logger may call back', async (t) => {
  let depth = 0
  const { manager, events } = recordManager({
    logger: {
      sendLog ({ data }) {
        if (depth++ === 0) manager.cleanup(String(data).replace('Session registered: ', ''))
      }
    }
  })
  manager.register('a')
  t.equal(manager.getActiveSessionCount(), 0)
  t.strictSame(events, ['closed a deleted'])
})

t.test('a getter of the metadata may close the session that is updated', async (t) => {
  const { manager, events } = recordManager()
  manager.register('a')
  const metadata = { get user () { return manager.cleanup('a').success } }
  manager.update('a', metadata)
  t.equal(manager.get('a'), undefined)
  t.strictSame(events, ['created a', 'closed a deleted'])
})
