import t from 'tap'
import { DEPLOY, findViolations, type Rules } from './checker.js'
import type { Fault, Operation } from './history.js'

const RULES: Rules = { lease: 1000, ttl: 10_000, longestWait: 4000 }

/** A call of session `s` at node 0 that took 10 ms and got count 1 from copy `a`, but for what is said. */
function call (sent: number, rest: Partial<Operation> = {}): Operation {
  return { kind: 'count', session: 's', node: 0, sent, over: sent + 10, status: 200, count: 1, instance: 'a', ...rest }
}

function fault (from: number, to: number, rest: Partial<Fault> = {}): Fault {
  return { name: 'fault', from, to, nodes: [], isSilent: false, loses: 'nothing', isDoubted: false, isBetweenNodes: false, ...rest }
}

function broken (operations: Operation[], faults: Fault[] = []): string[] {
  return findViolations({ operations, faults }, RULES).map(({ promise }) => promise)
}

t.test('nothing is wrong with a history in which every promise was kept', async (t) => {
  t.strictSame(broken([]), [])
  t.strictSame(broken([
    call(0, { kind: 'open', count: undefined, instance: undefined }),
    call(20),
    call(40, { status: undefined, count: undefined, instance: undefined }),
    call(60, { count: 3 }),
    call(80, { status: 503, count: undefined, instance: undefined }),
    call(100, { count: 4, instance: 'b', node: 1 }),
    call(120, { count: 6, over: 140, instance: 'b' }),
    call(121, { count: 5, over: 139, instance: 'b' })
  ]), [], 'calls that overlap may be carried out in any order')
})

t.test('a wait without an answer', async (t) => {
  const slow = call(0, { over: 4001, status: undefined, count: undefined })
  t.strictSame(broken([slow]), ['no request waits longer than a lease and three seconds'])
  t.strictSame(broken([slow], [fault(3000, 5000, { nodes: [0], isSilent: true })]), [], 'the node that was asked stood still')
  t.equal(broken([slow], [fault(3000, 5000, { nodes: [1], isSilent: true })]).length, 1, 'another one is no excuse')
  t.equal(broken([slow], [fault(4500, 5000, { nodes: [0], isSilent: true })]).length, 1, 'nor is what came later')
  t.equal(broken([slow], [fault(3000, 5000, { nodes: [0] })]).length, 1, 'one that died has broken the connection')
})

t.test('an error of no kind that is known', async (t) => {
  t.strictSame(broken([call(0, { status: 500, count: undefined })]), ['errors are those of the README'])
})

t.test('a count that is given twice', async (t) => {
  const calls = [call(0), call(1000)]
  t.strictSame(broken(calls), ['no count is given twice'])
  t.strictSame(broken(calls, [fault(500, 600, { loses: 'latest' })]), [], 'a failover may have lost the first')
  t.equal(broken(calls, [fault(2500, 2600, { loses: 'latest' })]).length, 1, 'but not one that came later')
  t.equal(broken(calls, [fault(500, 600, { loses: 'everything' })]).length, 1, 'and Redis without data is no excuse')
})

t.test('a count that is lost', async (t) => {
  const calls = [call(0), call(20, { count: 2 }), call(40, { count: 3 }), call(60, { count: undefined, status: 503 })]
  t.strictSame(broken(calls), [])
  t.strictSame(broken([...calls, call(80, { count: 5 }), call(100, { count: 4 })]), ['no acknowledged count is lost'])
})

t.test('a call that is carried out twice', async (t) => {
  t.strictSame(broken([call(0), call(20, { count: 3 })]), ['no call is carried out twice'])
  t.strictSame(broken([call(0), call(10, { status: 502, count: undefined, instance: undefined, over: 30 }), call(20, { count: 3 })]), [])
})

t.test('two owners', async (t) => {
  const calls = [call(0), call(20, { count: 2, instance: 'b', node: 1 }), call(40, { count: 3 })]
  t.strictSame(broken(calls), ['a session never has two owners'])
  t.strictSame(broken([call(0), call(20, { count: 2, instance: 'b' }), call(25, { count: 3, instance: 'c' })]), [], 'one after the other')
})

