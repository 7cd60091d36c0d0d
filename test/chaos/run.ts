// npm run chaos -- --seed 1 --minutes 10 [--nemesis kill,flushall] [--redis sentinel]
import { parseArgs } from 'node:util'
import { createRandom } from '../helpers/chance/random.js'
import { playRound } from './round.js'
import { STORE_KINDS, type StoreKind } from './stores.js'

// Of one cluster with its faults, in milliseconds: then there is a new one, with the next seed.
const ROUND = 60_000

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: `${Date.now() % 2 ** 31}` },
    minutes: { type: 'string', default: '5' },
    nemesis: { type: 'string' },
    redis: { type: 'string' },
    lease: { type: 'string', default: '1500' }
  }
})
const minutes = Number(values.minutes)
const end = performance.now() + minutes * 60_000
let seed = Number(values.seed)
let bad = 0
let rounds = 0
let operations = 0

do {
  rounds++
  const random = createRandom(seed)
  const store = STORE_KINDS.find((kind) => kind === values.redis) ?? pickStore(random.below(STORE_KINDS.length))
  const nodes = 3 + random.below(2)
  console.log(`\n--seed ${seed}: ${nodes} nodes, Redis ${store}`)
  const { violations, statuses, sessions, faults, longest, traceOf } = await playRound({
    seed,
    store,
    nodes,
    lease: Number(values.lease),
    ttl: 15_000,
    clients: 30,
    pace: 100,
    duration: Math.min(ROUND, minutes * 60_000),
    nemeses: values.nemesis?.split(','),
    say: console.log
  })
  console.log('faults', faults)
  console.log('statuses', statuses, `${sessions} sessions; the longest wait: ${longest}`)
  operations += Object.values(statuses).reduce((sum, count) => sum + count, 0)
  for (const { promise, session, detail } of violations.slice(0, 20)) console.log(`NOT KEPT: ${promise}: ${detail} ${session}`)
  const traced = new Set(violations.map(({ session }) => session).filter((session) => session !== ''))
  for (const session of [...traced].slice(0, 2)) console.log(`session ${session}:\n  ${traceOf(session).join('\n  ')}`)
  if (violations.length > 0) {
    bad++
    console.log(`${violations.length} times a promise was not kept: again with --seed ${seed} --redis ${store}`)
  }
  seed++
} while (performance.now() < end)

console.log(`\n${operations} operations in ${rounds} rounds, ${bad} of them bad`)
process.exitCode = bad === 0 ? 0 : 1

function pickStore (index: number): StoreKind {
  return STORE_KINDS[index] ?? 'alone'
}
