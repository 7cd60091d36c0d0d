import t from 'tap'
import { asError, runGuarded } from '../../lib/base/safe-call.js'

function collect (work: () => unknown): Error[] {
  const failures: Error[] = []
  runGuarded(work, (error) => { failures.push(error) })
  return failures
}

function revokedProxy (): object {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  return proxy
}

t.test('work that succeeds reports nothing', async (t) => {
  const values = [undefined, null, 'then', 7, {}, { then: 'not a function' }, Promise.resolve(1), Object.create(null)]
  let ran = 0
  for (const value of values) {
    const failures = collect(() => {
      ran++
      return value
    })
    await Promise.resolve()
    t.strictSame(failures, [])
  }
  t.equal(ran, values.length)
})

t.test('what is thrown is reported at once, as it is', async (t) => {
  const error = new RangeError('too far')
  const failures = collect(() => { throw error })
  t.equal(failures.length, 1)
  t.equal(failures[0], error)
})

t.test('what a promise rejects with is reported later', async (t) => {
  const error = new Error('later')
  const failures = collect(async () => { throw error })
  t.equal(failures.length, 0)
  await Promise.resolve()
  await Promise.resolve()
  t.equal(failures.length, 1)
  t.equal(failures[0], error)
})

t.test('a thenable that is no promise is heard as well', async (t) => {
  const failures = collect(() => ({ then: (_: unknown, reject: (reason: unknown) => void) => reject('no') }))
  t.equal(failures[0]?.message, 'no')
})

t.test('a thenable that throws when it is asked is a failure', async (t) => {
  t.equal(collect(() => ({ then () { throw new Error('asked') } }))[0]?.message, 'asked')
  t.equal(collect(() => ({ get then () { throw new Error('got') } }))[0]?.message, 'got')
})

t.test('a rejection is not left unhandled', async (t) => {
  const unhandled: unknown[] = []
  const remember = (reason: unknown): void => { unhandled.push(reason) }
  process.on('unhandledRejection', remember)
  t.teardown(() => process.off('unhandledRejection', remember))
  const failures = collect(() => Promise.reject(Object.create(null)))
  await new Promise((resolve) => { setImmediate(resolve) })
  t.equal(failures.length, 1)
  t.strictSame(unhandled, [])
})

t.test('whatever was thrown becomes an Error that says it', async (t) => {
  const error = new TypeError('mine')
  t.equal(asError(error), error)
  for (const [reason, message] of [
    ['text', 'text'],
    [undefined, 'undefined'],
    [null, 'null'],
    [Symbol('s'), 'Symbol(s)'],
    [Object.create(null), '[object]'],
    [revokedProxy(), '[object]']
  ]) {
    const made = asError(reason)
    t.type(made, Error)
    t.equal(made.message, message)
    t.equal(made.cause, reason)
  }
})

t.test('a reason that cannot be described does not get out', async (t) => {
  t.equal(collect(() => { throw Object.create(null) })[0]?.message, '[object]')
  t.equal(collect(() => { throw revokedProxy() })[0]?.message, '[object]')
})
