// npm run hostile -- --requests 1000000 --seed 1
import { parseArgs } from 'node:util'
import { besiege } from './siege.js'

const { values } = parseArgs({ options: { requests: { type: 'string', default: '100000' }, seed: { type: 'string', default: `${Date.now() % 2 ** 31}` } } })
const requests = Number(values.requests)
// Of heap, in bytes, that caches may take in the second half.
const MOST_GROWTH = 8 * 1024 * 1024

console.log(`${requests} hostile requests, seed ${values.seed}`)
const verdict = await besiege(requests, Number(values.seed), (sent) => console.log(`${sent} sent`))
const { statuses, failures, unknown, running, growth, closing } = verdict
console.log('statuses', Object.fromEntries(Array.from(statuses).sort()))
console.log(`heap grew by ${(growth / 1024).toFixed(0)} KiB in the second half, close() took ${closing.toFixed(0)} ms`)
for (const failure of failures.slice(0, 5)) console.log(`\nour fault:\n${failure}`)
if (unknown > 0) console.log(`${unknown} sessions of which nobody was told`)
if (running > 0) console.log(`${running} requests are still counted`)
const isGood = failures.length === 0 && unknown === 0 && running === 0 && growth < MOST_GROWTH
console.log(isGood ? 'good' : 'not good')
process.exitCode = isGood ? 0 : 1
