import t, { type Test } from 'tap'
import type { NodeLoad } from '../../lib/cluster/directory.js'
import { NodeLease } from '../../lib/cluster/lease.js'
import { NodeLoads } from '../../lib/cluster/node-loads.js'
import { MemoryDirectory } from '../helpers/cluster/memory-directory.js'

interface Scene {
  directory: MemoryDirectory
  loads: NodeLoads
  /** What this node holds. */
  own: Pick<NodeLoad, 'held' | 'room' | 'spare'>
  others: (...others: Array<Partial<NodeLoad>>) => Promise<void>
  pass: (ms: number) => void
}

async function scene (t: Test, { balances = true, joined = true } = {}): Promise<Scene> {
  let time = 0
  const now = (): number => time
  const directory = new MemoryDirectory({ now })
  const url = (): string => 'http://own:1'
  const nodeLease = new NodeLease({ directory, url, lease: 1000, now })
  t.teardown(() => nodeLease.leave())
  if (joined) await nodeLease.join()
  const own = { held: 0, room: Infinity, spare: false }
  const loads = new NodeLoads({ directory, nodeLease, load: () => own, url, balances, now })
  return {
    directory,
    loads,
    own,
    async others (...others) {
      for (const [i, other] of others.entries()) await directory.report({ node: `n${i}`, url: `http://n${i}:1`, held: 0, room: 100, spare: false, ...other }, 1000)
      await loads.report()
    },
    pass: (ms) => { time += ms }
  }
}

t.test('a node that is alone has all the share there is, and no other place', async (t) => {
  const { loads, own, others } = await scene(t)
  Object.assign(own, { held: 1000, room: 0 })
  await others()
  t.equal(loads.surplus, 0)
  t.equal(loads.findPlace(), undefined)
})

t.test('a full node leaves sessions to the emptiest that has room, and counts what it has sent there', async (t) => {
  const { loads, own, others } = await scene(t, { balances: false })
  Object.assign(own, { held: 5, room: 0 })
  await others({ held: 50, room: 50 }, { held: 48, room: 2 }, { held: 1, room: 0 })
  const places = Array.from({ length: 4 }, () => loads.findPlace()?.node)
  t.strictSame(places, ['n1', 'n1', 'n0', 'n0'])
  own.room = 1
  t.equal(loads.findPlace(), undefined, 'one that has room takes it itself')
  t.equal(loads.surplus, 0)
})

t.test('when all are full, a session goes to one that has an idle one, here or elsewhere', async (t) => {
  const { loads, own, others } = await scene(t, { balances: false })
  Object.assign(own, { held: 5, room: 0 })
  await others({ held: 1, room: 0 }, { held: 50, room: 0, spare: true })
  t.equal(loads.findPlace()?.node, 'n1')
  own.spare = true
  t.equal(loads.findPlace(), undefined)
  own.spare = false
  await others({ room: 0 }, { room: 0 })
  t.equal(loads.findPlace(), undefined)
})

t.test('a node that could not be reached is left out for a lease', async (t) => {
  const { loads, own, others, pass } = await scene(t)
  own.room = 0
  await others({}, { held: 9 })
  loads.avoid({ node: 'n0', url: 'http://n0:1' })
  t.equal(loads.findPlace()?.node, 'n1')
  pass(1100)
  await others({}, { held: 9 })
  t.equal(loads.findPlace()?.node, 'n0')
})

t.test('a node that holds clearly more than its share lets go of a part, and takes no more', async (t) => {
  const { loads, own, others } = await scene(t)
  own.held = 220
  await others({ held: 80 }, { held: 0 })
  t.equal(loads.surplus, 15)
  t.equal(loads.findPlace()?.node, 'n1')
  own.held = 121
  await others({ held: 98 }, { held: 81 })
  t.equal(loads.surplus, 0, 'a little more is not worth a move')
  t.equal(loads.findPlace(), undefined)
})

t.test('without balance only what does not fit goes elsewhere', async (t) => {
  const { loads, own, others } = await scene(t, { balances: false })
  own.held = 220
  await others({ held: 80 }, { held: 0 })
  t.equal(loads.surplus, 0)
  t.equal(loads.findPlace(), undefined)
})

t.test('a node that closes takes no session, and is no place for any', async (t) => {
  const { loads, own, others, directory } = await scene(t)
  await others({ held: 3 })
  own.held = 100
  t.notOk(loads.isLeaving)
  t.ok(loads.hasOthers)
  await loads.leave()
  await loads.leave()
  t.ok(loads.isLeaving)
  // Its lease is renewed until its requests are over.
  await loads.report()
  t.equal(loads.surplus, 0, 'the shutdown sees to what it holds')
  t.equal(loads.findPlace()?.node, 'n0')
  t.notOk((await directory.report({ node: 'n0', url: '', held: 0, room: 0, spare: false }, 1000)).some(({ url }) => url === 'http://own:1'))
})

t.test('what is known of others grows old', async (t) => {
  const { loads, own, others, directory, pass } = await scene(t)
  own.room = 0
  await others({})
  directory.away = true
  pass(900)
  await loads.report()
  t.ok(loads.findPlace())
  pass(100)
  t.equal(loads.findPlace(), undefined)
  t.notOk(loads.hasOthers)
})

t.test('a node without a lease tells nothing', async (t) => {
  const { loads, directory } = await scene(t, { joined: false })
  await loads.report()
  t.equal(directory.calls.get('report'), undefined)
})

t.test('its own clock is the default', async (t) => {
  const directory = new MemoryDirectory()
  const nodeLease = new NodeLease({ directory, url: () => 'http://own:1' })
  t.teardown(() => nodeLease.leave())
  await nodeLease.join()
  const loads = new NodeLoads({ directory, nodeLease, load: () => ({ held: 1, room: 0, spare: false }), url: () => 'http://own:1', balances: true })
  await directory.report({ node: 'other', url: 'http://other:1', held: 0, room: 1, spare: false }, 5000)
  await Promise.all([loads.report(), loads.report()])
  t.equal(directory.calls.get('report'), 2)
  t.equal(loads.findPlace()?.node, 'other')
})
