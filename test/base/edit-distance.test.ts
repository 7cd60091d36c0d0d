import t from 'tap'
import { editDistance } from '../../lib/base/edit-distance.js'

for (const [one, other, distance] of [
  ['', '', 0],
  ['ttl', 'ttl', 0],
  ['', 'ttl', 3],
  ['maxSession', 'maxSessions', 1],
  ['logger', 'longer', 1],
  ['kitten', 'sitting', 3],
  ['tlt', 'ttl', 2],
  ['abc', 'xyz', 3],
  ['aaaa', 'aa', 2]
] as const) {
  t.test(`"${one}" and "${other}" are ${distance} apart`, async (t) => {
    t.equal(editDistance(one, other), distance)
    t.equal(editDistance(other, one), distance)
  })
}
