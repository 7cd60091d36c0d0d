import { mock } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { FailureDetector } from '../../lib/cluster/failure-detector.js'
import { createDeferred } from '../helpers/deferred.js'
import { MemoryDirectory } from '../helpers/memory-directory.js'

const INTERVAL = 500
const STEP = 50
// Ten parts, each of which takes a step of this test.
const LAST_ANSWERS = 10 * STEP
const LEASE = 60_000

interface Scene {
  directory: MemoryDirectory
  watch: FailureDetector['watch']
  /** How often the directory has been asked about a node. */
  asked: () => number
  pass: (ms: number) => Promise<void>
}

async function scene (t: Test, lease = LEASE): Promise<Scene> {
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1_000_000 })
  t.teardown(() => mock.timers.reset())
  const directory = new MemoryDirectory()
  for (const node of ['one', 'two']) await directory.announce({ node, url: 'http://127.0.0.1:1' }, lease)
  const watch = new FailureDetector(directory, lease)
  return {
    directory,
    watch: (node) => watch.watch(node),
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
  const watches = Array.from({ length: 100 }, () => watch('one'))
  await pass(INTERVAL)
  t.equal(asked(), 1)
  watch('two')
  await pass(INTERVAL)
  t.equal(asked(), 3)
  t.notOk(watches[0]?.signal.aborted)
})

t.test('all who wait for a node hear that its lease is over', async (t) => {
  const { watch, asked, directory, pass } = await scene(t)
  const [first, second, other] = [watch('one'), watch('one'), watch('two')]
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
  t.notOk(watch('one').signal.aborted, 'who asks later waits anew')
})

for (const [lease, latest] of [[1000, 100], [20_000, INTERVAL]] as const) {
  t.test(`a node is missed soon after its lease, however long that is: ${lease} ms`, async (t) => {
    const { watch, pass } = await scene(t, lease)
    const { signal } = watch('one')
    await pass(lease - STEP)
    t.notOk(signal.aborted)
    await pass(latest + LAST_ANSWERS + STEP)
    t.ok(signal.aborted)
  })
}

t.test('nobody is asked when nobody waits', async (t) => {
  const { watch, asked, pass } = await scene(t)
  watch('one').end()
  const again = watch('one')
  await pass(INTERVAL)
  t.equal(asked(), 1)
  again.end()
  await pass(5 * INTERVAL)
  t.equal(asked(), 1)
  watch('one')
  await pass(INTERVAL)
  t.equal(asked(), 2, 'until somebody waits again')
})

t.test('who ends twice does not end it for others', async (t) => {
  const { watch, directory, pass } = await scene(t)
  const [first, second] = [watch('one'), watch('one')]
  first.end()
  first.end()
  await directory.withdraw('one')
  await pass(2 * INTERVAL)
  t.ok(second.signal.aborted)
})

t.test('who begins to wait while a lost node is asked about waits anew', async (t) => {
  const { watch, directory, asked, pass } = await scene(t)
  const first = watch('one')
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
  const second = watch('one')
  answer.resolve()
  await pass(2 * INTERVAL)
  t.notOk(second.signal.aborted)
  t.ok(asked() > 0, 'and is told about it')
})

t.test('a directory that does not answer says nothing about a node', async (t) => {
  const { watch, asked, directory, pass } = await scene(t)
  const { signal } = watch('one')
  directory.away = true
  await pass(INTERVAL)
  directory.away = false
  await pass(INTERVAL)
  t.equal(asked(), 2)
  t.notOk(signal.aborted)
})
