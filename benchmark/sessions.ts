// SessionManager against a plain Map. See README.md.
import { measure } from './child.js'
import { choose, setting } from './settings.js'
import { describe } from './statistics.js'

const MANY = String(setting('SESSIONS', 1_000_000, 100_000))
const BURST = '100000'
const PROCESSES = setting('FLEETS', 8, 2)

for (const compare of choose({ touch: compareTouch, sweep: compareSweep, burst: compareBurst, eviction: measureEviction, heap: compareHeap })) await compare()

async function compareTouch (): Promise<void> {
  const ratios: number[] = []
  const times: number[] = []
  for (let run = 0; run < PROCESSES; run++) {
    const { ratio = NaN, plainNanoseconds = NaN } = await measure('touch', MANY, run % 2 === 0 ? 'plain' : 'managed')
    ratios.push(ratio)
    times.push(plainNanoseconds)
  }
  console.log(`touch, ${MANY} sessions in random order`)
  console.log(`  rate, of the plain Map's:      ${describe(ratios)}, wanted >= 0.9`)
  console.log(`  the plain Map's time:          ${describe(times, 0, ' ns')}`)
}

async function compareSweep (): Promise<void> {
  const figures = await repeat(3, () => measure('sweep', MANY))
  console.log(`\nsweep, ${MANY} sessions, none expired`)
  console.log(`  time, of the full scan's:      1/${describe(quotients(figures, 'scan', 'sweep'), 0)}, wanted <= 1/20`)
  console.log(`  full scan, in one block:       ${describe(column(figures, 'scan'), 1, ' ms')}`)
  console.log(`  sweep:                         ${describe(column(figures, 'sweep'), 3, ' ms')}`)
  console.log('  once per ttl, when all sessions have to be looked at because all were touched:')
  console.log(`  sweep, in slices of 256:       ${describe(column(figures, 'worstSweep'), 1, ' ms')}`)
}

async function compareBurst (): Promise<void> {
  const plain: Array<Record<string, number>> = []
  const managed: Array<Record<string, number>> = []
  for (let run = 0; run < PROCESSES; run++) {
    plain.push(await measure('burst', 'plain', BURST))
    managed.push(await measure('burst', 'managed', BURST))
  }
  console.log(`\n${BURST} sessions that expire together, longest block of the event loop`)
  console.log(`  CPU time:                      ${describe(column(managed, 'longestCpu'), 1, ' ms')}, wanted <= 10 ms`)
  console.log(`  CPU time, full scan:           ${describe(column(plain, 'longestCpu'), 1, ' ms')}`)
  console.log(`  wall clock:                    ${describe(column(managed, 'longest'), 1, ' ms')}`)
  console.log(`  wall clock, full scan:         ${describe(column(plain, 'longest'), 1, ' ms')}`)
  console.log(`  wall clock, nothing to do:     ${describe(column(managed, 'longestIdle'), 1, ' ms')}`)
  console.log(`  until all are gone:            ${describe(column(managed, 'total'), 0, ' ms')}`)
}

async function measureEviction (): Promise<void> {
  console.log(`\nopening a session that evicts another, ${BURST} that were opened together`)
  for (const [limit, name] of [['total', 'maxSessions'], ['principal', 'maxSessionsPerPrincipal']] as const) {
    const figures = await repeat(PROCESSES, () => measure('eviction', limit, BURST))
    console.log(`  ${name}, CPU time:`.padEnd(40) + `${describe(column(figures, 'cpu'), 1, ' µs')}, wanted <= 50 µs`)
    console.log(`  ${name}, the longest:`.padEnd(40) + describe(column(figures, 'longest'), 0, ' µs'))
  }
}

async function compareHeap (): Promise<void> {
  const { bytes: plain = NaN } = await measure('heap', 'plain', MANY)
  const { bytes: unflattened = NaN } = await measure('heap', 'plain with randomUUID()', MANY)
  const { bytes: managed = NaN } = await measure('heap', 'managed', MANY)
  console.log(`\nheap per session without metadata, ${MANY} sessions`)
  console.log(`  of the plain Map's:            ${(managed / plain).toFixed(3)}, wanted <= 1.1`)
  console.log(`  sessions of the manager:       ${managed.toFixed(0)} bytes`)
  console.log(`  plain Map, ids of headers:     ${plain.toFixed(0)} bytes`)
  console.log(`  plain Map, randomUUID() as is: ${unflattened.toFixed(0)} bytes`)
}

async function repeat (times: number, work: () => Promise<Record<string, number>>): Promise<Array<Record<string, number>>> {
  const results: Array<Record<string, number>> = []
  while (results.length < times) results.push(await work())
  return results
}

function column (figures: ReadonlyArray<Record<string, number>>, name: string): number[] {
  return figures.map((row) => row[name] ?? NaN)
}

function quotients (figures: ReadonlyArray<Record<string, number>>, above: string, below: string): number[] {
  return figures.map((row) => (row[above] ?? NaN) / (row[below] ?? NaN))
}
