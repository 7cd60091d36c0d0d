import t from 'tap'
import { throttle } from '../../lib/base/throttle.js'

t.test('passes the first call on, and the next one when its time has come', async (t) => {
  let time = 0
  const calls: string[] = []
  const call = throttle(100, (what: string) => { calls.push(what) }, () => time)
  call('first')
  time = 99
  call('too soon')
  time = 100
  call('second')
  call('too soon')
  time = 200
  call('third')
  t.strictSame(calls, ['first', 'second', 'third'])
})

t.test('goes by the clock of the process', async (t) => {
  let calls = 0
  const call = throttle(60_000, () => { calls++ })
  call()
  call()
  t.equal(calls, 1)
})
