import t from 'tap'
import type { LogEntry } from '../../lib/base/logger.js'
import { SessionManager, type SessionManagerOptions } from '../../lib/session/session-manager.js'
import { collectNow } from '../helpers/heap/garbage.js'
import { nextTurn, recordManager, stopTime } from '../helpers/session/recorded-manager.js'

const UUID_V4 = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
const MALFORMED = new TypeError('A session id must be a string of 1 to 256 visible ASCII characters')
const ODD_IDS = ['__proto__', 'constructor', 'hasOwnProperty', 'toString', 'null', 'undefined', '0', '-1', '!', '~'.repeat(256)]

/** A value of a type that the compiler would not let through. */
function fromJson (json: string) {
  return JSON.parse(json)
}

const NOBODY = { principal: undefined, clientInfo: undefined, protocolVersion: undefined }

t.test('create returns a new UUID v4', async (t) => {
  const manager = new SessionManager()
  const ids = new Set(Array.from({ length: 1000 }, () => manager.create()))
  t.equal(ids.size, 1000)
  for (const id of ids) if (!UUID_V4.test(id)) t.fail(id)
  t.strictSame(manager.list().map(({ id }) => id), [...ids])
})

t.test('create tracks a session that starts now, without metadata and without requests', async (t) => {
  stopTime(t, 5000)
  const { manager, takeLog, events } = recordManager()
  const id = manager.create()
  const session = manager.get(id)
  t.strictSame({ ...session }, { id, createdAt: 5000, lastAccessedAt: 5000, metadata: undefined, activeRequests: 0, openStreams: 0, ...NOBODY })
  t.strictSame(takeLog(), [`Session created: ${id}`])
  t.strictSame(events, [`created ${id}`])
})

t.test('register tracks an id that was made elsewhere', async (t) => {
  stopTime(t, 5000)
  const { manager, takeLog, events } = recordManager()
  t.equal(manager.register('from-the-sdk', { user: 'ada' }), undefined)
  t.strictSame({ ...manager.get('from-the-sdk') }, {
    id: 'from-the-sdk',
    createdAt: 5000,
    lastAccessedAt: 5000,
    metadata: { user: 'ada' },
    activeRequests: 0,
    openStreams: 0,
    ...NOBODY
  })
  t.strictSame(takeLog(), ['Session registered: from-the-sdk (metadata: user)'])
  t.strictSame(events, ['created from-the-sdk'])
})

t.test('register replaces the record of the same id', async (t) => {
  const timers = stopTime(t, 5000)
  const { manager, takeLog, events } = recordManager()
  manager.register('a', { first: 1 })
  manager.register('b')
  const replaced = manager.get('a')
  timers.tick(10)
  takeLog()
  manager.register('a', { second: 2 })
  const session = manager.get('a')
  t.not(session, replaced)
  t.strictSame(session?.metadata, { second: 2 })
  t.equal(session?.createdAt, 5010)
  t.equal(manager.getActiveSessionCount(), 2)
  t.strictSame(manager.list().map(({ id }) => id), ['b', 'a'], 'the list is in the order of opening')
  t.strictSame(takeLog(), ['Session registered: a (metadata: second)'])
  t.strictSame(events, ['created a', 'created b', 'closed a replaced', 'created a'])
})

t.test('register refuses an id that is not 1 to 256 visible ASCII characters', async (t) => {
  const { manager, entries, events } = recordManager()
  for (const id of ['', 'x'.repeat(257), ' ', 'a b', 'a\n', 'é', '\0', '\u{1f600}']) {
    t.throws(() => manager.register(id), MALFORMED)
  }
  for (const json of ['null', '7', 'true', '{}', '["a"]']) t.throws(() => manager.register(fromJson(json)), MALFORMED)
  t.equal(manager.getActiveSessionCount(), 0)
  t.strictSame([entries, events], [[], []])
})

t.test('odd ids are ids', async (t) => {
  const { manager } = recordManager()
  for (const id of ODD_IDS) {
    t.equal(manager.get(id), undefined)
    t.equal(manager.touch(id).success, false)
    t.equal(manager.cleanup(id).success, false)
    manager.register(id)
    t.equal(manager.get(id)?.id, id)
    t.equal(manager.touch(id).success, true)
    t.equal(manager.update(id, { seen: true }).success, true)
  }
  t.strictSame(manager.list().map(({ id }) => id), ODD_IDS)
  for (const id of ODD_IDS) t.equal(manager.cleanup(id).success, true)
  t.equal(manager.getActiveSessionCount(), 0)
})

