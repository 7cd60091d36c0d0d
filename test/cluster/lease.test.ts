import { mock } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { NodeLease } from '../../lib/cluster/lease.js'
import { MemoryDirectory } from '../helpers/cluster/memory-directory.js'

interface Scene {
  directory: MemoryDirectory
  node: NodeLease
  events: string[]
  /** Lets time pass: the machine's and the timers'. */
  pass: (ms: number) => Promise<void>
  /** Time passes and no timer runs, as in a process that is stopped. */
  freeze: (ms: number) => void
}

const LEASE = 3000

function scene (t: Test): Scene {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => { mock.timers.reset() })
  let time = 1000
  const now = (): number => time
  const directory = new MemoryDirectory({ now })
  const node = new NodeLease({ directory, url: () => 'http://127.0.0.1:3000', lease: LEASE, now })
  t.teardown(() => node.leave())
  const events: string[] = []
  for (const event of ['joined', 'lapsed', 'resumed', 'mail', 'unavailable'] as const) {
    node.on(event, () => { events.push(event) })
  }
  return {
    directory,
    node,
    events,
    async pass (ms) {
      for (let passed = 0; passed < ms; passed += 50) {
        time += 50
        mock.timers.tick(50)
        await turn()
      }
    },
    freeze (ms) { time += ms }
  }
}

t.test('a node that has joined stays as long as the directory answers', async t => {
  const { directory, node, events, pass } = scene(t)
  t.equal(node.isValid(), false)
  t.equal(node.incarnation, undefined)
  t.equal(await node.join(), true)
  const incarnation = String(node.incarnation)
  t.equal(node.secret, (await directory.history()).secret)
  await pass(10 * LEASE)
  t.equal(node.isValid(), true)
  t.equal(node.incarnation, incarnation)
  t.strictSame(await directory.peer(incarnation), { node: incarnation, url: 'http://127.0.0.1:3000' })
  t.strictSame(events, ['joined'])
  t.ok(Number(directory.calls.get('renew')) <= 31, 'renews every third of a lease')
})

t.test('an outage shorter than the lease is survived', async t => {
  const { directory, node, events, pass } = scene(t)
  await node.join()
  const { incarnation } = node
  directory.away = true
  await pass(1500)
  t.equal(node.isValid(), true)
  directory.away = false
  await pass(LEASE)
  t.equal(node.isValid(), true)
  t.equal(node.incarnation, incarnation)
  t.strictSame([...new Set(events)], ['joined', 'unavailable'])
})

t.test('the directory has answered when the lease and the secret have come', async t => {
  const { directory, node, events, pass } = scene(t)
  node.on('answered', () => { events.push('answered') })
  await node.join()
  const { history } = directory
  directory.history = async () => { throw new Error('Its part of the directory is away') }
  await pass(LEASE / 3)
  t.equal(node.isValid(), true)
  directory.history = history
  await pass(LEASE / 3)
  t.strictSame(events, ['joined', 'answered', 'unavailable', 'answered'])
})

t.test('the node stops before the directory gives its sessions away', async t => {
  const { directory, node, events, pass } = scene(t)
  await node.join()
  const incarnation = String(node.incarnation)
  directory.away = true
  while (node.isValid()) await pass(50)
  t.equal(events.at(-1), 'lapsed', 'and says so the moment it happens')
  directory.away = false
  t.ok(await directory.peer(incarnation), 'the others still take it for alive')
})

t.test('a node that lost its lease comes back as another', async t => {
  const { directory, node, events, pass } = scene(t)
  await node.join()
  const first = node.incarnation
  const joined: unknown[] = []
  node.on('joined', (...args) => { joined.push(args) })
  directory.away = true
  await pass(2 * LEASE)
  t.equal(node.isValid(), false)
  directory.away = false
  await pass(LEASE / 10)
  t.equal(node.isValid(), true)
  t.not(node.incarnation, first)
  t.strictSame(joined, [[node.incarnation, first]])
  t.equal(events.filter(event => event === 'lapsed').length, 1)
  await pass(LEASE)
  t.strictSame(joined.length, 1)
})

t.test('a process that stood still knows it before its timers do', async t => {
  const { node, events, pass, freeze } = scene(t)
  await node.join()
  const first = node.incarnation
  freeze(2 * LEASE)
  t.equal(node.isValid(), false)
  await pass(LEASE / 3)
  t.equal(node.isValid(), true)
  t.not(node.incarnation, first)
  t.strictSame(events, ['joined', 'lapsed', 'joined'])
})