t.test('a session that is called unknown', async (t) => {
  const open = call(0, { kind: 'open', count: undefined, instance: undefined })
  const unknown = call(5000, { status: 404, count: undefined, instance: undefined })
  const promise = ['no session that lives is called unknown']
  t.strictSame(broken([open, unknown]), promise)
  t.strictSame(broken([open, { ...unknown, kind: 'delete' }]), promise)
  t.strictSame(broken([open, { ...unknown, over: 10_001, sent: 9999 }]), [], 'its time was over')
  t.strictSame(broken([open, call(4999, { kind: 'delete', status: 503, count: undefined, instance: undefined }), unknown]), [], 'somebody may have ended it')
  const forgets = fault(3000, 3100, { loses: 'everything' })
  t.strictSame(broken([open, unknown], [forgets]), promise, 'its owner knows it still')
  t.strictSame(broken([open, unknown], [forgets, fault(2000, 3500, { nodes: [2] })]), [], 'its owner was down as Redis forgot it')
  t.strictSame(broken([open, unknown], [fault(3000, 3100, { loses: 'latest' })]), promise, 'it was opened long before the failover')
  t.strictSame(broken([open, unknown], [fault(500, 3100, { loses: 'latest' })]), [], 'it was opened right before the failover')
})

t.test('a session that has ended and is back', async (t) => {
  const promise = ['a session that has ended stays so']
  t.strictSame(broken([call(0), call(20, { kind: 'delete', count: undefined, instance: undefined }), call(40, { count: 2 })]), promise)
  t.strictSame(broken([call(0), call(20, { kind: 'delete', count: undefined, instance: undefined }), call(25, { count: 2 })]), [], 'at the same time')
  t.strictSame(broken([call(0), call(11_100, { count: 2 })]), promise, 'after its ttl')
  t.strictSame(broken([call(0), call(10_900, { count: 2 })]), [])
})

t.test('an end that is sent again', async (t) => {
  const end = call(20, { kind: 'delete', status: 404, count: undefined, instance: undefined })
  const promise = ['no session that lives is called unknown']
  t.strictSame(broken([call(0), end]), promise)
  t.strictSame(broken([call(0), end], [fault(25, 40, { isBetweenNodes: true })]), [], 'it may have ended the session the first time')
  t.strictSame(broken([call(0), end], [fault(25, 40, { nodes: [1] })]), [], 'so it may have on a node that died then')
  t.strictSame(broken([call(0), end], [fault(35, 40, { nodes: [1] })]), promise, 'but not before one that died later')
  t.strictSame(broken([call(0), end], [fault(25, 40)]), promise, 'Redis that is away breaks no connection between nodes')
  t.strictSame(broken([call(0), end], [fault(25, 40, { name: DEPLOY, nodes: [1] })]), promise, 'a node that is told to stop answers first')
})

t.test('a deploy that fails a request', async (t) => {
  const deploy = fault(0, 1000, { name: DEPLOY, nodes: [1] })
  const failed = call(500, { status: 502, count: undefined })
  const unheard = call(500, { status: undefined, count: undefined })
  const promise = 'a restart of one node after the other fails no request'
  t.strictSame(broken([failed], [deploy]), [promise])
  t.strictSame(broken([{ ...failed, node: 1 }], [deploy]), [promise], 'nor may the node that stops')
  t.strictSame(broken([unheard], [deploy]), [promise])
  t.strictSame(broken([{ ...unheard, node: 1 }], [deploy]), [], 'a node that is away hears nothing')
  t.strictSame(broken([failed], [deploy, fault(-3000, -2000)]), [], 'something else went wrong shortly before')
  t.strictSame(broken([failed]), [], 'nothing is restarted')
  const ended = call(490, { kind: 'delete', count: undefined, instance: undefined })
  const sought = call(500, { status: 503, count: undefined, instance: undefined })
  const began = fault(-7500, -7400, { isDoubted: true })
  t.strictSame(broken([ended, sought], [deploy, began]), [], 'Redis began anew so lately that what is not in there need not be gone')
  t.strictSame(broken([sought], [deploy, began]), [promise], 'but the session is there')
  t.strictSame(broken([ended, sought], [deploy, { ...began, isDoubted: false }]), [promise])
  t.strictSame(broken([ended, sought], [deploy, { ...began, to: -7500 }]), [promise], 'it is known to be gone by now')
  t.strictSame(broken([ended, { ...sought, status: 502 }], [deploy, began]), [promise])
})
