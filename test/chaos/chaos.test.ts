// A short mix of all that goes wrong and is soon over; `npm run chaos -- --seed 1 --minutes 60` is as long as one likes.
import t from 'tap'
import { needsRedisServer } from '../helpers/redis/redis-server.js'
import { nemeses } from './nemeses.js'
import { playRound } from './round.js'

const SEED = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31))
// They wait on purpose for a ttl, or restart every node.
const LONG: ReadonlySet<string> = new Set(['expiry-in-a-takeover', 'rolling-restart'])

t.setTimeout(180_000)

t.test(`a cluster under faults, SEED=${SEED}`, needsRedisServer(), async (t) => {
  const { violations, statuses, faults, sessions, longest, traceOf } = await playRound({
    seed: SEED,
    store: 'alone',
    nodes: 3,
    lease: 1500,
    ttl: 15_000,
    clients: 30,
    pace: 150,
    duration: 20_000,
    nemeses: nemeses.map(({ name }) => name).filter((name) => !LONG.has(name)),
    say: (line) => t.comment(line)
  })
  t.comment('faults', faults, 'statuses', statuses, `${sessions} sessions; the longest wait: ${longest}`)
  for (const { session } of violations.slice(0, 3)) t.comment(traceOf(session).join('\n'))
  t.strictSame(violations, [], 'every promise is kept')
  t.ok((statuses['200'] ?? 0) > 500, 'most of the time there were answers')
})