for (const method of ['announce', 'renew'] as const) {
  t.test(`a lease counts from before it was asked for: ${method}`, async t => {
    const { directory, node, pass, freeze } = scene(t)
    const slow = <A extends unknown[], R>(ask: (...args: A) => Promise<R>) => async (...args: A): Promise<R> => {
      const reply = await ask.apply(directory, args)
      freeze(2000)
      return reply
    }
    if (method === 'announce') directory.announce = slow(directory.announce)
    await node.join()
    if (method === 'renew') {
      directory.renew = slow(directory.renew)
      await pass(LEASE / 3)
    }
    freeze(0.9 * LEASE - 2000 - 1)
    t.equal(node.isValid(), true)
    freeze(1)
    t.equal(node.isValid(), false)
  })
}

t.test('a lease that is extended at the last moment goes on', async t => {
  const { directory, node, events, pass } = scene(t)
  await node.join()
  const { incarnation } = node
  directory.away = true
  await pass(2750)
  t.equal(node.isValid(), false, 'within the margin')
  directory.away = false
  await pass(100)
  t.equal(node.isValid(), true)
  t.equal(node.incarnation, incarnation)
  t.strictSame(events.filter(event => event !== 'unavailable'), ['joined', 'lapsed', 'resumed'])
})

t.test('a directory that has lost its data makes every node join again', async t => {
  const { directory, node, events, pass } = scene(t)
  await node.join()
  const { incarnation, secret } = node
  directory.wipe()
  await pass(LEASE / 3)
  t.strictSame(events, ['joined', 'lapsed', 'joined'])
  t.not(node.incarnation, incarnation)
  t.not(node.secret, secret)
  t.equal(node.secret, (await directory.history()).secret)
  t.equal(node.formerSecret, secret, 'which others may go by until they have noticed, too')
  await pass(LEASE)
  t.equal(node.formerSecret, '')
})

t.test('a history that has changed ends the lease, which begins anew', async t => {
  const { directory, node, events, pass } = scene(t)
  const failOver = directory.replicate()
  await node.join()
  const first = String(node.incarnation)
  await pass(LEASE)
  t.equal(node.isCertain(first), false, 'nothing was lost')
  t.ok(node.isHistorySettled())
  failOver()
  t.equal(node.isCertain(first), false, 'nobody has noticed')
  await pass(LEASE / 3)
  t.strictSame(events, ['joined', 'lapsed', 'joined'])
  t.not(node.incarnation, first)
  t.ok(node.isCertain(first), 'its lease ran until then')
  t.notOk(node.isHistorySettled())
  t.ok(node.isRebuilding())
  await pass(LEASE)
  t.equal(node.isCertain(first), false, 'for as long as it would have run')
  t.ok(node.isHistorySettled())
  t.ok(node.isRebuilding(), 'for as long as others may take to find the directory')
  await pass(2 * LEASE)
  t.notOk(node.isRebuilding())
})

t.test('a node whose lease was over is not certain of what it held', async t => {
  const { directory, node, pass } = scene(t)
  await node.join()
  const first = String(node.incarnation)
  directory.away = true
  await pass(2 * LEASE)
  directory.wipe()
  directory.away = false
  await pass(LEASE / 10)
  t.not(node.incarnation, first)
  t.notOk(node.isCertain(first))
  t.notOk(node.hasSlept(first))
})

t.test('a process that stood still knows what it has slept through', async t => {
  const { node, pass, freeze } = scene(t)
  await node.join()
  const first = String(node.incarnation)
  freeze(2 * LEASE)
  await pass(LEASE / 3)
  t.ok(node.hasSlept(first))
  t.notOk(node.hasSlept(String(node.incarnation)))
})

t.test('a lease is not extended in a directory that does not say whether it has lost data', async t => {
  const { directory, node, pass } = scene(t)
  await node.join()
  directory.history = async () => { throw new Error('away') }
  await pass(LEASE)
  t.equal(node.isValid(), false)
})

t.test('whoever doubts the directory is told whether it has lost data', async t => {
  const { directory, node } = scene(t)
  await node.join()
  const first = node.incarnation
  t.equal(await node.hasForgotten(), false)
  directory.wipe()
  t.equal(await node.hasForgotten(), true)
  t.not(node.incarnation, first, 'and there is a lease again')
  directory.wipe()
  directory.announce = directory.renew = async () => { throw new Error('away') }
  const { history } = directory
  let asked = 0
  directory.history = async () => {
    if (asked++ > 0) throw new Error('away')
    return history.apply(directory)
  }
  await t.rejects(node.hasForgotten(), { name: 'DirectoryUnavailableError' })
})

