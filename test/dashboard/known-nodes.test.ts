import t from 'tap'
import { KnownNodes } from '../../lib/dashboard/known-nodes.js'

const node = (id: string, lease = 5000, sessions = 0): { id: string, url: string, lease: number, sessions: number } => ({ id, url: `http://${id}:1`, lease, sessions })

t.test('leases run on between two looks, and the own count is the latest', async (t) => {
  const nodes = new KnownNodes()
  nodes.learn([node('b', 5000, 7), node('a', 4000, 3)], 1000)
  t.strictSame(nodes.rows('a', 4, 2000), [
    { id: 'a', url: 'http://a:1', self: true, lease: 3000, sessions: 4 },
    { id: 'b', url: 'http://b:1', self: false, lease: 4000, sessions: 7 }
  ])
})

t.test('a node that died is shown for a minute, with a lease that is over', async (t) => {
  const nodes = new KnownNodes()
  nodes.learn([node('a'), node('b', 1000)], 0)
  nodes.learn([node('a')], 2000)
  t.strictSame(nodes.rows('a', 0, 2000).map(({ id, lease }) => [id, lease]), [['a', 5000], ['b', 0]])
  nodes.learn([node('a')], 60_900)
  t.equal(nodes.rows('a', 0, 60_900).length, 2)
  nodes.learn([node('a')], 61_001)
  t.equal(nodes.rows('a', 0, 61_001).length, 1)
})

t.test('a node that has left in good order is not', async (t) => {
  const nodes = new KnownNodes()
  nodes.learn([node('a'), node('b')], 0)
  nodes.learn([node('a')], 2000)
  t.strictSame(nodes.rows('a', 0, 2000).map(({ id }) => id), ['a'])
  nodes.forget()
  t.strictSame(nodes.rows('a', 0, 2000), [])
})
