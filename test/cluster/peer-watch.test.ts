import { mock } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { PeerWatch } from '../../lib/cluster/peer-watch.js'
import { MemoryDirectory } from '../helpers/memory-directory.js'

interface Scene {
  directory: MemoryDirectory
  peers: PeerWatch
  asked: () => number
  pass: (ms: number) => Promise<void>
}

async function scene (t: Test, lease: number): Promise<Scene> {
  mock.timers.enable({ apis: ['setInterval'] })
  t.teardown(() => { mock.timers.reset() })
  let time = 1000
  const directory = new MemoryDirectory({ now: () => time })
  for (const node of ['a', 'b']) await directory.announce({ node, url: '' }, lease)
  return {
    directory,
    peers: new PeerWatch(directory, lease),
    asked: () => directory.calls.get('peer') ?? 0,
    async pass (ms) {
      for (let passed = 0; passed < ms; passed += 50) {
        time += 50
        mock.timers.tick(50)
        await turn()
      }
    }
  }
}

for (const [lease, latest] of [[1000, 100], [20_000, 500]] as const) {
  t.test(`a node is missed soon after its lease, however long that is: ${lease} ms`, async (t) => {
    const { directory, peers, pass } = await scene(t, lease)
    const watches = [peers.watch('a'), peers.watch('a')]
    const other = peers.watch('b')
    await pass(lease / 2)
    await directory.renew('b', lease)
    await pass(lease / 2 - 50)
    t.strictSame(watches.map(({ signal }) => signal.aborted), [false, false])
    await pass(latest + 50)
    t.strictSame(watches.map(({ signal }) => signal.aborted), [true, true])
    t.equal(other.signal.aborted, false)
    other.end()
  })
}

t.test('it is asked for once for all that wait, and not when nobody does', async (t) => {
  const { peers, asked, pass } = await scene(t, 1000)
  const watches = Array.from({ length: 100 }, () => peers.watch('a'))
  await pass(500)
  t.equal(asked(), 5)
  for (const { end } of watches) end()
  await pass(500)
  t.equal(asked(), 5)
  const again = peers.watch('a')
  watches[0]?.end()
  await pass(200)
  t.equal(asked(), 6, 'what is over does not end what has begun since')
  t.equal(again.signal.aborted, true)
  await pass(500)
  t.equal(asked(), 6)
  again.end()
})

t.test('a directory that does not answer says nothing of a node', async (t) => {
  const { directory, peers, asked, pass } = await scene(t, 1000)
  const { signal, end } = peers.watch('a')
  directory.away = true
  await pass(2000)
  t.equal(signal.aborted, false)
  directory.away = false
  directory.peer = () => {
    directory.calls.set('peer', asked() + 1)
    return new Promise(() => {})
  }
  const before = asked()
  await pass(1000)
  t.equal(asked(), before + 1, 'one question at a time')
  end()
})
