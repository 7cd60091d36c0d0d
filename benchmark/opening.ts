import { Contest, FLEETS, start, stop, type Entrant, type Name } from './contest.js'
import { setting } from './settings.js'
import { describe } from './statistics.js'

const OPENED = setting('OPENED', 2000, 500)
const WARM_UP = 500

/** Sessions that stay open: what opening one costs, and what each keeps. */
export async function measureOpening (): Promise<void> {
  await measureCpu()
  await measureHeap()
}

async function measureCpu (): Promise<void> {
  const names: Name[] = [
    'mcpEndpoint auto', 'mcpEndpoint auto, shared validator', 'mcpEndpoint auto, reused', 'by hand sse', 'by hand sse, shared validator', 'bare Fastify'
  ]
  const contest = await Contest.hold(names, {
    warmUp: 3000,
    count: 500,
    prepare: async ({ load }) => (count) => load.openMany(count),
    undo: ({ name, load }, ids) => name === 'bare Fastify' ? Promise.resolve() : load.closeMany(ids)
  })
  contest.print('\nopening a session, CPU time of the server', names)
  contest.compare('mcpEndpoint auto, reused', 'by hand sse', 0.5)
  contest.compare('mcpEndpoint auto, shared validator', 'by hand sse', 0.5)
  contest.compare('mcpEndpoint auto', 'by hand sse')
  contest.compare('mcpEndpoint auto, shared validator', 'by hand sse, shared validator')
  contest.compare('bare Fastify', 'by hand sse')
}

async function measureHeap (): Promise<void> {
  const ours: number[] = []
  const byHand: number[] = []
  for (let fleet = 0; fleet < FLEETS; fleet++) {
    for (const [name, heaps] of [['mcpEndpoint sse', ours], ['by hand sse', byHand]] as const) {
      const entrant = await start(name)
      heaps.push(await keep(entrant))
      await stop(entrant)
    }
  }
  console.log(`\n${OPENED} sessions that stay open`)
  console.log(`  heap of one with its server       ${describe(ours.map((heap) => heap / 1024), 1, ' KiB')}`)
  console.log(`    of that of one by hand          ${describe(ours.map((heap, index) => heap / (byHand[index] ?? NaN)))}`)
}

async function keep ({ server, load }: Entrant): Promise<number> {
  await load.openMany(WARM_UP)
  const before = await server.ask('heap')
  await load.openMany(OPENED)
  const after = await server.ask('heap')
  return (after.heap - before.heap) / OPENED
}
