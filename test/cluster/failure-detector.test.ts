import { mock } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { FailureDetector } from '../../lib/cluster/failure-detector.js'
import type { Peer } from '../../lib/cluster/directory.js'
import { createDeferred } from '../helpers/waiting/deferred.js'
import { MemoryDirectory } from '../helpers/cluster/memory-directory.js'

const INTERVAL = 500
const STEP = 50
// Ten parts, each of which takes a step of this test.
const LAST_ANSWERS = 10 * STEP
const LEASE = 60_000

const one: Peer = { node: 'one', url: 'http://127.0.0.1:1' }
const two: Peer = { node: 'two', url: 'http://127.0.0.1:2' }

interface Scene {
  directory: MemoryDirectory
  watch: FailureDetector['watch']
  /** How often the directory has been asked about a node. */
  asked: () => number
  /** The directory has lost its data, and with them the leases. */
  forget: () => void
  /** The node says nothing from now on, for this reason; undefined: it answers again. */
  silence: (cause: unknown) => void
  /** How often a node was asked itself. */
  probed: () => number
  /** What was told of silent nodes. */
  silent: Array<[node: string, cause: unknown]>
  pass: (ms: number) => Promise<void>
}

async function scene (t: Test, lease = LEASE): Promise<Scene> {
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1_000_000 })
  t.teardown(() => mock.timers.reset())
  const directory = new MemoryDirectory()
  for (const peer of [one, two]) await directory.announce(peer, lease)
  let silence: unknown
  let probes = 0
  let isForgetful = false
  const silent: Scene['silent'] = []
  const watch = new FailureDetector({
    directory,
    lease,
    hasForgotten: async () => isForgetful,
    async probe () {
      probes++
      if (silence !== undefined) throw silence
    },
    onSilent: ({ node }, cause) => { silent.push([node, cause]) }
  })
  return {
    directory,
    watch: (node) => watch.watch(node),
    forget () {
      directory.wipe()
      isForgetful = true
    },
    silence (cause) { silence = cause },
    probed: () => probes,
    silent,
    asked: () => directory.calls.get('peer') ?? 0,
    async pass (ms) {
      for (let passed = 0; passed < ms; passed += STEP) {
        mock.timers.tick(STEP)
        await turn()
      }
    }
  }
}

t.test('a node is asked about once an interval, however many wait for it', async (t) => {
  const { watch, asked, pass } = await scene(t)
  const watches = Array.from({ length: 100 }, () => watch(one))
  await pass(INTERVAL)
  t.equal(asked(), 1)
  watch(two)
  await pass(INTERVAL)
  t.equal(asked(), 3)
  t.notOk(watches[0]?.signal.aborted)
})

t.test('all who wait for a node hear that its lease is over', async (t) => {
  const { watch, asked, directory, pass } = await scene(t)
  const [first, second, other] = [watch(one), watch(one), watch(two)]
  second.end()
  await directory.withdraw('one')
  await pass(INTERVAL)
  t.equal(asked(), 2)
  t.notOk(first.signal.aborted, 'its last answers may be on their way')
  await pass(INTERVAL)
  t.ok(first.signal.aborted)
  t.notOk(other.signal.aborted)
  t.equal(asked(), 3, 'and nobody asks about it any more')
  first.end()
  t.notOk(watch(one).signal.aborted, 'who asks later waits anew')
})

for (const [lease, latest] of [[1000, 100], [20_000, INTERVAL]] as const) {
  t.test(`a node is missed soon after its lease, however long that is: ${lease} ms`, async (t) => {
    const { watch, pass } = await scene(t, lease)
    const { signal } = watch(one)
    await pass(lease - STEP)
    t.notOk(signal.aborted)
    await pass(latest + LAST_ANSWERS + STEP)
    t.ok(signal.aborted)
  })
}

t.test('nobody is asked when nobody waits', async (t) => {
  const { watch, asked, pass } = await scene(t)
  watch(one).end()
  const again = watch(one)
  await pass(INTERVAL)
  t.equal(asked(), 1)
  again.end()
  await pass(5 * INTERVAL)
  t.equal(asked(), 1)
  watch(one)
  await pass(INTERVAL)
  t.equal(asked(), 2, 'until somebody waits again')
})

t.test('who ends twice does not end it for others', async (t) => {
  const { watch, directory, pass } = await scene(t)
  const [first, second] = [watch(one), watch(one)]
  first.end()
  first.end()
  await directory.withdraw('one')
  await pass(2 * INTERVAL)
  t.ok(second.signal.aborted)
})

t.test('who begins to wait while a lost node is asked about waits anew', async (t) => {
  const { watch, directory, asked, pass } = await scene(t)
  const first = watch(one)
  const answer = createDeferred()
  const peer = directory.peer.bind(directory)
  directory.peer = async () => {
    directory.peer = peer
    await answer.promise
    return undefined
  }
  await pass(INTERVAL)
  first.end()
  await pass(INTERVAL)
  const second = watch(one)
  answer.resolve()
  await pass(2 * INTERVAL)
  t.notOk(second.signal.aborted)
  t.ok(asked() > 0, 'and is told about it')
})

t.test('a directory that does not answer says nothing about a node', async (t) => {
  const { watch, asked, directory, pass } = await scene(t)
  const { signal } = watch(one)
  directory.away = true
  await pass(INTERVAL)
  directory.away = false
  await pass(INTERVAL)
  t.equal(asked(), 2)
  t.notOk(signal.aborted)
})

t.test('a node whose lease runs and that does not answer for a lease is silent, until it answers', async (t) => {
  const { watch, pass, silence, silent, directory } = await scene(t, 5000)
  const { signal } = watch(one)
  const live = async (ms: number): Promise<void> => {
    for (let passed = 0; passed < ms; passed += INTERVAL) {
      await directory.renew('one', 5000)
      await pass(INTERVAL)
    }
  }
  await live(10_000)
  t.strictSame(silent, [], 'as long as it answers it is not')
  silence('the cause')
  await live(4500)
  t.strictSame(silent, [])
  await live(1000)
  t.strictSame(silent[0], ['one', 'the cause'])
  const told = silent.length
  await live(2000)
  t.ok(silent.length >= told + 4, 'what comes later is given up, too')
  silence(undefined)
  await live(1000)
  const last = silent.length
  await live(4000)
  t.equal(silent.length, last)
  t.notOk(signal.aborted)
})

t.test('a node that nobody waits for is not asked itself either, and what it says then is of no use', async (t) => {
  const { watch, pass, probed, silent, silence } = await scene(t, 5000)
  const { end } = watch(one)
  await pass(INTERVAL)
  t.equal(probed(), 1)
  silence('the cause')
  end()
  await pass(10_000)
  t.equal(probed(), 1)
  t.strictSame(silent, [])
})

t.test('once the directory has lost the lease of a node, the node itself says whether it is there', async (t) => {
  const { watch, forget, silence, silent, asked, pass } = await scene(t)
  const { signal } = watch(one)
  await pass(INTERVAL)
  forget()
  await pass(INTERVAL)
  const before = asked()
  await pass(2 * LEASE)
  t.equal(signal.aborted, false, 'it answers')
  t.strictSame(silent, [])
  t.equal(asked(), before, 'the directory has nothing to say')
  silence('no answer')
  await pass(LEASE + INTERVAL)
  t.match(silent, [['one', 'no answer']])
})
