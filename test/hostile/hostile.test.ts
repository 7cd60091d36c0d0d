// A short siege; `npm run hostile -- --requests 1000000 --seed 1` is as long as one likes.
import t from 'tap'
import { besiege } from './siege.js'

const SEED = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31))

t.test(`hostile requests, SEED=${SEED}`, async (t) => {
  const { statuses, failures, unknown, running, closing } = await besiege(4000, SEED)
  t.strictSame(failures, [], 'no fault is ours')
  t.equal(unknown, 0, 'no session is there that nobody was told of')
  t.equal(running, 0, 'nothing runs any more')
  t.ok(closing < 2500, `close() took ${closing} ms`)
  t.ok((statuses.get(200) ?? 0) > 100, 'and some of them were good')
})