t.test('get of an unknown id finds nothing and logs nothing', async (t) => {
  const { manager, entries } = recordManager()
  t.equal(manager.get('nobody'), undefined)
  t.strictSame(entries, [])
})

t.test('get does not touch', async (t) => {
  const timers = stopTime(t, 5000)
  const { manager } = recordManager()
  manager.register('a')
  timers.tick(10)
  t.equal(manager.get('a')?.lastAccessedAt, 5000)
})

t.test('touch restarts the idle time and says nothing', async (t) => {
  const timers = stopTime(t, 5000)
  const { manager, takeLog, events } = recordManager()
  manager.register('a')
  takeLog()
  timers.tick(10)
  t.strictSame(manager.touch('a'), { success: true, data: undefined })
  t.equal(manager.get('a')?.lastAccessedAt, 5010)
  t.equal(manager.get('a')?.createdAt, 5000)
  t.strictSame(takeLog(), [])
  t.strictSame(events, ['created a'])
})

t.test('touch and update of an unknown id fail as not found', async (t) => {
  const { manager, entries } = recordManager()
  for (const result of [manager.touch('nobody'), manager.update('nobody', {})]) {
    t.equal(result.success, false)
    t.equal(!result.success && result.error instanceof Error && result.error.message, 'Session not found: nobody')
  }
  t.strictSame(entries, [])
})

t.test('update merges key by key, into a new object', async (t) => {
  stopTime(t, 5000)
  const { manager, takeLog, events } = recordManager()
  manager.register('a', { cart: { apple: 1 }, user: 'ada' })
  const before = manager.get('a')?.metadata
  takeLog()
  const metadata: Record<string, unknown> = { cart: { pear: 2 }, extra: undefined }
  t.strictSame(manager.update('a', metadata), { success: true, data: undefined })
  metadata['late'] = true
  t.strictSame(manager.get('a')?.metadata, { cart: { pear: 2 }, user: 'ada', extra: undefined })
  t.strictSame(before, { cart: { apple: 1 }, user: 'ada' })
  t.ok(Object.isFrozen(manager.get('a')?.metadata))
  t.strictSame(takeLog(), [])
  t.strictSame(events, ['created a'])
})

t.test('update gives metadata to a session that had none, and does not touch it', async (t) => {
  const timers = stopTime(t, 5000)
  const { manager } = recordManager()
  manager.register('a')
  timers.tick(10)
  manager.update('a', { user: 'ada' })
  t.strictSame(manager.get('a')?.metadata, { user: 'ada' })
  t.equal(manager.get('a')?.lastAccessedAt, 5000)
})

t.test('update with what is no object fails and changes nothing', async (t) => {
  const { manager } = recordManager()
  manager.register('a', { user: 'ada' })
  const result = manager.update('a', fromJson('null'))
  t.equal(!result.success && result.error instanceof TypeError && result.error.message, 'Session metadata must be an object, got null')
  t.strictSame(manager.get('a')?.metadata, { user: 'ada' })
})

t.test('cleanup closes the session', async (t) => {
  const { manager, takeLog, events } = recordManager()
  manager.register('a')
  manager.register('b')
  takeLog()
  t.strictSame(manager.cleanup('a'), { success: true, data: undefined })
  t.equal(manager.get('a'), undefined)
  t.strictSame(manager.list().map(({ id }) => id), ['b'])
  t.strictSame(takeLog(), ['Session cleaned up: a'])
  t.strictSame(events, ['created a', 'created b', 'closed a deleted'])
})

t.test('cleanup of an unknown id fails as not found for cleanup', async (t) => {
  const { manager, takeLog, events } = recordManager()
  manager.register('a')
  manager.cleanup('a')
  takeLog()
  for (const id of ['a', 'nobody']) {
    const result = manager.cleanup(id)
    t.equal(!result.success && result.error instanceof Error && result.error.message, `Session not found for cleanup: ${id}`)
  }
  t.strictSame(takeLog(), [])
  t.equal(events.length, 2)
})

t.test('touch, update and cleanup do not throw, whatever the id is', async (t) => {
  const { manager } = recordManager()
  for (const json of ['null', '7', '{}', '["a"]', '{"toString":1}']) {
    const id = fromJson(json)
    t.equal(manager.touch(id).success, false)
    t.equal(manager.update(id, {}).success, false)
    t.equal(manager.cleanup(id).success, false)
    t.equal(manager.get(id), undefined)
    t.equal(manager.acquire(id), undefined)
  }
  const result = manager.touch(fromJson('{"toString":1}'))
  t.equal(!result.success && result.error.message, 'Session not found: [object]')
})

