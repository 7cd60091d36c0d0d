// npm run soak -- --minutes 10 --seed 1
import { parseArgs } from 'node:util'
import { soak } from './soak.js'

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    seed: { type: 'string', default: `${Date.now() % 2 ** 31}` },
    clients: { type: 'string', default: '60' }
  }
})
console.log(`${values.minutes} minutes, ${values.clients} clients, seed ${values.seed}`)
console.log('figures of: a server that is alone and lives 60 times as fast / node 1 / node 2 of a cluster')
const { complaints, requests } = await soak({
  seed: Number(values.seed),
  duration: Number(values.minutes) * 60_000,
  interval: 60_000,
  ttl: 20_000,
  parkAfter: 1500,
  clients: Number(values.clients),
  maxGrowth: 3_000_000,
  say: (line) => console.log(`  ${line}`)
})
for (const complaint of complaints) console.log(`not good: ${complaint}`)
console.log(`${requests} requests: ${complaints.length === 0 ? 'good' : 'not good'}`)
process.exitCode = complaints.length === 0 ? 0 : 1
