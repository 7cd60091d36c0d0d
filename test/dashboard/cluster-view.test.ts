// What is asked of the directory, and how often.
import { mock } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { ClusterView } from '../../lib/dashboard/cluster-view.js'
import type { SessionUse, SessionUses } from '../../lib/http/session-cluster.js'
import type { ListedNode, ListedSession, SessionDirectory } from '../../lib/http/session-directory.js'

class FakeUses implements SessionUses {
  version = 0
  asked: Array<readonly string[]> = []
  known = new Map<string, SessionUse>()
  parked = new Map<string, boolean>()

  async ask (nodes: readonly string[]): Promise<void> { this.asked.push(nodes) }
  useOf (node: string, id: string): SessionUse | undefined { return this.known.get(`${node} ${id}`) }
  isParked (node: string, id: string): boolean | undefined { return this.parked.get(`${node} ${id}`) }
  forget (): void { this.known.clear() }
}

class FakeDirectory implements SessionDirectory {
  node = 'self'
  away = false
  /** While true, nothing is answered. */
  silent = false
  asked = { nodes: 0, list: 0 }
  sessions: ListedSession[] = [
    { id: 'mine', createdAt: 0, lastAccessedAt: 0, node: 'self' },
    { id: 'theirs', createdAt: 1, lastAccessedAt: 2, node: 'other', principal: 'ann', metadata: { large: true } },
    { id: 'nobody', createdAt: 1, lastAccessedAt: 2 }
  ]

  async count (): Promise<number> { return this.sessions.length }
  async terminate (): Promise<boolean> { return false }

  async nodes (): Promise<ListedNode[]> {
    this.asked.nodes++
    if (this.silent) await new Promise(() => {})
    if (this.away) throw new Error('away')
    return [{ id: 'other', url: 'http://other:1', lease: 5000, sessions: 1 }]
  }

  async * list (): AsyncGenerator<ListedSession> {
    this.asked.list++
    if (this.away) throw new Error('away')
    yield * this.sessions
  }
}

function buildView (t: Test): { directory: FakeDirectory, uses: FakeUses, view: ClusterView, pass: (ms: number) => Promise<void>, spend: (ms: number) => void } {
  mock.timers.enable({ apis: ['setInterval'] })
  t.teardown(() => mock.timers.reset())
  let now = 1000
  let spent = 0
  let cost = 0
  const directory = new FakeDirectory()
  const uses = new FakeUses()
  const view = new ClusterView({ directory, uses, now: () => now, cpuTime: () => { spent += cost; return spent } })
  t.teardown(() => view.unwatch())
  return {
    directory,
    uses,
    view,
    async pass (ms) {
      for (let left = ms; left > 0; left -= 1000) {
        now += 1000
        mock.timers.tick(1000)
        await turn()
      }
    },
    spend (ms) { cost = ms }
  }
}

t.test('sessions of other nodes, and of none, are known; those of this one are here', async (t) => {
  const { view } = buildView(t)
  await view.refresh()
  t.strictSame(view.sessions.map(({ id, node, principal, inFlight, streams, parked }) => [id, node, principal, inFlight, streams, parked]), [
    ['theirs', 'other', 'ann', null, null, null], ['nobody', '', null, 0, 0, false]
  ])
  t.strictSame(view.nodes.rows('self', 0, 1000).map(({ id }) => id), ['other'])
  const { version } = view
  view.drop('theirs')
  t.strictSame(view.sessions.map(({ id }) => id), ['nobody'])
  t.not(view.version, version)
})

t.test('it is asked while somebody looks, at most every two and three seconds', async (t) => {
  const { directory, view, pass } = buildView(t)
  t.strictSame(directory.asked, { nodes: 0, list: 0 })
  view.watch()
  view.watch()
  await turn()
  t.strictSame(directory.asked, { nodes: 1, list: 1 })
  await pass(1000)
  await view.refresh()
  t.strictSame(directory.asked, { nodes: 1, list: 1 })
  await pass(11_000)
  t.strictSame(directory.asked, { nodes: 7, list: 5 })
  view.unwatch()
  t.strictSame(view.sessions, [])
  await pass(10_000)
  t.strictSame(directory.asked, { nodes: 7, list: 5 })
})

t.test('what takes much work is done less often', async (t) => {
  const { directory, view, pass, spend } = buildView(t)
  spend(100)
  view.watch()
  await turn()
  await pass(9000)
  t.equal(directory.asked.list, 1)
  await pass(1000)
  t.equal(directory.asked.list, 2)
  await view.reread()
  t.equal(directory.asked.list, 3, 'unless it is needed now')
})

t.test('what sessions have under way is asked of the other nodes while somebody looks, every two seconds', async (t) => {
  const { uses, view, pass } = buildView(t)
  await view.refresh()
  t.strictSame(uses.asked, [], 'for one look it would come too late')
  view.watch()
  await turn()
  t.strictSame(uses.asked, [['other']])
  await pass(4000)
  t.equal(uses.asked.length, 3)
  const { version } = view
  uses.version++
  uses.known.set('other theirs', { inFlight: 1, streams: 2 })
  uses.parked.set('other theirs', true)
  t.not(view.version, version)
  t.strictSame(view.sessions.map(({ inFlight, streams, parked }) => [inFlight, streams, parked]), [[1, 2, true], [0, 0, false]])
  view.unwatch()
  t.equal(uses.known.size, 0)
  await pass(6000)
  t.equal(uses.asked.length, 3)
})

t.test('where there is no answer, what is known stays', async (t) => {
  const { directory, view, pass } = buildView(t)
  await view.refresh()
  directory.away = true
  await pass(5000)
  await view.refresh()
  t.equal(view.sessions.length, 2)
  t.strictSame(view.nodes.rows('self', 0, 7000).map(({ lease }) => lease), [0])
  directory.away = false
  directory.sessions = []
  await view.refresh()
  t.equal(view.sessions.length, 0, 'and it is asked again')
})

t.test('a directory that says nothing keeps nobody waiting', async (t) => {
  const { directory, view } = buildView(t)
  directory.silent = true
  const began = performance.now()
  await view.refresh()
  t.ok(performance.now() - began < 4000)
  t.equal(view.sessions.length, 2)
})

t.test('by default it goes by the clocks of the process', async (t) => {
  const directory = new FakeDirectory()
  const view = new ClusterView({ directory, uses: new FakeUses() })
  await view.refresh()
  await view.refresh()
  t.strictSame(directory.asked, { nodes: 1, list: 1 })
})
