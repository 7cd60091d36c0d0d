import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { ListNode } from '../../lib/session/list-node.js'
import { PrincipalSessions } from '../../lib/session/principal-sessions.js'
import { SessionRecord } from '../../lib/session/session-record.js'

function record (id: string, principal: string | undefined, lastAccessedAt = 0): SessionRecord {
  return new SessionRecord(id, lastAccessedAt, undefined, { principal })
}

t.test('a principal is full at the limit, and others are not', async (t) => {
  const sessions = new PrincipalSessions(2)
  t.notOk(sessions.isFull('ada'))
  const [first, second] = [record('1', 'ada'), record('2', 'ada')]
  sessions.add(first)
  t.notOk(sessions.isFull('ada'))
  sessions.add(second)
  t.ok(sessions.isFull('ada'))
  t.notOk(sessions.isFull('bob'))
  sessions.delete(first)
  t.notOk(sessions.isFull('ada'))
  sessions.delete(second)
  t.equal(sessions.nextToEvict('ada'), undefined)
})

t.test('anonymous sessions do not count', async (t) => {
  const sessions = new PrincipalSessions(1)
  const anonymous = record('1', undefined)
  sessions.add(anonymous)
  t.notOk(sessions.isFull(undefined))
  t.equal(sessions.nextToEvict(undefined), undefined)
  sessions.delete(anonymous)
})

t.test('a principal with an empty name counts', async (t) => {
  const sessions = new PrincipalSessions(1)
  sessions.add(record('1', ''))
  t.ok(sessions.isFull(''))
  t.notOk(sessions.isFull(undefined))
})

t.test('names of object members are names like others', async (t) => {
  const sessions = new PrincipalSessions(1)
  for (const principal of ['__proto__', 'constructor', 'toString']) {
    t.notOk(sessions.isFull(principal))
    sessions.add(record('1', principal))
    t.ok(sessions.isFull(principal))
  }
})

t.test('the longest idle one goes by the last access, not by the order of arrival', async (t) => {
  const sessions = new PrincipalSessions(3)
  const [first, second, third] = [record('1', 'ada', 30), record('2', 'ada', 10), record('3', 'ada', 20)]
  for (const session of [first, second, third]) sessions.add(session)
  t.equal(sessions.nextToEvict('ada'), second)
  second.lastAccessedAt = 40
  t.equal(sessions.nextToEvict('ada'), third)
  t.equal(sessions.nextToEvict('bob'), undefined)
})

t.test('of those that are idle equally long, the first goes', async (t) => {
  const sessions = new PrincipalSessions(2)
  const first = record('1', 'ada', 10)
  sessions.add(first)
  sessions.add(record('2', 'ada', 10))
  t.equal(sessions.nextToEvict('ada'), first)
})

t.test('an active session is not idle, however long ago it began', async (t) => {
  const sessions = new PrincipalSessions(2)
  const [active, idle] = [record('1', 'ada', 1), record('2', 'ada', 2)]
  sessions.add(active)
  sessions.add(idle)
  active.activeRequests = 1
  t.equal(sessions.nextToEvict('ada'), idle)
  idle.activeRequests = 1
  t.equal(sessions.nextToEvict('ada'), undefined)
  active.activeRequests = 0
  t.equal(sessions.nextToEvict('ada'), active)
})

t.test('one that holds nothing but streams is next when none is idle', async (t) => {
  const sessions = new PrincipalSessions(3)
  const [streaming, called, idle] = [record('1', 'ada', 1), record('2', 'ada', 0), record('3', 'ada', 2)]
  for (const session of [streaming, called, idle]) sessions.add(session)
  streaming.activeRequests = streaming.openStreams = 2
  called.activeRequests = 1
  t.equal(sessions.nextToEvict('ada'), idle)
  sessions.delete(idle)
  t.equal(sessions.nextToEvict('ada'), streaming)
  sessions.delete(streaming)
  t.equal(sessions.nextToEvict('ada'), undefined)
})

