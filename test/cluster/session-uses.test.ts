// What nodes tell each other of what their sessions have under way.
import t from 'tap'
import { SessionManager } from '../../index.js'
import type { JsonObject } from '../../lib/cluster/directory.js'
import { DirectoryUnavailableError } from '../../lib/cluster/directory.js'
import { NodeUses } from '../../lib/cluster/session-uses.js'
import { channels } from '../../lib/observe/channels.js'
import { createCluster } from '../helpers/cluster/cluster-apps.js'
import { needsRedis, startRedis } from '../helpers/redis/redis-server.js'

const LEASE = 5000

/** Two nodes that read what they are sent when they are told to. */
function stage (): { nodes: Record<'one' | 'two', { uses: NodeUses, sessions: SessionManager, parked: Set<string>, read: () => JsonObject[], lease: { incarnation: string | undefined, lease: number } }>, time: { now: number }, redis: { away: boolean } } {
  const time = { now: 1000 }
  const redis = { away: false }
  const mail = new Map<string, JsonObject[]>()
  const build = (node: string) => {
    const sessions = new SessionManager({ maxSessions: 10_000 })
    const parked = new Set<string>()
    const lease = { incarnation: node, lease: LEASE }
    const directory = {
      async send (to: string, message: JsonObject): Promise<boolean> {
        if (redis.away) throw new DirectoryUnavailableError('away')
        mail.set(to, [...mail.get(to) ?? [], JSON.parse(JSON.stringify(message))])
        return true
      }
    }
    const uses = new NodeUses({
      directory,
      sessions,
      parked: { get size () { return parked.size }, lastIds: (most) => [...parked].slice(-most) },
      nodeLease: lease,
      now: () => time.now
    })
    const read = (): JsonObject[] => {
      const messages = mail.get(node) ?? []
      mail.delete(node)
      uses.hear(messages)
      return messages
    }
    return { uses, sessions, parked, read, lease }
  }
  return { nodes: { one: build('one'), two: build('two') }, time, redis }
}

t.test('a node is told what it has asked for, and that the rest is idle', async (t) => {
  const { nodes: { one, two } } = stage()
  const [idle, busy] = [two.sessions.create(), two.sessions.create()]
  two.sessions.acquire(busy)
  const stream = two.sessions.acquire(busy)
  if (stream !== undefined) two.sessions.holdStream(stream)
  t.equal(one.uses.useOf('two', busy), undefined)
  await one.uses.ask(['one', 'two'])
  t.strictSame(one.read(), [], 'nobody asks himself')
  two.read()
  one.read()
  t.strictSame([one.uses.useOf('two', busy), one.uses.useOf('two', idle)], [{ inFlight: 1, streams: 1 }, { inFlight: 0, streams: 0 }])
  t.equal(one.uses.useOf('three', busy), undefined)
})

t.test('a node is told which are parked, whatever else they have', async (t) => {
  const { nodes: { one, two }, time } = stage()
  const [parked, busy, neither] = [two.sessions.create(), two.sessions.create(), two.sessions.create()]
  two.sessions.acquire(busy)
  two.parked.add(parked).add(busy)
  const tell = async (): Promise<Array<boolean | undefined>> => {
    await one.uses.ask(['two'])
    two.read()
    one.read()
    return [parked, busy, neither].map((id) => one.uses.isParked('two', id))
  }
  t.equal(one.uses.isParked('two', parked), undefined)
  t.strictSame(await tell(), [true, true, false])
  t.strictSame(one.uses.useOf('two', busy), { inFlight: 1, streams: 0 })
  two.parked.delete(parked)
  t.strictSame(await tell(), [false, true, false])
  t.equal(one.uses.version, 2)
  time.now += 3 * LEASE + 10_000
  t.equal(one.uses.isParked('two', busy), undefined, 'an old answer')
})

t.test('of very many that are parked it says the last', async (t) => {
  const { nodes: { one, two } } = stage()
  const ids = Array.from({ length: 600 }, () => two.sessions.create())
  for (const id of ids) two.parked.add(id)
  await one.uses.ask(['two'])
  two.read()
  one.read()
  t.strictSame(ids.map((id) => one.uses.isParked('two', id)), ids.map((_, index) => index < 100 ? undefined : true))
  t.strictSame(one.uses.useOf('two', ids[0] ?? ''), { inFlight: 0, streams: 0 }, 'that they are idle is known')
})

