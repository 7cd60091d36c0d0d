import t from 'tap'
import { copyMetadata, describeKeys } from '../../lib/session/metadata.js'

t.test('the copy is shallow and cannot be changed', async (t) => {
  const cart = ['apple']
  const metadata: Record<string, unknown> = { cart, user: 'ada' }
  const copy = copyMetadata(metadata)
  metadata['user'] = 'bob'
  metadata['more'] = 1
  cart.push('pear')
  t.strictSame(copy, { cart: ['apple', 'pear'], user: 'ada' })
  t.equal(copy['cart'], cart)
  t.ok(Object.isFrozen(copy))
  t.notOk(Object.isFrozen(cart))
})

t.test('the passed object stays as it was', async (t) => {
  const metadata = { a: 1 }
  copyMetadata(metadata, { b: 2 })
  t.strictSame(metadata, { a: 1 })
  t.notOk(Object.isFrozen(metadata))
})

t.test('new keys are merged over those of the base', async (t) => {
  const base = Object.freeze({ a: 1, b: { c: 1 } })
  t.strictSame(copyMetadata({ b: { d: 2 }, e: undefined }, base), { a: 1, b: { d: 2 }, e: undefined })
  t.strictSame(base, { a: 1, b: { c: 1 } })
})

t.test('unusual values are taken as they are', async (t) => {
  const circular: Record<string, unknown> = {}
  circular['self'] = circular
  t.equal(copyMetadata(circular)['self'], circular)
  const values = { f: () => 1, s: Symbol('s'), n: 1n, d: new Date(NaN), m: new Map(), u: undefined, p: Object.create(null) }
  t.strictSame({ ...copyMetadata(values) }, values)
})

t.test('frozen objects and objects without a prototype are objects', async (t) => {
  t.strictSame(copyMetadata(Object.freeze({ a: 1 })), { a: 1 })
  t.strictSame(copyMetadata(Object.assign(Object.create(null), { a: 1 })), { a: 1 })
})

t.test('a key named __proto__ is a key, and no prototype', async (t) => {
  const copy = copyMetadata(JSON.parse('{"__proto__":{"admin":true},"a":1}'))
  t.strictSame(Object.keys(copy), ['__proto__', 'a'])
  t.equal(copy['admin'], undefined)
  t.equal(Object.getPrototypeOf(copy), Object.prototype)
})

t.test('a getter is read once and its value kept', async (t) => {
  let reads = 0
  const copy = copyMetadata({ get time () { return ++reads } })
  t.equal(copy['time'], 1)
  t.equal(copy['time'], 1)
})

t.test('a getter that throws loses its own key only', async (t) => {
  const metadata = JSON.parse('{"a":1,"__proto__":{"admin":true}}')
  Object.defineProperty(metadata, 'bad', { enumerable: true, get () { throw new Error('no') } })
  metadata.z = 2
  const copy = copyMetadata(metadata, { base: true, a: 0 })
  t.strictSame(Object.keys(copy), ['base', 'a', '__proto__', 'z'])
  t.equal(copy['a'], 1)
  t.equal(copy['admin'], undefined)
  t.ok(Object.isFrozen(copy))
})

t.test('a proxy that refuses to be read leaves what was there', async (t) => {
  const { proxy, revoke } = Proxy.revocable({ a: 1 }, {})
  revoke()
  t.strictSame(copyMetadata(proxy), {})
  t.strictSame(copyMetadata(proxy, { base: true }), { base: true })
  const noKeys = new Proxy({ a: 1 }, { ownKeys () { throw new Error('no') } })
  t.strictSame(copyMetadata(noKeys, { base: true }), { base: true })
  const oneKey = new Proxy({ a: 1, b: 2 }, {
    get (target, key) {
      if (key === 'a') throw new Error('no')
      return Reflect.get(target, key)
    }
  })
  t.strictSame(copyMetadata(oneKey), { b: 2 })
})

t.test('what is no object is a TypeError', async (t) => {
  for (const [json, shown] of [['null', 'null'], ['"text"', 'string'], ['7', 'number'], ['true', 'boolean']]) {
    t.throws(
      () => copyMetadata(JSON.parse(String(json))),
      new TypeError(`Session metadata must be an object, got ${shown}`)
    )
  }
})

t.test('the description names the keys and shows no value', async (t) => {
  t.equal(describeKeys({ user: 'ada', token: 'secret' }), ' (metadata: user, token)')
  t.equal(describeKeys({}), '')
  t.equal(describeKeys(undefined), '')
})
