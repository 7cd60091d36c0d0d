import t from 'tap'
import { PeerTroubles } from '../../lib/cluster/peer-troubles.js'

const LEASE = 1000
const [one, two] = [{ node: 'one', url: 'http://one:1' }, { node: 'two', url: 'http://two:1' }]

/** The troubles of a node, and of which other nodes it has logged them. */
function stage (): { troubles: PeerTroubles, logged: string[], clock: { now: number } } {
  const clock = { now: 0 }
  const logged: string[] = []
  const log = { info () {}, error: ({ node }: { node?: string }) => { logged.push(String(node)) } }
  return { troubles: new PeerTroubles({ lease: LEASE, log, warnOfLoopback () {}, now: () => clock.now }), logged, clock }
}

t.test('troubles that nobody has had again for ten leases are forgotten, and news when they come back', async (t) => {
  const { troubles, logged, clock } = stage()
  const cause = new Error('refused')
  troubles.unreachable(one, cause)
  clock.now = LEASE + 1
  troubles.unreachable(one, cause)
  t.ok(troubles.isLasting(one))
  clock.now += 10 * LEASE
  troubles.unreachable(two, cause)
  t.ok(troubles.isLasting(one), 'not for longer')
  clock.now++
  troubles.unreachable({ node: 'three', url: 'http://three:1' }, cause)
  t.notOk(troubles.isLasting(one))
  troubles.unreachable(one, cause)
  t.strictSame(logged, ['one', 'two', 'three', 'one'])
})

t.test('a node that breaks requests off is told of once, as long as it does', async (t) => {
  const { troubles, logged, clock } = stage()
  const cause = new Error('other side closed')
  troubles.broken(one, cause)
  troubles.broken(two, cause)
  clock.now = 10 * LEASE - 1
  troubles.broken(one, cause)
  clock.now++
  troubles.broken(one, cause)
  troubles.broken(two, cause)
  t.strictSame(logged, ['one', 'two', 'two'])
  t.notOk(troubles.isLasting(one), 'it may have died, and is waited for as ever')
})