t.test('list is a copy, the count is its length', async (t) => {
  const { manager } = recordManager()
  t.strictSame(manager.list(), [])
  t.equal(manager.getActiveSessionCount(), 0)
  manager.register('a')
  manager.register('b')
  const list = manager.list()
  list.pop()
  t.equal(manager.list().length, 2)
  t.equal(manager.getActiveSessionCount(), 2)
  t.equal(manager.list()[0], manager.get('a'))
})

t.test('clearAll closes all sessions', async (t) => {
  const { manager, takeLog, events } = recordManager()
  for (const id of ['a', 'b', 'c']) manager.register(id)
  events.length = 0
  takeLog()
  manager.clearAll()
  t.equal(manager.getActiveSessionCount(), 0)
  t.strictSame(events, ['closed a cleared', 'closed b cleared', 'closed c cleared'])
  t.strictSame(takeLog(), ['All sessions cleared: 3 session(s) removed'])
  manager.clearAll()
  t.strictSame(takeLog(), ['All sessions cleared: 0 session(s) removed'])
  manager.register('a')
  manager.clearAll('shutdown')
  t.strictSame(events.slice(3), ['created a', 'closed a shutdown'])
})

t.test('a session looks like data, and its metadata is frozen', async (t) => {
  stopTime(t, 5000)
  const { manager } = recordManager()
  manager.register('a', { user: 'ada' })
  const session = manager.get('a')
  t.strictSame(fromJson(JSON.stringify(session)), {
    lastAccessedAt: 5000,
    id: 'a',
    createdAt: 5000,
    metadata: { user: 'ada' },
    activeRequests: 0,
    openStreams: 0
  })
  t.throws(() => Object.assign(session?.metadata ?? {}, { admin: true }), TypeError)
})

t.test('stored metadata is a shallow copy', async (t) => {
  const { manager } = recordManager()
  const cart = ['apple']
  const metadata: Record<string, unknown> = { cart, user: 'ada' }
  manager.register('a', metadata)
  metadata['user'] = 'bob'
  metadata['admin'] = true
  delete metadata['cart']
  cart.push('pear')
  t.strictSame(manager.get('a')?.metadata, { cart: ['apple', 'pear'], user: 'ada' })
})

t.test('unusual metadata does not make create fail', async (t) => {
  const { manager, takeLog } = recordManager()
  const circular: Record<string, unknown> = { name: 'loop' }
  circular['self'] = circular
  const { proxy, revoke } = Proxy.revocable({ a: 1 }, {})
  revoke()
  const all: Array<[object, string[]]> = [
    [circular, ['name', 'self']],
    [Object.freeze({ a: 1 }), ['a']],
    [{ get bad () { throw new Error('no') }, good: 1 }, ['good']],
    [new Proxy({ a: 1 }, {}), ['a']],
    [proxy, []],
    [fromJson('{"__proto__":{"admin":true},"constructor":1}'), ['__proto__', 'constructor']],
    [Object.create(null), []],
    [{ f () {}, s: Symbol('s'), n: 1n, u: undefined }, ['f', 's', 'n', 'u']],
    [new Map([['a', 1]]), []]
  ]
  for (const [metadata, keys] of all) {
    const id = manager.create(Object(metadata))
    t.strictSame(Object.keys(manager.get(id)?.metadata ?? { missing: true }), keys)
    t.equal(manager.get(id)?.metadata?.['admin'], undefined)
    t.strictSame(takeLog(), [`Session created: ${id}${keys.length === 0 ? '' : ` (metadata: ${keys.join(', ')})`}`])
    t.equal(manager.update(id, Object(metadata)).success, true)
  }
  t.equal(Object.isFrozen(circular), false)
})

t.test('metadata that is no object is a TypeError, and no session is opened', async (t) => {
  const { manager, entries, events } = recordManager()
  for (const [json, type] of [['null', 'null'], ['"text"', 'string'], ['7', 'number']]) {
    const message = `Session metadata must be an object, got ${String(type)}`
    t.throws(() => manager.create(fromJson(String(json))), new TypeError(message))
    t.throws(() => manager.register('a', fromJson(String(json))), new TypeError(message))
  }
  t.equal(manager.getActiveSessionCount(), 0)
  t.strictSame([entries, events], [[], []])
})

t.test('register with bad metadata leaves the session of that id alone', async (t) => {
  const { manager, events } = recordManager()
  manager.register('a', { user: 'ada' })
  t.throws(() => manager.register('a', fromJson('7')), TypeError)
  t.strictSame(manager.get('a')?.metadata, { user: 'ada' })
  t.strictSame(events, ['created a'])
})

