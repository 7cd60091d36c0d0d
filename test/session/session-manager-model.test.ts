import { isDeepStrictEqual } from 'node:util'
import t, { type Test } from 'tap'
import type { CloseReason, Session } from '../../lib/session/session.js'
import { createRandom, type Random } from '../helpers/random.js'
import { nextTurn, recordManager, stopTime } from '../helpers/recorded-manager.js'

const TTL = 1000
const INTERVAL = 300

interface Entry { last: number, active: number, created: number, metadata: Record<string, unknown> | undefined }

/** What the manager should do, in the plainest way there is. */
class Model {
  sessions = new Map<string, Entry>()
  events: string[] = []
  expired: string[] = []

  open (id: string, now: number, metadata: Record<string, unknown> | undefined): void {
    if (this.sessions.has(id)) this.close(id, 'replaced')
    this.sessions.set(id, { last: now, created: now, active: 0, metadata })
    this.events.push(`created ${id}`)
  }

  close (id: string, reason: CloseReason): boolean {
    if (!this.sessions.delete(id)) return false
    this.events.push(`closed ${id} ${reason}`)
    return true
  }

  find (id: string, now: number): Entry | undefined {
    const entry = this.sessions.get(id)
    if (entry === undefined || entry.active > 0 || now - entry.last <= TTL) return entry
    this.expired.push(id)
    this.close(id, 'expired')
    return undefined
  }

  sweep (now: number): void {
    for (const id of [...this.sessions.keys()]) this.find(id, now)
  }
}

const IDS = ['a', 'b', 'c', 'd', 'e', '__proto__', 'constructor']

t.test('whatever is done, the manager does what a plain Map would', async (t) => {
  for (let seed = 1; seed <= 25; seed++) await t.test(`seed ${seed}`, async (t) => compareWithModel(t, createRandom(seed)))
})

async function compareWithModel (t: Test, random: Random): Promise<void> {
  const timers = stopTime(t)
  const { manager, events } = recordManager({ ttl: TTL, cleanupInterval: INTERVAL })
  const expired: string[] = []
  manager.setExpirationHandler((id) => { expired.push(id) })
  t.teardown(() => manager.stopTTLCleanup())
  const model = new Model()
  const held: Session[] = []
  let nextSweep = Infinity

  function advance (milliseconds: number): void {
    const end = Date.now() + milliseconds
    for (; nextSweep <= end; nextSweep += INTERVAL) {
      timers.tick(nextSweep - Date.now())
      model.sweep(nextSweep)
    }
    timers.tick(end - Date.now())
  }

  function step (): void {
    const id = random.pick([...IDS, ...model.sessions.keys()]) ?? 'a'
    const now = Date.now()
    switch (random.below(14)) {
      case 0: {
        const metadata = random.pick([undefined, { key: now }])
        model.open(manager.create(metadata), now, metadata)
        return
      }
      case 1: {
        const metadata = random.pick([undefined, { key: id }])
        manager.register(id, metadata)
        model.open(id, now, metadata)
        return
      }
      case 2: case 3: {
        const entry = model.find(id, now)
        if (entry !== undefined) entry.last = now
        t.equal(manager.touch(id).success, entry !== undefined)
        return
      }
      case 4:
        t.equal(manager.get(id) !== undefined, model.find(id, now) !== undefined)
        return
      case 5: {
        const entry = model.find(id, now)
        if (entry !== undefined) entry.metadata = { ...entry.metadata, [`k${random.below(2)}`]: now }
        t.equal(manager.update(id, entry?.metadata ?? {}).success, entry !== undefined)
        return
      }
      case 6:
        t.equal(manager.cleanup(id).success, model.close(id, 'deleted'))
        return
      case 7: {
        const entry = model.find(id, now)
        const session = manager.acquire(id)
        t.equal(session !== undefined, entry !== undefined)
        if (session === undefined || entry === undefined) return
        entry.active++
        entry.last = now
        held.push(session)
        return
      }
      case 8: case 9: {
        const [session] = held.splice(random.below(held.length), 1)
        if (session === undefined) return
        const current = manager.list().includes(session)
        manager.release(session)
        const entry = model.sessions.get(session.id)
        if (!current || entry === undefined) return
        entry.active--
        entry.last = now
        return
      }
      case 10: return advance(random.below(40))
      case 11: return advance(random.below(2 * INTERVAL))
      case 12: return advance(random.pick([TTL, TTL + 1, TTL - 1, INTERVAL, 3 * TTL]) ?? TTL)
      case 13:
        if (random.below(10) === 0) {
          for (const id of [...model.sessions.keys()]) model.close(id, 'cleared')
          manager.clearAll()
          return
        }
        if (random.below(2) === 0) {
          manager.stopTTLCleanup()
          nextSweep = Infinity
        } else if (nextSweep === Infinity) {
          manager.startTTLCleanup()
          nextSweep = now + INTERVAL
        }
    }
  }

  for (let count = 0; count < 400; count++) {
    step()
    // A sweep closes the longest idle slot first, the model in the order of opening.
    const actual = [manager.list().map(describe), events.splice(0).sort(), expired.splice(0).sort()]
    const wanted = [Array.from(model.sessions, describeEntry), model.events.splice(0).sort(), model.expired.splice(0).sort()]
    if (isDeepStrictEqual(actual, wanted)) continue
    t.strictSame(actual, wanted, `sessions, events and calls of the handler after step ${count}`)
    return
  }
  t.pass('400 steps')
}

