// A short one; `npm run soak -- --minutes 600` is as long as one likes.
import t from 'tap'
import { needsRedisServer } from '../helpers/redis/redis-server.js'
import { soak } from './soak.js'

const SEED = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31))

t.setTimeout(120_000)

t.test(`clients come and go, SEED=${SEED}`, needsRedisServer(), async (t) => {
  const { complaints, requests } = await soak({
    seed: SEED,
    duration: 6000,
    interval: 3000,
    ttl: 3000,
    parkAfter: 500,
    clients: 8,
    // A server of this kind for each session, kept, would be more.
    maxGrowth: 1_000_000,
    say: (line) => { t.comment(line) }
  })
  t.strictSame(complaints, [])
  t.ok(requests > 100, `${requests} requests`)
})
