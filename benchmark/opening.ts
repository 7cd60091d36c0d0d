import { FLEETS, start, stop, type Entrant } from './contest.js'
import { setting } from './settings.js'
import { describe } from './statistics.js'

const OPENED = setting('OPENED', 2000, 500)
const WARM_UP = 500

interface Cost {
  readonly cpu: number
  readonly heap: number
  readonly rate: number
}

/** Sessions that stay open: how fast they come, and what each keeps. */
export async function measureOpening (): Promise<void> {
  const ours: Cost[] = []
  const byHand: Cost[] = []
  for (let fleet = 0; fleet < FLEETS; fleet++) {
    const pair = [{ costs: ours, entrant: await start('mcpEndpoint sse') }, { costs: byHand, entrant: await start('by hand sse') }]
    for (const { entrant } of pair) await entrant.load.openMany(WARM_UP)
    if (fleet % 2 === 1) pair.reverse()
    for (const { costs, entrant } of pair) costs.push(await measureOne(entrant))
    await Promise.all(pair.map(({ entrant }) => stop(entrant)))
  }
  console.log(`\n${OPENED} sessions that stay open`)
  console.log(`  opened per second             ${describe(ours.map(({ rate }) => rate), 0)}`)
  console.log(`  CPU time of one, of that by hand  ${describe(quotients(ours, byHand, 'cpu'))}`)
  console.log(`  heap of one with its server       ${describe(ours.map(({ heap }) => heap / 1024), 1, ' KiB')}`)
  console.log(`    of that of one by hand          ${describe(quotients(ours, byHand, 'heap'))}`)
}

async function measureOne ({ server, load }: Entrant): Promise<Cost> {
  const before = await server.ask('heap')
  const startedAt = performance.now()
  await load.openMany(OPENED)
  const seconds = (performance.now() - startedAt) / 1000
  const { cpu } = await server.ask('cpu')
  const after = await server.ask('heap')
  return { cpu: cpu - before.cpu, heap: (after.heap - before.heap) / OPENED, rate: OPENED / seconds }
}

function quotients (ours: readonly Cost[], theirs: readonly Cost[], figure: keyof Cost): number[] {
  return ours.map((cost, index) => cost[figure] / (theirs[index]?.[figure] ?? NaN))
}