t.test('another answer is another version, and the same one is not', async (t) => {
  const { nodes: { one, two } } = stage()
  const id = two.sessions.create()
  const versions: number[] = []
  for (const change of [() => {}, () => {}, () => { two.sessions.acquire(id) }]) {
    change()
    await one.uses.ask(['two'])
    two.read()
    one.read()
    versions.push(one.uses.version)
  }
  t.strictSame(versions, [1, 1, 2])
})

t.test('an answer grows old, and is forgotten when nobody wants it any more', async (t) => {
  const { nodes: { one, two }, time } = stage()
  const id = two.sessions.create()
  const ask = async (): Promise<void> => {
    await one.uses.ask(['two'])
    two.read()
    one.read()
  }
  await ask()
  time.now += 2 * LEASE
  t.ok(one.uses.useOf('two', id))
  time.now += 10_000
  t.equal(one.uses.useOf('two', id), undefined)
  await ask()
  await one.uses.ask([])
  t.equal(one.uses.useOf('two', id), undefined, 'the node has gone')
  await one.uses.ask(['two'])
  two.read()
  one.uses.forget()
  t.equal(one.read().length, 1)
  t.equal(one.uses.useOf('two', id), undefined, 'what comes late')
})

t.test('of very many it says the first, those that wait for an answer before all', async (t) => {
  const { nodes: { one, two } } = stage()
  const ids = Array.from({ length: 600 }, () => two.sessions.create())
  for (const id of ids) {
    const session = two.sessions.acquire(id)
    if (session !== undefined) two.sessions.holdStream(session)
  }
  const last = ids.at(-1) ?? ''
  two.sessions.acquire(last)
  await one.uses.ask(['two'])
  two.read()
  const [answer] = one.read()
  t.ok(JSON.stringify(answer).length < 40_000)
  t.strictSame(one.uses.useOf('two', last), { inFlight: 1, streams: 1 })
  t.equal(ids.filter((id) => one.uses.useOf('two', id) === undefined).length, 100, 'of the rest nothing is known')
})

t.test('without a lease, and without Redis, nothing is said, and nothing fails', async (t) => {
  const { nodes: { one, two }, redis } = stage()
  two.sessions.create()
  one.lease.incarnation = undefined
  await one.uses.ask(['two'])
  t.strictSame(two.read(), [])
  one.lease.incarnation = 'one'
  redis.away = true
  await one.uses.ask(['two'])
  redis.away = false
  await one.uses.ask(['two'])
  redis.away = true
  t.equal(two.read().length, 1)
  redis.away = false
  await one.uses.ask(['two'])
  two.lease.incarnation = undefined
  two.read()
  t.strictSame(one.read(), [])
})

t.test('what is no answer is not taken for one', async (t) => {
  const { nodes: { one } } = stage()
  await one.uses.ask(['two'])
  one.uses.hear([{ type: 'in-use' }, { type: 'in-use', node: 'stranger', isWhole: true, uses: [] }, { type: 'terminated', id: 'x', node: 'two' }])
  t.equal(one.uses.version, 0)
  one.uses.hear([{ type: 'in-use', node: 'two', uses: 'x' }])
  t.equal(one.uses.useOf('two', 'a'), undefined)
  one.uses.hear([{ type: 'in-use', node: 'two', uses: [['a', 1, 0], ['b', '1', 0], ['c', 1], [3, 1, 1], 'd', null] }])
  t.strictSame(['a', 'b', 'c', 'd'].map((id) => one.uses.useOf('two', id)), [{ inFlight: 1, streams: 0 }, undefined, undefined, undefined])
  t.equal(one.uses.isParked('two', 'a'), undefined, 'an older version says nothing of it')
  one.uses.hear([{ type: 'in-use', node: 'two', isWhole: true, uses: [], hasAllParked: true, parked: [1, 'a', null] }])
  t.strictSame(['a', 'b'].map((id) => one.uses.isParked('two', id)), [true, false])
})

t.test('a node that has closed listens no more to which sessions are parked', needsRedis(), async (t) => {
  const { url, stop } = await startRedis()
  t.teardown(stop)
  const { app } = await createCluster(t, url)()
  t.ok(channels['session.parked'].hasSubscribers)
  await app.close()
  t.notOk(channels['session.parked'].hasSubscribers)
})
