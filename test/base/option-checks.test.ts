import t from 'tap'
import {
  checkBoolean, checkFunction, checkMethod, checkMilliseconds, checkNames, checkTimer, clampToTimer
} from '../../lib/base/option-checks.js'

const LONGEST_TIMER = 2 ** 31 - 1

t.test('milliseconds are a finite number that is not negative', async (t) => {
  for (const good of [0, 0.5, 1, 1e15]) t.equal(checkMilliseconds('ttl', good, 'never'), good)
  for (const [bad, shown] of [
    [-1, '-1 (number)'],
    [NaN, 'NaN (number)'],
    [Infinity, 'Infinity (number)'],
    ['5', '"5" (string)'],
    ['', '"" (string)'],
    [5n, '5 (bigint)'],
    [null, 'null'],
    [undefined, 'undefined'],
    [true, 'true (boolean)'],
    [[1], '1 (object)'],
    [Symbol('s'), 'Symbol(s) (symbol)'],
    [Object.create(null), '[object] (object)']
  ]) {
    t.throws(
      () => checkMilliseconds('ttl', bad, 'never'),
      new TypeError(`Option "ttl" must be a number of milliseconds >= 0 (0: never), got ${String(shown)}`)
    )
  }
})

t.test('a timer waits no longer than Node.js can', async (t) => {
  t.equal(checkTimer('interval', LONGEST_TIMER, 'off'), LONGEST_TIMER)
  t.equal(checkTimer('interval', 0, 'off'), 0)
  t.throws(
    () => checkTimer('interval', LONGEST_TIMER + 1, 'off'),
    new TypeError('Option "interval" must be at most 2147483647 ms, the longest a timer can wait, got 2147483648 (number)')
  )
  t.throws(
    () => checkTimer('interval', -1, 'off'),
    new TypeError('Option "interval" must be a number of milliseconds >= 0 (0: off), got -1 (number)')
  )
})

t.test('a delay is clamped to what a timer can wait', async (t) => {
  t.equal(clampToTimer(0), 1)
  t.equal(clampToTimer(0.5), 1)
  t.equal(clampToTimer(1.5), 1.5)
  t.equal(clampToTimer(LONGEST_TIMER), LONGEST_TIMER)
  t.equal(clampToTimer(LONGEST_TIMER + 1), LONGEST_TIMER)
  t.equal(clampToTimer(Infinity), LONGEST_TIMER)
})

t.test('a boolean is true or false and nothing like it', async (t) => {
  t.equal(checkBoolean('enabled', true), true)
  t.equal(checkBoolean('enabled', false), false)
  for (const bad of [0, 1, 'true', null, undefined, {}]) {
    t.throws(() => checkBoolean('enabled', bad), { name: 'TypeError', message: /^Option "enabled" must be true or false, got / })
  }
})

t.test('a function may be left out', async (t) => {
  const handler = (): void => {}
  t.equal(checkFunction('handler', handler, '()'), handler)
  t.equal(checkFunction('handler', undefined, '()'), undefined)
  for (const [bad, shown] of [[null, 'null'], ['f', '"f" (string)'], [{}, '[object Object] (object)']]) {
    t.throws(
      () => checkFunction('handler', bad, '(id) => void'),
      new TypeError(`Option "handler" must be a function (id) => void, got ${String(shown)}`)
    )
  }
})

t.test('an object must have its method, and may be left out', async (t) => {
  class Greeter { greet (): void {} }
  const own = { greet (): void {} }
  const inherited = new Greeter()
  t.equal(checkMethod('greeter', own, 'greet', '()'), own)
  t.equal(checkMethod('greeter', inherited, 'greet', '()'), inherited)
  t.equal(checkMethod<typeof own>('greeter', undefined, 'greet', '()'), undefined)
  for (const [json, shown] of [
    ['null', 'null'],
    ['{}', '[object Object] (object)'],
    ['{"greet":"hello"}', '[object Object] (object)'],
    ['"me"', '"me" (string)'],
    ['7', '7 (number)']
  ] as const) {
    t.throws(
      () => checkMethod<typeof own>('greeter', JSON.parse(json), 'greet', '(name)'),
      new TypeError(`Option "greeter" must be an object with a method greet(name), got ${shown}`)
    )
  }
})

const KNOWN = ['ttl', 'cleanupInterval', 'maxSessions', 'maxSessionsPerPrincipal', 'logger', 'drainTimeout']

t.test('options with known names pass, also when there are none of them or they are undefined', async (t) => {
  for (const options of [{}, { ttl: 5 }, { logger: undefined, ttl: 5 }, Object.create(null)]) {
    t.doesNotThrow(() => checkNames(options, KNOWN))
  }
})

for (const [written, meant] of [
  ['maxSession', 'maxSessions'],
  ['maxsessions', 'maxSessions'],
  ['maxSessionPerPrincipal', 'maxSessionsPerPrincipal'],
  ['TTL', 'ttl'],
  ['tll', 'ttl'],
  ['cleanUpIntervall', 'cleanupInterval'],
  ['cleanup', 'cleanupInterval'],
  ['interval', 'cleanupInterval'],
  ['drainTimeoutMs', 'drainTimeout'],
  ['longer', 'logger']
] as const) {
  t.test(`"${written}" is taken for "${meant}"`, async (t) => {
    t.throws(
      () => checkNames({ [written]: 5 }, KNOWN),
      new TypeError(`Unknown option "${written}": did you mean "${meant}"?`)
    )
  })
}

t.test('a name that is like none is refused with all that are known', async (t) => {
  for (const name of ['port', 'url', 'in', '', '0', '__proto__']) {
    t.throws(
      () => checkNames(JSON.parse(`{ "ttl": 5, "${name}": 1 }`), KNOWN),
      new TypeError(`Unknown option "${name}": known are ${KNOWN.join(', ')}`)
    )
  }
})

t.test('a name is unknown even if its value is undefined', async (t) => {
  t.throws(() => checkNames({ maxSession: undefined }, KNOWN), TypeError)
})

t.test('options within an option are named with it', async (t) => {
  t.throws(
    () => checkNames({ leese: 5 }, ['redis', 'lease'], 'cluster'),
    new TypeError('Unknown option "cluster.leese": did you mean "cluster.lease"?')
  )
})
