import t from 'tap'
import { describeValue } from '../../lib/base/describe-value.js'

t.test('a value is described as String() does', async (t) => {
  t.equal(describeValue('text'), 'text')
  t.equal(describeValue(-0.5), '-0.5')
  t.equal(describeValue(null), 'null')
  t.equal(describeValue(Symbol('s')), 'Symbol(s)')
  t.equal(describeValue([1, 2]), '1,2')
})

t.test('a value that cannot be turned into text is described by its type', async (t) => {
  t.equal(describeValue(Object.create(null)), '[object]')
  t.equal(describeValue({ toString () { throw new Error('no') } }), '[object]')
  t.equal(describeValue(Object.setPrototypeOf(() => {}, null)), '[function]')
})
