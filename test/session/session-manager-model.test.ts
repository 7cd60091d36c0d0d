import { isDeepStrictEqual } from 'node:util'
import t, { type Test } from 'tap'
import type { CloseReason } from '../../lib/observe/channels.js'
import type { Session } from '../../lib/session/session.js'
import { createRandom, type Random } from '../helpers/chance/random.js'
import { nextTurn, recordManager, stopTime } from '../helpers/session/recorded-manager.js'

const TTL = 1000
const INTERVAL = 300
const LIMIT = 'FST_ERR_MCP_SESSION_LIMIT'

interface Entry {
  last: number
  active: number
  streams: number
  created: number
  principal: string | undefined
  metadata: Record<string, unknown> | undefined
}

interface Limits {
  ttl: number
  /** How many sessions are opened before anything else happens. */
  before: number
  /** Whether most of them hold a stream from the beginning. */
  streams: boolean
  maxSessions: number
  maxSessionsPerPrincipal: number
}

/** What the manager should do, in the plainest way there is. */
class Model {
  sessions = new Map<string, Entry>()
  events: string[] = []
  expired: string[] = []
  readonly #limits: Limits

  constructor (limits: Limits) {
    this.#limits = limits
  }

  /** Makes room for a session of `principal`, unless it takes the place of another. False when there is no room. */
  makeRoom (now: number, principal: string | undefined): boolean {
    const own = [...this.sessions].filter(([, entry]) => entry.principal === principal)
    if (principal !== undefined && own.length >= this.#limits.maxSessionsPerPrincipal && !this.#evict(own, now)) return false
    return this.sessions.size < this.#limits.maxSessions || this.#makeRoomForAnybody(now)
  }

  // Anonymous sessions first, then the principals with the most.
  #makeRoomForAnybody (now: number): boolean {
    const all = [...this.sessions]
    const expired = all.filter(([, { active, last }]) => active === 0 && now - last > this.#limits.ttl)
    if (expired.length > 0) {
      const anonymous = expired.filter(([, { principal }]) => principal === undefined)
      return this.#evict(anonymous.length > 0 ? anonymous : expired, now)
    }
    if (this.#evict(all.filter(([, { principal }]) => principal === undefined), now)) return true
    const counts = new Map<string | undefined, number>()
    for (const [, { principal }] of all) counts.set(principal, (counts.get(principal) ?? 0) + 1)
    for (const count of [...new Set(counts.values())].sort((one, other) => other - one)) {
      if (this.#evict(all.filter(([, { principal }]) => counts.get(principal) === count), now)) return true
    }
    return false
  }

  #evict (sessions: Array<[string, Entry]>, now: number): boolean {
    const idle = sessions.filter(([, { active }]) => active === 0)
    const streaming = sessions.filter(([, { active, streams }]) => active === streams)
    const [oldest] = (idle.length > 0 ? idle : streaming).sort(([, one], [, other]) => one.last - other.last)
    if (oldest === undefined) return false
    const [id, entry] = oldest
    if (this.find(id, now) === entry) this.close(id, 'evicted')
    return true
  }

  open (id: string, now: number, principal: string | undefined, metadata: Record<string, unknown> | undefined): void {
    if (this.sessions.has(id)) this.close(id, 'replaced')
    this.sessions.set(id, { last: now, created: now, active: 0, streams: 0, principal, metadata })
    this.events.push(`created ${id}`)
  }

  close (id: string, reason: CloseReason): boolean {
    if (!this.sessions.delete(id)) return false
    this.events.push(`closed ${id} ${reason}`)
    return true
  }

  find (id: string, now: number): Entry | undefined {
    const entry = this.sessions.get(id)
    if (entry === undefined || entry.active > 0 || now - entry.last <= this.#limits.ttl) return entry
    this.expired.push(id)
    this.close(id, 'expired')
    return undefined
  }

  sweep (now: number): void {
    for (const id of [...this.sessions.keys()]) this.find(id, now)
  }
}

const LIMITS: Limits[] = [
  { ttl: TTL, before: 0, streams: false, maxSessions: Infinity, maxSessionsPerPrincipal: Infinity },
  { ttl: TTL, before: 0, streams: false, maxSessions: 4, maxSessionsPerPrincipal: Infinity },
  { ttl: TTL, before: 0, streams: true, maxSessions: 5, maxSessionsPerPrincipal: 2 },
  // So many that they are not searched one by one.
  { ttl: 20 * TTL, before: 200, streams: false, maxSessions: 150, maxSessionsPerPrincipal: 70 },
  { ttl: 20 * TTL, before: 200, streams: true, maxSessions: 150, maxSessionsPerPrincipal: 70 }
]

const IDS = ['a', 'b', 'c', 'd', 'e', '__proto__', 'constructor']

t.test('whatever is done, the manager does what a plain Map would', async (t) => {
  for (const limits of LIMITS) {
    for (let seed = 1; seed <= 15; seed++) {
      await t.test(`seed ${seed}, ${JSON.stringify(limits)}`, async (t) => compareWithModel(t, createRandom(seed), limits))
    }
  }
})

async function compareWithModel (t: Test, random: Random, limits: Limits): Promise<void> {
  const timers = stopTime(t)
  const { manager, events } = recordManager({
    ttl: limits.ttl,
    cleanupInterval: INTERVAL,
    maxSessions: limits.maxSessions === Infinity ? undefined : limits.maxSessions,
    maxSessionsPerPrincipal: limits.maxSessionsPerPrincipal === Infinity ? undefined : limits.maxSessionsPerPrincipal
  })
  const expired: string[] = []
  manager.setExpirationHandler((id) => { expired.push(id) })
  t.teardown(() => manager.stopTTLCleanup())
  const model = new Model(limits)
  const held: Array<{ session: Session, endStream?: () => void }> = []
  let nextSweep = Infinity

  function advance (milliseconds: number): void {
    const end = Date.now() + milliseconds
    for (; nextSweep <= end; nextSweep += INTERVAL) {
      timers.tick(nextSweep - Date.now())
      model.sweep(nextSweep)
    }
    timers.tick(end - Date.now())
  }

  function create (): void {
    const now = Date.now()
    const principal = random.pick([undefined, 'ada', 'ada', 'bob'])
    const metadata = random.pick([undefined, { key: now }])
    if (!model.makeRoom(now, principal)) {
      t.throws(() => manager.create(metadata, { principal }), { code: LIMIT })
      return
    }
    const id = manager.create(metadata, { principal })
    model.open(id, now, principal, metadata)
    if (!limits.streams || random.below(5) === 0) return
    hold(id)
    holdStream(held.at(-1))
  }

  function register (id: string): void {
    const now = Date.now()
    if (!model.sessions.has(id) && !model.makeRoom(now, undefined)) {
      t.throws(() => manager.register(id), { code: LIMIT })
      return
    }
    manager.register(id)
    model.open(id, now, undefined, undefined)
  }

  function hold (id: string): void {
    const now = Date.now()
    const entry = model.find(id, now)
    const session = manager.acquire(id)
    t.equal(session !== undefined, entry !== undefined)
    if (session === undefined || entry === undefined) return
    entry.active++
    entry.last = now
    held.push({ session })
  }

  function holdStream (one = random.pick(held)): void {
    if (one === undefined || one.endStream !== undefined) return
    const entry = model.sessions.get(one.session.id)
    if (entry !== undefined && isCurrent(one.session)) entry.streams++
    one.endStream = manager.holdStream(one.session)
  }

  function release (): void {
    const [one] = held.splice(random.below(held.length), 1)
    if (one === undefined) return
    const { session, endStream } = one
    const entry = isCurrent(session) ? model.sessions.get(session.id) : undefined
    endStream?.()
    manager.release(session)
    if (entry === undefined) return
    if (endStream !== undefined) entry.streams--
    entry.active--
    entry.last = Date.now()
  }

  function isCurrent (session: Session): boolean {
    return manager.list().includes(session)
  }

  function step (): void {
    const id = random.pick([...IDS, ...model.sessions.keys()]) ?? 'a'
    // No two sessions have been idle equally long.
    advance(1)
    const now = Date.now()
    switch (random.below(16)) {
      case 0: case 14: return create()
      case 1: return register(id)
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
      case 7: return hold(id)
      case 8: return release()
      case 9: return random.below(2) === 0 ? release() : hold(id)
      case 10: return advance(random.below(40))
      case 11: return advance(random.below(2 * INTERVAL))
      case 12: return advance(random.pick([TTL, TTL + 1, TTL - 1, INTERVAL, 3 * TTL]) ?? 0)
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
        return
      case 15: holdStream()
    }
  }

  for (let count = 0; count < limits.before; count++) {
    advance(1)
    create()
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

function describe ({ id, createdAt, lastAccessedAt, activeRequests, openStreams, principal, metadata }: Session): unknown[] {
  return [id, createdAt, lastAccessedAt, activeRequests, openStreams, principal, metadata]
}

function describeEntry ([id, { created, last, active, streams, principal, metadata }]: [string, Entry]): unknown[] {
  return [id, created, last, active, streams, principal, metadata]
}

t.test('whatever listeners do in between, each session is closed once and none is lost', async (t) => {
  for (let seed = 1; seed <= 20; seed++) await t.test(`seed ${seed}`, async (t) => callBackFromListeners(t, createRandom(seed)))
})

async function callBackFromListeners (t: Test, random: Random): Promise<void> {
  const timers = stopTime(t, 1_000_000_000)
  const { manager } = recordManager({
    ttl: TTL,
    cleanupInterval: INTERVAL,
    maxSessions: 250,
    maxSessionsPerPrincipal: 90,
    logger: { sendLog: () => { meddle(60) } }
  })
  t.teardown(() => manager.stopTTLCleanup())
  const open = new Set<Session>()
  const held: Array<() => void> = []
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
    if (reason === 'evicted' && session.activeRequests > session.openStreams) t.fail(`${session.id} is evicted from a request`)
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
      case 0: case 1: manager.create(undefined, { principal: random.pick(['ada', undefined]) }); break
      case 2: case 3: manager.register(id); break
      case 4: case 5: manager.touch(id); break
      case 6: manager.get(id); break
      case 7: manager.update(id, { id }); break
      case 8: manager.cleanup(id); break
      case 9: {
        const session = manager.acquire(id)
        if (session === undefined) break
        const endStream = random.below(2) === 0 ? () => {} : manager.holdStream(session)
        held.push(() => {
          endStream()
          manager.release(session)
        })
        break
      }
      case 10: case 11: {
        const [release] = held.splice(random.below(held.length), 1)
        release?.()
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
  for (const release of held) release()
  manager.startTTLCleanup()
  const latest = Math.max(Date.now(), ...manager.list().map(({ lastAccessedAt }) => lastAccessedAt))
  timers.setTime(latest + TTL + 1)
  timers.tick(INTERVAL)
  for (let turn = 0; turn < 50; turn++) await nextTurn()
  t.strictSame(manager.list(), [], 'the sweeps find them all')
  t.equal(open.size, 0)
}
