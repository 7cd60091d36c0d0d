import { once } from 'node:events'
import t from 'tap'
import { SessionManager } from '../../lib/session/session-manager.js'
import type { CloseReason } from '../../lib/observe/channels.js'
import type { Session } from '../../lib/session/session.js'
import { nextTurn, recordManager, stopTime } from '../helpers/session/recorded-manager.js'

const TTL = 1000

function watchUnhandled (t: { teardown (done: () => void): void }): unknown[] {
  const unhandled: unknown[] = []
  const remember = (reason: unknown): void => { unhandled.push(reason) }
  process.on('unhandledRejection', remember)
  t.teardown(() => { process.off('unhandledRejection', remember) })
  return unhandled
}

t.test('created brings the session, which is tracked by then', async (t) => {
  const manager = new SessionManager()
  const created: Session[] = []
  manager.on('created', function (this: SessionManager, session) {
    created.push(session)
    t.equal(this, manager)
    t.equal(manager.get(session.id), session)
  })
  manager.register('a', { user: 'ada' })
  const id = manager.create()
  t.strictSame(created.map(({ id }) => id), ['a', id])
  t.strictSame(created[0]?.metadata, { user: 'ada' })
})

t.test('closed brings the session and the reason, when it is gone', async (t) => {
  const timers = stopTime(t)
  const manager = new SessionManager({ ttl: TTL })
  const closed: Array<[string, CloseReason, unknown]> = []
  manager.on('closed', (session, reason) => {
    t.equal(manager.list().includes(session), false)
    t.not(manager.get(session.id), session)
    closed.push([session.id, reason, session.metadata])
  })
  for (const id of ['a', 'b', 'c', 'd', 'e']) manager.register(id, { id })
  manager.cleanup('a')
  manager.register('b', { id: 'successor' })
  timers.tick(TTL + 1)
  manager.get('c')
  manager.cleanup('d')
  manager.clearAll()
  t.strictSame(closed, [
    ['a', 'deleted', { id: 'a' }],
    ['b', 'replaced', { id: 'b' }],
    ['c', 'expired', { id: 'c' }],
    ['d', 'deleted', { id: 'd' }],
    ['e', 'cleared', { id: 'e' }],
    ['b', 'cleared', { id: 'successor' }]
  ])
})

t.test('closed of a replaced session comes before created of the new one, which is tracked', async (t) => {
  const manager = new SessionManager()
  const seen: unknown[] = []
  manager.register('a', { number: 1 })
  manager.on('closed', ({ metadata }, reason) => {
    seen.push(['closed', metadata?.['number'], reason, manager.get('a')?.metadata?.['number']])
  })
  manager.on('created', ({ metadata }) => { seen.push(['created', metadata?.['number']]) })
  manager.register('a', { number: 2 })
  t.strictSame(seen, [['closed', 1, 'replaced', 2], ['created', 2]])
})

t.test('all of an event emitter works: once, off, prepend, events.once', async (t) => {
  const manager = new SessionManager()
  const calls: string[] = []
  const off = (): void => { calls.push('off') }
  manager.once('created', ({ id }) => { calls.push(`once ${id}`) })
  manager.on('created', ({ id }) => { calls.push(`on ${id}`) })
  manager.prependListener('created', ({ id }) => { calls.push(`first ${id}`) })
  manager.on('created', off)
  manager.off('created', off)
  const closed = once(manager, 'closed')
  manager.register('a')
  manager.register('b')
  manager.cleanup('b')
  t.strictSame(calls, ['first a', 'once a', 'on a', 'first b', 'on b'])
  t.strictSame((await closed).map((value) => value?.id ?? value), ['b', 'deleted'])
  t.equal(manager.listenerCount('closed'), 0)
})

t.test('a listener that fails is logged, and the others still hear', async (t) => {
  const unhandled = watchUnhandled(t)
  const { manager, entries, takeLog } = recordManager()
  const heard: string[] = []
  for (const event of ['created', 'closed'] as const) {
    manager.on(event, () => { throw new Error('thrown') })
    manager.on(event, async () => { throw new Error('rejected') })
    manager.once(event, () => { throw Object.create(null) })
    manager.on(event, (session: Session) => { heard.push(`${event} ${session.id}`) })
  }
  t.doesNotThrow(() => manager.register('a'))
  await nextTurn()
  t.strictSame(takeLog(), [
    'Session registered: a',
    'A listener of "created" failed: thrown',
    'A listener of "created" failed: [object]',
    'A listener of "created" failed: rejected'
  ])
  t.strictSame(manager.cleanup('a'), { success: true, data: undefined })
  await nextTurn()
  t.strictSame(takeLog(), [
    'A listener of "closed" failed: thrown',
    'A listener of "closed" failed: [object]',
    'Session cleaned up: a',
    'A listener of "closed" failed: rejected'
  ])
  t.strictSame(heard, ['created a', 'closed a'])
  t.ok(entries.every(({ level, data }) => level === (/failed/.test(String(data)) ? 'error' : 'info')))
  t.strictSame(unhandled, [])
})

t.test('a listener that fails ends neither a sweep nor clearAll', async (t) => {
  const timers = stopTime(t)
  const { manager, takeLog } = recordManager({ ttl: TTL, cleanupInterval: 500 })
  manager.on('closed', () => { throw new Error('boom') })
  manager.startTTLCleanup()
  t.teardown(() => manager.stopTTLCleanup())
  for (const id of ['a', 'b', 'c']) manager.register(id)
  timers.tick(1500)
  t.equal(manager.getActiveSessionCount(), 0)
  t.ok(takeLog().includes('Cleanup completed: removed 3 expired session(s): a, b, c'))
  for (const id of ['a', 'b', 'c']) manager.register(id)
  manager.clearAll()
  t.equal(manager.getActiveSessionCount(), 0)
  t.ok(takeLog().includes('All sessions cleared: 3 session(s) removed'))
})

