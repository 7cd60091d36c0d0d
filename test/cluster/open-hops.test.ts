import { mock } from 'node:test'
import t from 'tap'
import type { HopReport } from '../../lib/cluster/hop-report.js'
import { OpenHops, SilenceError, type OpenHop } from '../../lib/cluster/open-hops.js'

interface Hop extends OpenHop {
  quietSince: number
  received: number
  encoding: string | undefined
  reason: Error | undefined
}

function createHop (id: string, quietSince = 0): Hop {
  return { id, quietSince, received: 0, encoding: undefined, reason: undefined, cut (reason) { this.reason = reason } }
}

t.test('a hop that the node has not, however often it is asked, is given up', (t) => {
  const hops = new OpenHops()
  const [lost, there, talking, blocked] = [createHop('lost'), createHop('there'), createHop('talking'), createHop('blocked', Infinity)]
  const all = [lost, there, talking, blocked]
  for (const hop of all) hops.add('one', hop)
  const ask = (asked: number, ...missing: Hop[]): void => {
    hops.judge('one', { hops: all, report: { missing: new Set(missing.map(({ id }) => id)), written: new Map() }, asked, patience: 1000 })
  }
  ask(100, lost, talking, blocked)
  ask(600, lost, talking, blocked, there)
  talking.quietSince = 700
  ask(1000, lost, talking, blocked)
  t.strictSame(all.map(({ reason }) => reason), [undefined, undefined, undefined, undefined], 'not at once')
  ask(1100, lost, talking, blocked)
  t.ok(lost.reason instanceof SilenceError)
  ask(1600, talking, blocked, there)
  t.equal(talking.reason, undefined, 'something has come of it meanwhile')
  ask(1700, talking)
  t.ok(talking.reason instanceof SilenceError)
  t.equal(there.reason, undefined, 'the node had it in between')
  t.equal(blocked.reason, undefined, 'its answer is here, and the client does not take it')
  t.end()
})

t.test('a hop of which the node has written more than has come is given up', (t) => {
  const hops = new OpenHops()
  const [dead, slow, whole, blocked, packed] = [createHop('dead'), createHop('slow'), createHop('whole'), createHop('blocked', Infinity), createHop('packed')]
  const all = [dead, slow, whole, blocked, packed]
  for (const hop of all) {
    hop.received = 10
    hop.encoding = hop === packed ? 'gzip' : ''
    hops.add('one', hop)
  }
  const ask = (asked: number, bytes: number, ...written: Hop[]): void => {
    hops.judge('one', { hops: all, report: { missing: new Set(), written: new Map(written.map(({ id }) => [id, { bytes, encoding: '' }])) }, asked, patience: 1000 })
  }
  ask(100, 10, ...all)
  ask(200, 11, ...all)
  slow.quietSince = 700
  whole.received = 11
  ask(800, 11, ...all)
  ask(1199, 11, ...all)
  t.strictSame(all.map(({ reason }) => reason), [undefined, undefined, undefined, undefined, undefined], 'it can be on its way')
  ask(1200, 11, ...all)
  t.ok(dead.reason instanceof SilenceError)
  ask(1700, 11, ...all)
  t.ok(slow.reason instanceof SilenceError, 'a lease after what came of it last')
  t.strictSame([whole.reason, blocked.reason, packed.reason], [undefined, undefined, undefined])
  t.end()
})

t.test('what the node has packed itself can be compared, and so can what has not begun to come', (t) => {
  const hops = new OpenHops()
  const [dead, repacked, unbegun] = [createHop('dead'), createHop('repacked'), createHop('unbegun')]
  dead.encoding = 'gzip'
  repacked.encoding = 'br'
  const all = [dead, repacked, unbegun]
  for (const hop of all) hops.add('one', hop)
  const report: HopReport = { missing: new Set(), written: new Map(all.map(({ id }) => [id, { bytes: 1, encoding: 'gzip' }])) }
  for (const asked of [100, 1100]) hops.judge('one', { hops: all, report, asked, patience: 1000 })
  t.strictSame(all.filter(({ reason }) => reason instanceof SilenceError), [dead, unbegun])
  t.end()
})

t.test('hops that are over, and such as were not asked about, are not judged', (t) => {
  const hops = new OpenHops()
  const [over, other] = [createHop('over'), createHop('other')]
  const end = hops.add('one', over)
  hops.add('one', other)
  end()
  const report: HopReport = { missing: new Set(['over', 'other']), written: new Map() }
  for (const asked of [0, 1000]) {
    hops.judge('one', { hops: [over], report, asked, patience: 1000 })
    hops.judge('none', { hops: [over], report, asked, patience: 1000 })
  }
  t.strictSame([over.reason, other.reason], [undefined, undefined])
  t.end()
})

t.test('a node is asked about quiet hops, as many as fit, and about all of them in turn', (t) => {
  const hops = new OpenHops()
  const ends = Array.from({ length: 1000 }, (_, i) => hops.add('one', createHop(`hop ${i}`)))
  hops.add('one', createHop('talking', 100))
  hops.add('two', createHop('of another node'))
  const asked = new Set<string>()
  for (let i = 0; i < 3; i++) for (const { id } of hops.pick('one', 50)) asked.add(id)
  t.equal(asked.size, 1000)
  t.notOk(asked.has('talking'))
  for (const end of ends) end()
  t.strictSame(hops.pick('one', 50), [])
  t.strictSame(hops.pick('three', 50), [])
  t.end()
})

t.test('of one that is urgent something must be heard in time', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  const hops = new OpenHops()
  const [unheard, known, missing, answered, over] = [createHop('unheard'), createHop('known'), createHop('missing'), createHop('answered'), createHop('over')]
  const all = [unheard, known, missing, answered, over]
  const ends = all.map((hop) => hops.add('one', hop, 500))
  hops.add('one', createHop('patient'))
  const waiting = createHop('waiting')
  hops.add('two', waiting, 500)
  hops.wait('two')
  hops.wait('three')
  t.strictSame(hops.pick('one', -100), all, 'it is asked about at once')
  hops.judge('one', { hops: [known, missing], report: { missing: new Set(['missing']), written: new Map() }, asked: 10, patience: 1000 })
  t.strictSame(hops.pick('one', -100), [unheard, missing, answered, over])
  answered.quietSince = 20
  ends.at(-1)?.()
  for (let i = 0; i < 10; i++) {
    t.strictSame(all.filter(({ reason }) => reason !== undefined), [])
    mock.timers.tick(50)
  }
  t.strictSame(all.filter(({ reason }) => reason instanceof SilenceError), [unheard, missing])
  t.equal(waiting.reason, undefined, 'the node could not be asked')
})

t.test('what goes to a silent node is given up, as far as it is quiet', (t) => {
  const hops = new OpenHops()
  const [quiet, talking, elsewhere] = [createHop('quiet'), createHop('talking', 900), createHop('elsewhere')]
  hops.add('one', quiet)
  hops.add('one', talking)
  hops.add('two', elsewhere)
  const reason = new Error('silent')
  hops.cutQuiet('one', 500, reason)
  hops.cutQuiet('three', 500, reason)
  t.strictSame([quiet.reason, talking.reason, elsewhere.reason], [reason, undefined, undefined])
  hops.cutAll(reason)
  t.strictSame([talking.reason, elsewhere.reason], [reason, reason])
  t.end()
})