t.test('bad configuration is a TypeError that names the option', async (t) => {
  const bad: Array<[keyof SessionManagerOptions, unknown[]]> = [
    ['enabled', [null, 0, 1, 'true', {}]],
    ['ttl', [-1, NaN, Infinity, '1000', null, {}, true, 5n]],
    ['cleanupInterval', [-1, NaN, Infinity, '1000', null, [], false, 2 ** 31]],
    ['logger', [null, 'console', 7, {}, { sendLog: true }, () => {}]],
    ['formatId', [null, 'hash', 7, {}]]
  ]
  for (const [name, values] of bad) {
    for (const value of values) {
      t.throws(
        () => new SessionManager({ [name]: value }),
        { name: 'TypeError', message: new RegExp(`^Option "${name}" must be `) },
        `${name}: ${String(value)}`
      )
    }
  }
  t.throws(
    () => new SessionManager({ ttl: -1 }),
    new TypeError('Option "ttl" must be a number of milliseconds >= 0 (0: sessions never expire), got -1 (number)')
  )
  t.throws(
    () => new SessionManager({ cleanupInterval: NaN }),
    new TypeError('Option "cleanupInterval" must be a number of milliseconds >= 0 (0: half of the ttl), got NaN (number)')
  )
})

t.test('the logger is the second argument, as in new SessionManager(config, logger)', async (t) => {
  const lines: unknown[] = []
  const logger = { sendLog: ({ data }: LogEntry) => { lines.push(data) } }
  const silenced = { sendLog: () => { t.fail('the second argument goes first') } }
  new SessionManager({ enabled: true, ttl: 60_000, cleanupInterval: 1000 }, logger).register('a')
  new SessionManager({ logger: silenced }, logger).register('b')
  new SessionManager({ logger }, undefined).register('c')
  t.strictSame(lines, ['Session registered: a', 'Session registered: b', 'Session registered: c'])
  for (const bad of ['null', '7', '{}', '"console"']) {
    t.throws(() => new SessionManager({ logger }, fromJson(bad)), { name: 'TypeError', message: /^Option "logger" must be / })
  }
})

t.test('a manager works whatever `enabled` says', async (t) => {
  for (const enabled of [true, false, undefined]) {
    const { manager, takeLog } = recordManager({ enabled })
    manager.register('a')
    manager.startTTLCleanup()
    manager.stopTTLCleanup()
    t.equal(manager.get('a')?.id, 'a')
    t.equal(takeLog().length, 3)
  }
})

t.test('an option that does not exist is a TypeError that names the one that was meant', async (t) => {
  for (const [written, meant] of [['maxSession', 'maxSessions'], ['TTL', 'ttl'], ['cleanupinterval', 'cleanupInterval']]) {
    t.throws(
      () => new SessionManager({ [String(written)]: 5 }),
      new TypeError(`Unknown option "${written}": did you mean "${meant}"?`)
    )
  }
})

t.test('an option that is undefined has its default', async (t) => {
  const { manager, takeLog } = recordManager({ ttl: undefined, cleanupInterval: undefined, formatId: undefined })
  manager.startTTLCleanup()
  manager.stopTTLCleanup()
  t.match(takeLog(), ['Starting TTL cleanup (interval: 300000ms, TTL: 3600000ms)'])
  t.doesNotThrow(() => new SessionManager({ logger: undefined }).create())
})

t.test('the options are read once and not changed', async (t) => {
  const timers = stopTime(t)
  const options = { ttl: 100 }
  const manager = new SessionManager(Object.freeze(options))
  const open = { ttl: 100, cleanupInterval: 50 }
  const other = new SessionManager(open)
  open.ttl = 1e9
  manager.register('a')
  other.register('a')
  timers.tick(101)
  t.equal(manager.get('a'), undefined)
  t.equal(other.get('a'), undefined)
})

t.test('a session that has ended is not kept in memory', async (t) => {
  const timers = stopTime(t)
  const { manager } = recordManager({ ttl: 1000 })
  manager.setExpirationHandler(() => {})
  for (const id of ['deleted', 'replaced', 'expired', 'cleared']) manager.register(id)
  const refs = manager.list().map((session) => new WeakRef(session))
  manager.cleanup('deleted')
  manager.register('replaced')
  timers.tick(1001)
  manager.get('expired')
  manager.clearAll()
  await nextTurn()
  collectNow()
  t.strictSame(refs.map((ref) => ref.deref()), [undefined, undefined, undefined, undefined])
})

t.test('two managers know nothing of each other', async (t) => {
  const one = recordManager()
  const two = recordManager()
  one.manager.register('a')
  t.equal(two.manager.get('a'), undefined)
  t.strictSame(two.events, [])
})
