import t from 'tap'
import { SessionManager } from '../../index.js'
import { History } from '../../lib/dashboard/history.js'
import { channels } from '../../lib/observe/channels.js'

const MINUTE = 60_000

t.test('what happens is counted in its minute', async (t) => {
  let now = 10 * MINUTE + 5
  const sessions = new SessionManager()
  sessions.create()
  const history = new History(sessions, () => now)
  t.teardown(history.listen())
  const reject = (code: string): void => channels['request.rejected'].publish({ sessions, code, statusCode: 404, message: '', sessionId: undefined })
  t.equal(history.since, 10 * MINUTE)
  const [one, two] = [sessions.create(), sessions.create()]
  sessions.register('elsewhere', {}, { createdAt: 1 })
  reject('A')
  now += MINUTE
  sessions.cleanup(one)
  sessions.cleanup(two, 'evicted')
  reject('A')
  reject('B')
  reject('B')
  now += 3 * MINUTE
  t.strictSame(history.buckets, [
    { at: 10 * MINUTE, active: 4, opened: 2, closed: {}, rejected: { A: 1 } },
    { at: 11 * MINUTE, active: 2, opened: 0, closed: { deleted: 1, evicted: 1 }, rejected: { A: 1, B: 2 } },
    { at: 12 * MINUTE, active: 2, opened: 0, closed: {}, rejected: {} },
    { at: 13 * MINUTE, active: 2, opened: 0, closed: {}, rejected: {} },
    { at: 14 * MINUTE, active: 2, opened: 0, closed: {}, rejected: {} }
  ])
})

t.test('an hour is kept, without a gap', async (t) => {
  let now = 0
  const sessions = new SessionManager()
  const history = new History(sessions, () => now)
  t.teardown(history.listen())
  for (let i = 0; i < 70; i++) {
    sessions.create()
    now += MINUTE
  }
  const minutes = (): number[] => history.buckets.map(({ at }) => at / MINUTE)
  t.strictSame(minutes(), Array.from({ length: 60 }, (_, i) => i + 11))
  t.strictSame(history.buckets.map(({ active }) => active), [...Array.from({ length: 59 }, (_, i) => i + 12), 70])
  now += 1_000_000 * MINUTE
  const late = minutes()
  t.equal(late.length, 60)
  t.strictSame(late.map((minute, i) => minute - i), Array(60).fill(late[0]))
  t.equal(late.at(-1), now / MINUTE)
})

t.test('a clock that is set back goes on in the last minute', async (t) => {
  let now = 10 * MINUTE
  const sessions = new SessionManager()
  const history = new History(sessions, () => now)
  t.teardown(history.listen())
  now = 8 * MINUTE
  sessions.create()
  t.match(history.buckets, [{ at: 10 * MINUTE, opened: 1, active: 1 }])
  t.equal(history.buckets.length, 1)
})

t.test('when it has ended it counts no more', async (t) => {
  const sessions = new SessionManager()
  const history = new History(sessions)
  history.listen()()
  sessions.create()
  t.match(history.buckets, [{ opened: 0 }])
})
