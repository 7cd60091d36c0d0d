import { mock } from 'node:test'
import t from 'tap'
import { RecentOwners } from '../../lib/cluster/recent-owners.js'

const OWNER = { node: 'other', url: 'http://10.0.0.2:3000' }

t.test('an owner is remembered for a second after it has answered last, for the one whose session it is', async (t) => {
  let now = 1000
  const clock = mock.method(performance, 'now', () => now)
  t.teardown(() => clock.mock.restore())
  const owners = new RecentOwners()
  owners.note('a', 'ann', OWNER)
  now += 999
  t.equal(owners.find('a', 'ann'), OWNER)
  t.equal(owners.find('a', 'bob'), undefined)
  t.equal(owners.find('a', undefined), undefined)
  owners.note('a', 'ann', OWNER)
  now += 999
  t.equal(owners.find('a', 'ann'), OWNER)
  now++
  t.equal(owners.find('a', 'ann'), undefined)
  owners.note('b', 'ann', OWNER)
  t.equal(owners.find('a', 'ann'), undefined)
  owners.note('a', 'ann', OWNER)
  owners.forget('a')
  t.equal(owners.find('a', 'ann'), undefined)
})

t.test('of many, the last ones', async (t) => {
  const owners = new RecentOwners()
  for (let i = 0; i <= 10_000; i++) owners.note(`s${i}`, undefined, OWNER)
  t.equal(owners.find('s0', undefined), undefined)
  t.equal(owners.find('s1', undefined), OWNER)
})