// More than are searched one by one.
const MANY = 500

/** Sessions of ada, with times in no order. */
function addMany (sessions: PrincipalSessions): SessionRecord[] {
  return Array.from({ length: MANY }, (_, index) => {
    const session = record(`${index}`, 'ada', index * 7919 % MANY)
    sessions.add(session)
    return session
  })
}

function drain (sessions: PrincipalSessions): SessionRecord[] {
  const drained: SessionRecord[] = []
  for (let next = sessions.nextToEvict('ada'); next !== undefined; next = sessions.nextToEvict('ada')) {
    drained.push(next)
    sessions.delete(next)
  }
  return drained
}

function byLastAccess (sessions: SessionRecord[]): SessionRecord[] {
  return sessions.toSorted((one, other) => one.lastAccessedAt - other.lastAccessedAt)
}

t.test('many go by the last access', async (t) => {
  const sessions = new PrincipalSessions(MANY)
  const all = addMany(sessions)
  t.ok(sessions.isFull('ada'))
  t.strictSame(drain(sessions), byLastAccess(all))
  t.notOk(sessions.isFull('ada'))
})

t.test('of many, those that were touched, closed or put into use since are not next', async (t) => {
  const sessions = new PrincipalSessions(MANY)
  const all = addMany(sessions)
  const [touched, closed, called, streaming] = byLastAccess(all)
  if (touched === undefined || closed === undefined || called === undefined || streaming === undefined) throw new Error('unreachable')
  t.equal(sessions.nextToEvict('ada'), touched)
  touched.lastAccessedAt = 1000
  sessions.delete(closed)
  called.activeRequests = 1
  streaming.activeRequests = streaming.openStreams = 1
  const drained = drain(sessions)
  t.equal(drained.length, MANY - 2)
  t.strictSame(drained.slice(-2), [touched, streaming])
  t.ok(sessions.isFull('ada') === false && sessions.nextToEvict('ada') === undefined, 'the one that is called is left')
})

t.test('one of many that has left comes back with its place in the queue of all', async (t) => {
  const sessions = new PrincipalSessions(MANY)
  const all = addMany(sessions)
  const [first, second] = byLastAccess(all)
  const list = new ListNode()
  first?.linkBefore(list)
  if (first === undefined) throw new Error('unreachable')
  first.activeRequests = 1
  t.equal(sessions.nextToEvict('ada'), second)
  t.notOk(first.isLinked, 'so that the end of the request brings both back')
  first.activeRequests = 0
  sessions.requeue(first)
  t.equal(sessions.nextToEvict('ada'), first)
})

t.test('to come back changes nothing where there is no queue', async (t) => {
  const sessions = new PrincipalSessions(2)
  const [first, second, anonymous] = [record('1', 'ada', 1), record('2', 'ada', 2), record('3', undefined)]
  for (const session of [first, second, anonymous]) sessions.add(session)
  sessions.requeue(first)
  sessions.requeue(anonymous)
  t.strictSame(drain(sessions), [first, second])
})

t.test('without a limit nobody is full', async (t) => {
  const sessions = new PrincipalSessions(Infinity)
  for (const id of ['1', '2', '3']) sessions.add(record(id, 'ada'))
  t.notOk(sessions.isFull('ada'))
})

t.test('a session alone goes if it can', async (t) => {
  const sessions = new PrincipalSessions(Infinity)
  const session = record('1', 'ada')
  sessions.add(session)
  t.equal(sessions.nextToEvict('ada'), session)
  session.activeRequests = 2
  session.openStreams = 1
  t.equal(sessions.nextToEvict('ada'), undefined)
  session.openStreams = 2
  t.equal(sessions.nextToEvict('ada'), session)
})

