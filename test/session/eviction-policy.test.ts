import t from 'tap'
import { EvictionPolicy } from '../../lib/session/eviction-policy.js'
import { SessionRecord } from '../../lib/session/session-record.js'

const LIVES = (): boolean => false

function fill (policy: EvictionPolicy, sessions: ReadonlyArray<[id: string, principal: string | undefined, time: number]>): SessionRecord[] {
  return sessions.map(([id, principal, time]) => {
    const session = new SessionRecord(id, time, undefined, { principal })
    policy.add(session)
    return session
  })
}

/** The ids in the order in which they make room. */
function drain (policy: EvictionPolicy): string[] {
  const ids: string[] = []
  for (let next = policy.next(LIVES); next !== undefined; next = policy.next(LIVES)) {
    ids.push(next.id)
    policy.delete(next)
  }
  return ids
}

t.test('the anonymous make room before those who have said who they are, the heaviest principal before others', async (t) => {
  const policy = new EvictionPolicy(Infinity, Infinity)
  fill(policy, [['old', 'bob', 1], ['a1', 'ada', 2], ['a2', 'ada', 3], ['a3', 'ada', 4], ['c1', 'cyd', 5], ['n2', undefined, 7], ['n1', undefined, 6]])
  t.strictSame(drain(policy), ['n1', 'n2', 'a1', 'a2', 'old', 'a3', 'c1'])
})

t.test('an anonymous session that holds only a stream makes room before one of somebody', async (t) => {
  const policy = new EvictionPolicy(Infinity, Infinity)
  const [streaming, called] = fill(policy, [['streaming', undefined, 3], ['called', undefined, 2], ['ada', 'ada', 1]])
  if (streaming !== undefined) streaming.activeRequests = streaming.openStreams = 1
  if (called !== undefined) called.activeRequests = 1
  t.strictSame(drain(policy), ['streaming', 'ada'])
})

t.test('what has expired goes before what has not, whosoever it is', async (t) => {
  const policy = new EvictionPolicy(1000, Infinity)
  const [anonymous, ada] = fill(policy, [['anonymous', undefined, 500], ['ada', 'ada', 1], ['bob', 'bob', 600]])
  t.equal(policy.next(({ lastAccessedAt }) => lastAccessedAt < 100), ada)
  t.equal(policy.next(({ lastAccessedAt }) => lastAccessedAt < 550), anonymous)
})

t.test('expired sessions of all kinds are found, in slices', async (t) => {
  const policy = new EvictionPolicy(1000, Infinity)
  fill(policy, [['1', undefined, 1], ['2', 'ada', 2], ['3', undefined, 3], ['4', 'ada', 4]])
  const first = policy.takeIdleBefore(100, 1)
  t.strictSame([first.sessions.map(({ id }) => id), first.more], [['1'], true])
  const rest = policy.takeIdleBefore(100, 10)
  t.strictSame([rest.sessions.map(({ id }) => id), rest.more], [['3', '2', '4'], false])
})

t.test('one that is put in its place anew keeps it among those of its principal', async (t) => {
  const policy = new EvictionPolicy(Infinity, 2)
  const [one, two] = fill(policy, [['one', 'ada', 1], ['two', 'ada', 2], ['three', undefined, 3]])
  t.ok(policy.isFull('ada'))
  t.notOk(policy.isFull(undefined))
  if (one !== undefined) {
    one.lastAccessedAt = 9
    policy.requeue(one)
  }
  t.equal(policy.nextOf('ada'), two)
})