t.test('mail is read with the next renewal', async t => {
  const { directory, node, pass } = scene(t)
  await node.join()
  const mail: unknown[] = []
  node.on('mail', messages => { mail.push(...messages) })
  await directory.send(String(node.incarnation), { closed: 'a' })
  await directory.send(String(node.incarnation), { closed: 'b' })
  await pass(LEASE / 3)
  t.strictSame(mail, [{ closed: 'a' }, { closed: 'b' }])
  await pass(LEASE)
  t.equal(mail.length, 2)
})

t.test('a node that starts while the directory is away joins as soon as it is back', async t => {
  const { directory, node, events, pass } = scene(t)
  directory.away = true
  t.equal(await node.join(), false)
  t.equal(node.isValid(), false)
  await pass(LEASE)
  t.equal(new Set(events).has('lapsed'), false, 'there was nothing to lapse')
  directory.away = false
  await pass(LEASE / 10)
  t.equal(node.isValid(), true)
  t.equal(events.at(-1), 'joined')
})

t.test('a node that leaves is gone at once, and does not come back', async t => {
  const { directory, node, pass } = scene(t)
  await node.join()
  const incarnation = String(node.incarnation)
  await node.leave()
  t.equal(node.isValid(), false)
  t.equal(await directory.peer(incarnation), undefined)
  const calls = new Map(directory.calls)
  await pass(5 * LEASE)
  t.strictSame(directory.calls, calls)
})

t.test('leaving waits for a renewal on its way', async t => {
  const { directory, node } = scene(t)
  const joining = node.join()
  await node.leave()
  await joining
  t.equal(await directory.peer(String(node.incarnation)), undefined)
  t.equal(node.isValid(), false)
})

t.test('leaving works whether or not anybody listens', async t => {
  const { directory, node, events } = scene(t)
  await node.leave()
  t.equal(directory.calls.get('withdraw'), undefined, 'it had never joined')
  await node.join()
  directory.away = true
  await node.leave()
  t.equal(events.at(-1), 'unavailable')
})

t.test('its own clock and lease are the default', async t => {
  const directory = new MemoryDirectory()
  const node = new NodeLease({ directory, url: () => 'http://127.0.0.1:3000' })
  t.equal(node.lease, 5000)
  t.equal(await node.join(), true)
  t.equal(node.isValid(), true)
  await node.leave()
})

t.test('a lease that started before there was a port is given up for one with the port', async t => {
  const directory = new MemoryDirectory()
  let url = 'http://localhost:0'
  const node = new NodeLease({ directory, url: () => url })
  t.teardown(() => node.leave())
  const joined: unknown[] = []
  node.on('joined', (...args) => { joined.push(args) })
  t.equal(await node.whenValid(1000), true)
  const first = node.incarnation
  url = 'http://127.0.0.1:3000'
  t.equal(await node.join(), true)
  t.not(node.incarnation, first)
  t.strictSame(await directory.peer(String(node.incarnation)), { node: node.incarnation, url })
  t.strictSame(joined, [[first, undefined], [node.incarnation, first]])
  await node.join()
  t.equal(joined.length, 2, 'once')
})

t.test('joining again leaves one series of renewals', async t => {
  const { directory, node, pass } = scene(t)
  await node.whenValid(1000)
  await node.join()
  await node.join()
  const before = Number(directory.calls.get('renew'))
  await pass(10 * LEASE)
  t.ok(Number(directory.calls.get('renew')) - before <= 31)
})

t.test('many requests can wait for a lease, without a warning', async t => {
  const { directory, node, pass } = scene(t)
  const warnings: unknown[] = []
  const warn = (warning: unknown): void => { warnings.push(warning) }
  process.on('warning', warn)
  t.teardown(() => process.off('warning', warn))
  directory.away = true
  const inVain = Array.from({ length: 50 }, () => node.whenIncarnated(400))
  const outcomes = Promise.allSettled(inVain)
  await pass(500)
  t.ok((await outcomes).every(({ status }) => status === 'rejected'))
  const waiting = Array.from({ length: 50 }, () => node.whenIncarnated(1000))
  directory.away = false
  await pass(500)
  t.strictSame(new Set(await Promise.all(waiting)), new Set([node.incarnation]))
  t.equal(await node.whenIncarnated(0), node.incarnation)
  await turn()
  t.strictSame(warnings, [])
  t.equal(node.listenerCount('resumed'), 1, 'that of this test')
})

t.test('nobody waits for the lease of a node that has left', async t => {
  const { node } = scene(t)
  await node.join()
  await node.leave()
  t.equal(await node.whenValid(60_000), false)
  await t.rejects(node.whenIncarnated(60_000), { name: 'DirectoryUnavailableError' })
})
