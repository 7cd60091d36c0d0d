import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
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
  t.equal(sessions.longestIdle('ada'), undefined)
})

t.test('anonymous sessions do not count', async (t) => {
  const sessions = new PrincipalSessions(1)
  const anonymous = record('1', undefined)
  sessions.add(anonymous)
  t.notOk(sessions.isFull(undefined))
  t.equal(sessions.longestIdle(undefined), undefined)
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
  t.equal(sessions.longestIdle('ada'), second)
  second.lastAccessedAt = 40
  t.equal(sessions.longestIdle('ada'), third)
  t.equal(sessions.longestIdle('bob'), undefined)
})

t.test('of those that are idle equally long, the first goes', async (t) => {
  const sessions = new PrincipalSessions(2)
  const first = record('1', 'ada', 10)
  sessions.add(first)
  sessions.add(record('2', 'ada', 10))
  t.equal(sessions.longestIdle('ada'), first)
})

t.test('an active session is not idle, however long ago it began', async (t) => {
  const sessions = new PrincipalSessions(2)
  const [active, idle] = [record('1', 'ada', 1), record('2', 'ada', 2)]
  sessions.add(active)
  sessions.add(idle)
  active.activeRequests = 1
  t.equal(sessions.longestIdle('ada'), idle)
  idle.activeRequests = 1
  t.equal(sessions.longestIdle('ada'), undefined)
  active.activeRequests = 0
  t.equal(sessions.longestIdle('ada'), active)
})

t.test('without a limit nobody is full, and nothing is kept', async (t) => {
  const sessions = new PrincipalSessions(Infinity)
  const session = record('1', 'ada')
  sessions.add(session)
  t.notOk(sessions.isFull('ada'))
  t.equal(sessions.longestIdle('ada'), undefined)
  sessions.delete(session)
})

t.test('deleting what is not there changes nothing', async (t) => {
  const sessions = new PrincipalSessions(1)
  const session = record('1', 'ada')
  sessions.delete(session)
  sessions.add(session)
  sessions.delete(record('2', 'ada'))
  t.ok(sessions.isFull('ada'))
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