function describe ({ id, createdAt, lastAccessedAt, activeRequests, metadata }: Session): unknown[] {
  return [id, createdAt, lastAccessedAt, activeRequests, metadata]
}

function describeEntry ([id, { created, last, active, metadata }]: [string, Entry]): unknown[] {
  return [id, created, last, active, metadata]
}

t.test('whatever listeners do in between, each session is closed once and none is lost', async (t) => {
  for (let seed = 1; seed <= 20; seed++) await t.test(`seed ${seed}`, async (t) => callBackFromListeners(t, createRandom(seed)))
})

async function callBackFromListeners (t: Test, random: Random): Promise<void> {
  const timers = stopTime(t, 1_000_000_000)
  const { manager } = recordManager({ ttl: TTL, cleanupInterval: INTERVAL, logger: { sendLog: () => { meddle(60) } } })
  t.teardown(() => manager.stopTTLCleanup())
  const open = new Set<Session>()
  const held: Session[] = []
  const expiring = new Set<Session>()
  let depth = 0

  manager.on('created', (session) => {
    if (open.has(session)) t.fail('created twice')
    open.add(session)
    meddle(5)
  })
  manager.on('closed', (session, reason) => {
    // One that was closed before it could be announced was never created.
    if (!open.delete(session) && session.createdAt !== Date.now()) t.fail(`${session.id} closed twice`)
    if (reason === 'expired' && !expiring.delete(session)) t.fail(`${session.id} expired without its handler`)
    meddle(5)
  })
  manager.setExpirationHandler((id) => {
    const session = manager.list().find((session) => session.id === id)
    if (session === undefined || expiring.has(session)) t.fail(`the handler of ${id} is called too late, or twice`)
    else expiring.add(session)
    meddle(5)
  })

  function meddle (seldom: number): void {
    if (depth >= 4 || random.below(seldom) > 0) return
    depth++
    act()
    if (random.below(2) === 0) act()
    depth--
  }

  function act (): void {
    const id = random.pick([...IDS, ...Array.from(open, ({ id }) => id)]) ?? 'a'
    switch (random.below(16)) {
      case 0: case 1: manager.create(); break
      case 2: case 3: manager.register(id); break
      case 4: case 5: manager.touch(id); break
      case 6: manager.get(id); break
      case 7: manager.update(id, { id }); break
      case 8: manager.cleanup(id); break
      case 9: {
        const session = manager.acquire(id)
        if (session !== undefined) held.push(session)
        break
      }
      case 10: case 11: {
        const [session] = held.splice(random.below(held.length), 1)
        if (session !== undefined) manager.release(session)
        break
      }
      case 12: if (random.below(20) === 0) manager.clearAll(); break
      case 13: manager.stopTTLCleanup(); break
      case 14: case 15: manager.startTTLCleanup()
    }
  }

  for (let count = 0; count < 100; count++) {
    for (let acts = random.below(30); acts > 0; acts--) act()
    if (random.below(12) === 0) for (let more = 300; more > 0; more--) manager.create()
    // Now and then the clock goes back.
    if (random.below(15) === 0) timers.setTime(Date.now() - random.below(3 * TTL))
    else timers.tick(random.below(TTL))
    if (random.below(2) === 0) await nextTurn()
    if (manager.getActiveSessionCount() !== manager.list().length) t.fail('the count is not that of the list')
    for (const session of manager.list()) if (!open.has(session)) t.fail(`${session.id} is tracked and not open`)
    if (manager.list().length !== open.size) t.fail('a session is open and not tracked')
  }

  depth = Infinity
  for (const session of held) manager.release(session)
  manager.startTTLCleanup()
  const latest = Math.max(Date.now(), ...manager.list().map(({ lastAccessedAt }) => lastAccessedAt))
  timers.setTime(latest + TTL + 1)
  timers.tick(INTERVAL)
  for (let turn = 0; turn < 50; turn++) await nextTurn()
  t.strictSame(manager.list(), [], 'the sweeps find them all')
  t.equal(open.size, 0)
}
