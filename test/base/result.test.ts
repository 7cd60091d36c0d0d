import t from 'tap'
import { fail, succeed } from '../../lib/base/result.js'

t.test('success has no value', async (t) => {
  t.strictSame(succeed(), { success: true, data: undefined })
  t.ok('data' in succeed())
})

t.test('the shared success cannot be changed by who gets it', async (t) => {
  t.throws(() => Object.assign(succeed(), { success: false }), TypeError)
  t.equal(succeed().success, true)
})

t.test('failure carries the error', async (t) => {
  const error = new Error('no')
  const result = fail(error)
  t.strictSame(Object.keys(result), ['success', 'error'])
  t.equal(result.success, false)
  t.equal(!result.success && result.error, error)
})