t.test('a listener of an expired session may fail on a call', async (t) => {
  const timers = stopTime(t)
  const { manager } = recordManager({ ttl: TTL })
  manager.on('closed', () => { throw new Error('boom') })
  manager.register('a')
  timers.tick(TTL + 1)
  t.equal(manager.get('a'), undefined)
  t.equal(manager.getActiveSessionCount(), 0)
})

t.test('every entry has a level, a text and the name of the manager', async (t) => {
  const timers = stopTime(t)
  const { manager, entries } = recordManager({ ttl: TTL, cleanupInterval: 500 })
  const id = manager.create({ user: 'ada', token: 'secret-token' })
  manager.startTTLCleanup()
  manager.register('b')
  manager.cleanup(id)
  timers.tick(1500)
  manager.stopTTLCleanup()
  manager.clearAll()
  t.strictSame(entries, [
    `Session created: ${id} (metadata: user, token)`,
    'Starting TTL cleanup (interval: 500ms, TTL: 1000ms)',
    'Session registered: b',
    `Session cleaned up: ${id}`,
    'Cleanup completed: removed 1 expired session(s): b',
    'Stopped TTL cleanup',
    'All sessions cleared: 0 session(s) removed'
  ].map((data) => ({ level: 'info', data, logger: 'SessionManager' })))
})

t.test('the values of metadata are never logged', async (t) => {
  const timers = stopTime(t)
  const { manager, entries } = recordManager({ ttl: TTL, cleanupInterval: 500 })
  manager.setExpirationHandler(() => { throw new Error('boom') })
  manager.startTTLCleanup()
  t.teardown(() => manager.stopTTLCleanup())
  for (const id of ['a', 'b', 'c']) manager.register(id, { token: 'secret-token' })
  manager.register('a', { token: 'secret-token' })
  manager.update('b', { other: 'secret-token' })
  manager.cleanup('b')
  timers.tick(1500)
  manager.create({ token: 'secret-token' })
  manager.clearAll()
  t.ok(entries.length > 8)
  t.notMatch(JSON.stringify(entries), /secret/)
})

t.test('formatId decides how ids are logged', async (t) => {
  const timers = stopTime(t)
  const { manager, entries } = recordManager({
    ttl: TTL,
    formatId: (...args) => `<${args.join('|')}>`
  })
  manager.setExpirationHandler(() => { throw new Error('boom') })
  manager.register('deleted')
  manager.cleanup('deleted')
  manager.register('expired')
  timers.tick(TTL + 1)
  const result = manager.touch('expired')
  t.equal(!result.success && result.error.message, 'Session not found: expired', 'the caller knows the id')
  t.strictSame(entries.map(({ data }) => data), [
    'Session registered: <deleted>',
    'Session cleaned up: <deleted>',
    'Session registered: <expired>',
    'Expiration handler failed for session <expired>: boom',
    'Cleanup completed: removed 1 expired session(s): <expired>'
  ])
})

t.test('a formatId that throws costs its entries and nothing else', async (t) => {
  const timers = stopTime(t)
  const unhandled = watchUnhandled(t)
  const { manager, takeLog, events } = recordManager({
    ttl: TTL,
    cleanupInterval: 500,
    formatId: () => { throw new Error('no name') }
  })
  manager.setExpirationHandler(async () => { throw new Error('boom') })
  manager.startTTLCleanup()
  manager.register('deleted')
  t.equal(manager.cleanup('deleted').success, true)
  manager.register('expired')
  timers.tick(1500)
  await nextTurn()
  manager.stopTTLCleanup()
  t.strictSame(events.slice(2), ['created expired', 'closed expired expired'])
  t.strictSame(takeLog(), ['Starting TTL cleanup (interval: 500ms, TTL: 1000ms)', 'Stopped TTL cleanup'])
  t.strictSame(unhandled, [])
})

t.test('a logger that fails changes nothing', async (t) => {
  for (const [name, sendLog] of [
    ['throws', () => { throw new Error('full') }],
    ['rejects', async () => { throw new Error('full') }],
    ['rejects with what cannot be described', () => Promise.reject(Object.create(null))]
  ] as const) {
    await t.test(name, async (t) => {
      const timers = stopTime(t)
      const unhandled = watchUnhandled(t)
      let entries = 0
      const { manager, events } = recordManager({
        ttl: TTL,
        cleanupInterval: 500,
        logger: {
          sendLog () {
            entries++
            return sendLog()
          }
        }
      })
      manager.setExpirationHandler(() => { throw new Error('boom') })
      manager.startTTLCleanup()
      const id = manager.create()
      t.equal(manager.cleanup(id).success, true)
      manager.register('swept')
      timers.tick(1500)
      manager.register('cleared')
      manager.clearAll()
      manager.stopTTLCleanup()
      await nextTurn()
      t.strictSame(events.slice(2), [
        'created swept', 'closed swept expired', 'created cleared', 'closed cleared cleared'
      ])
      t.equal(entries, 9)
      t.strictSame(unhandled, [])
    })
  }
})

t.test('the logger keeps its this', async (t) => {
  class Lines {
    lines: unknown[] = []
    sendLog ({ data }: { data: unknown }): void { this.lines.push(data) }
  }
  const logger = new Lines()
  new SessionManager({ logger }).register('a')
  t.strictSame(logger.lines, ['Session registered: a'])
})
