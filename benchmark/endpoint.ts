// tools/call through mcpEndpoint against the SDK's transport wired by hand, and against fastify-mcp. See README.md.
import { callMany, disconnect, inParallel, open, openMany } from './mcp-client.js'
import { ServerProcess, useCpu } from './server-process.js'
import { describe, median } from './statistics.js'

const PAIRS = Number(process.env['PAIRS'] ?? 3)
const ROUNDS = Number(process.env['ROUNDS'] ?? 20)
const SESSIONS = 64
const CALLS = 1000
const WARM_UP = 5000
const OPENED = 2000
const OPENED_TO_WARM_UP = 500

for (const mode of ['sse', 'json'] as const) {
  for (const rival of mode === 'sse' ? ['hand-wired', 'fastify-mcp'] : ['hand-wired']) await compare(mode, rival)
}
await measureOpening()
await disconnect()

async function compare (mode: string, rival: string): Promise<void> {
  const ratios: number[] = []
  const times: number[] = []
  for (let pair = 0; pair < PAIRS; pair++) {
    const ours = await start('endpoint', mode)
    const theirs = await start(rival, mode)
    for (const server of [ours, theirs]) await server.useCpu(WARM_UP)
    for (let round = 0; round < ROUNDS; round++) {
      const oursFirst = (round + pair) % 2 === 0
      const before = oursFirst ? await ours.useCpu(CALLS) : 0
      const theirTime = await theirs.useCpu(CALLS)
      const ourTime = oursFirst ? before : await ours.useCpu(CALLS)
      ratios.push(ourTime / theirTime)
      times.push(ourTime / CALLS)
    }
    await Promise.all([ours.stop(), theirs.stop()])
  }
  console.log(`CPU time of a tools/call (${mode}) through mcpEndpoint, of that through ${rival}: ${describe(ratios)}, wanted <= 1`)
  console.log(`  mcpEndpoint: ${median(times).toFixed(0)} µs`)
}

async function start (kind: string, mode: string): Promise<{ useCpu: (calls: number) => Promise<number>, stop: () => Promise<void> }> {
  const server = await ServerProcess.start('endpoint-server', kind, mode)
  const ids = await openMany(server.url, SESSIONS)
  return {
    useCpu: (calls) => useCpu([server], () => callMany(server.url, ids, calls)),
    stop: () => server.stop()
  }
}

async function measureOpening (): Promise<void> {
  const ratios: number[] = []
  const heaps: number[] = []
  const rates: number[] = []
  for (let pair = 0; pair < PAIRS; pair++) {
    const ours = await ServerProcess.start('endpoint-server', 'endpoint', 'sse')
    const theirs = await ServerProcess.start('endpoint-server', 'hand-wired', 'sse')
    for (const server of [ours, theirs]) await openMany(server.url, OPENED_TO_WARM_UP)
    const before = pair % 2 === 0 ? await measureOpeningOf(ours) : undefined
    const theirCost = await measureOpeningOf(theirs)
    const ourCost = before ?? await measureOpeningOf(ours)
    rates.push(ourCost.rate)
    ratios.push(ourCost.cpu / theirCost.cpu)
    heaps.push(ourCost.heap / theirCost.heap)
    console.log(`  heap of a live session with its server: ${(ourCost.heap / 1024).toFixed(1)} KiB, by hand ${(theirCost.heap / 1024).toFixed(1)} KiB`)
    await Promise.all([ours.stop(), theirs.stop()])
  }
  console.log(`sessions opened per second: ${median(rates).toFixed(0)}; CPU time of it, of that by hand: ${describe(ratios)}`)
  console.log(`heap of a live session, of one by hand: ${describe(heaps)}`)
}

async function measureOpeningOf (server: ServerProcess): Promise<{ cpu: number, heap: number, rate: number }> {
  const before = await server.ask('heap')
  const startedAt = performance.now()
  await inParallel(OPENED, () => open(server.url))
  const seconds = (performance.now() - startedAt) / 1000
  const cpu = (await server.ask('cpu')).cpu - before.cpu
  const after = await server.ask('heap')
  return { cpu, heap: (after.heap - before.heap) / OPENED, rate: OPENED / seconds }
}