t.test('the principal with the most sessions goes first, its longest-idle one first', async (t) => {
  const sessions = new PrincipalSessions(Infinity)
  t.equal(sessions.heaviestToEvict(), undefined)
  const add = (id: string, principal: string, time: number): SessionRecord => {
    const session = record(id, principal, time)
    sessions.add(session)
    return session
  }
  add('old', 'bob', 1)
  t.equal(sessions.heaviestToEvict(), undefined, 'nobody has several')
  const ada = [add('1', 'ada', 30), add('2', 'ada', 20), add('3', 'ada', 40)]
  const cyd = [add('4', 'cyd', 5), add('5', 'cyd', 6)]
  t.equal(sessions.heaviestToEvict(), ada[1])
  if (ada[1] !== undefined) sessions.delete(ada[1])
  t.equal(sessions.heaviestToEvict(), cyd[0], 'of those with equally many, the longest idle')
  if (cyd[0] !== undefined) cyd[0].activeRequests = cyd[0].openStreams = 1
  t.equal(sessions.heaviestToEvict(), cyd[1], 'an idle one before one that streams')
  if (cyd[1] !== undefined) cyd[1].activeRequests = cyd[1].openStreams = 1
  t.equal(sessions.heaviestToEvict(), ada[0])
  for (const session of cyd) session.activeRequests = 2
  t.equal(sessions.heaviestToEvict(), ada[0], 'one that has none that can go is passed over')
  for (const session of ada) session.activeRequests = 2
  t.equal(sessions.heaviestToEvict(), undefined)
})

t.test('whoever has fewer is next when all of the heaviest are in use', async (t) => {
  const sessions = new PrincipalSessions(Infinity)
  const of = (principal: string, count: number): SessionRecord[] => Array.from({ length: count }, (_, index) => {
    const session = record(`${principal}-${index}`, principal, index)
    sessions.add(session)
    return session
  })
  const [five, two, three] = [of('five', 5), of('two', 2), of('three', 3)]
  for (const session of five) session.activeRequests = 1
  t.equal(sessions.heaviestToEvict(), three[0])
  for (const session of five) sessions.delete(session)
  t.equal(sessions.heaviestToEvict(), three[0])
  for (const session of three) sessions.delete(session)
  t.equal(sessions.heaviestToEvict(), two[0])
  for (const session of two) sessions.delete(session)
  t.equal(sessions.heaviestToEvict(), undefined)
})

t.test('no more than a few principals are compared', async (t) => {
  const sessions = new PrincipalSessions(Infinity)
  let looks = 0
  for (let index = 0; index < 1000; index++) {
    for (const id of ['1', '2']) {
      const session = record(id, `principal ${index}`, 1000 - index)
      Object.defineProperty(session, 'isIdle', { get: () => { looks++; return index > 900 } })
      sessions.add(session)
    }
  }
  t.equal(sessions.heaviestToEvict(), undefined, 'the first ones are all in use')
  t.ok(looks < 200, `${looks} looks`)
})

t.test('deleting what is not there changes nothing', async (t) => {
  const sessions = new PrincipalSessions(1)
  const session = record('1', 'ada')
  sessions.delete(session)
  sessions.add(session)
  sessions.delete(record('2', 'ada'))
  t.ok(sessions.isFull('ada'))
  sessions.add(record('3', 'ada'))
  sessions.delete(record('2', 'ada'))
  sessions.delete(session)
  t.ok(sessions.isFull('ada'), 'nor where there are several')
})

t.test('a principal without sessions costs nothing', async (t) => {
  setFlagsFromString('--expose-gc')
  const collect: unknown = runInNewContext('gc')
  if (typeof collect !== 'function') throw new Error('Garbage cannot be collected')
  const sessions = new PrincipalSessions(1)
  collect()
  const before = process.memoryUsage().heapUsed
  for (let index = 0; index < 50_000; index++) {
    const session = record('1', `principal ${index}`)
    sessions.add(session)
    sessions.delete(session)
  }
  collect()
  t.ok(process.memoryUsage().heapUsed - before < 1_000_000)
  t.notOk(sessions.isFull('principal 1'))
})
