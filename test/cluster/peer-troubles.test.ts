import t from 'tap'
import { PeerTroubles } from '../../lib/cluster/peer-troubles.js'

const LEASE = 1000

t.test('troubles that nobody has had again for ten leases are forgotten, and news when they come back', async (t) => {
  let now = 0
  const logged: string[] = []
  const log = { info () {}, error: ({ node }: { node?: string }) => { logged.push(String(node)) } }
  const troubles = new PeerTroubles({ lease: LEASE, log, warnOfLoopback () {}, now: () => now })
  const [one, two] = [{ node: 'one', url: 'http://one:1' }, { node: 'two', url: 'http://two:1' }]
  const cause = new Error('refused')
  troubles.unreachable(one, cause)
  now = LEASE + 1
  troubles.unreachable(one, cause)
  t.ok(troubles.isLasting(one))
  now += 10 * LEASE
  troubles.unreachable(two, cause)
  t.ok(troubles.isLasting(one), 'not for longer')
  now++
  troubles.unreachable({ node: 'three', url: 'http://three:1' }, cause)
  t.notOk(troubles.isLasting(one))
  troubles.unreachable(one, cause)
  t.strictSame(logged, ['one', 'two', 'three', 'one'])
})

t.test('a node that breaks requests off is told of once, as long as it does', async (t) => {
  let now = 0
  const logged: string[] = []
  const log = { info () {}, error: ({ node }: { node?: string }) => { logged.push(String(node)) } }
  const troubles = new PeerTroubles({ lease: LEASE, log, warnOfLoopback () {}, now: () => now })
  const [one, two] = [{ node: 'one', url: 'http://one:1' }, { node: 'two', url: 'http://two:1' }]
  const cause = new Error('other side closed')
  troubles.broken(one, cause)
  troubles.broken(two, cause)
  now = 10 * LEASE - 1
  troubles.broken(one, cause)
  now++
  troubles.broken(one, cause)
  troubles.broken(two, cause)
  t.strictSame(logged, ['one', 'two', 'two'])
  t.notOk(troubles.isLasting(one), 'it may have died, and is waited for as ever')
})
