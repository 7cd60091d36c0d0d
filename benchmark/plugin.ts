// An app with the plugin against the same app without it. See README.md.
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { Load } from './load.js'
import { describe, quantile } from './statistics.js'

const PAIRS = 8
const ROUNDS = 60
const REQUESTS = 1000
const WARM_UP = 20_000

interface Server {
  readonly child: ChildProcess
  readonly load: Load
  readonly id: string
}

const routes = [
  { path: '/plain', wanted: 0.99, name: 'a route without the header' },
  { path: '/session', wanted: 0.97, name: 'a route that validates and touches' }
] as const
const ratios = routes.map((): number[] => [])
const times = routes.map((): number[] => [])
// Of each pair, what its quietest rounds say: what else the machine does can only add to a time.
const quiet = routes.map((): number[] => [])

for (let pair = 0; pair < PAIRS; pair++) await comparePair(pair)

console.log(`requests per CPU second with the plugin, of the bare app's (${PAIRS} pairs of processes, ${ROUNDS} rounds each)`)
for (const [index, { name, wanted }] of routes.entries()) {
  console.log(`  ${name}: ${describe(ratios[index] ?? [])}, wanted >= ${wanted}`)
  console.log(`    in the quietest quarter of the rounds: ${describe(quiet[index] ?? [])}`)
  console.log(`    bare app: ${describe(times[index] ?? [], 1, ' µs')} per request`)
}

// The processes of a pair are new ones, because no two of the same app are equally fast.
async function comparePair (pair: number): Promise<void> {
  const plugin = await start('plugin')
  const bare = await start('bare')
  for (const [index, { path }] of routes.entries()) {
    for (const server of [plugin, bare]) await useCpu(server, path, WARM_UP)
    const pluginTimes: number[] = []
    const bareTimes: number[] = []
    for (let round = 0; round < ROUNDS; round++) {
      const pluginFirst = (round + pair) % 2 === 0
      const before = pluginFirst ? await useCpu(plugin, path, REQUESTS) : 0
      const bareTime = await useCpu(bare, path, REQUESTS)
      const pluginTime = pluginFirst ? before : await useCpu(plugin, path, REQUESTS)
      ratios[index]?.push(bareTime / pluginTime)
      times[index]?.push(bareTime / REQUESTS)
      pluginTimes.push(pluginTime)
      bareTimes.push(bareTime)
    }
    quiet[index]?.push(quantile(bareTimes, 0.25) / quantile(pluginTimes, 0.25))
  }
  for (const { child, load } of [plugin, bare]) {
    load.close()
    child.kill()
  }
}

async function start (kind: 'plugin' | 'bare'): Promise<Server> {
  const file = fileURLToPath(new URL('measure/server.ts', import.meta.url))
  const child = fork(file, [kind], { execArgv: ['--import', 'tsx'] })
  const [{ port, id }] = await once(child, 'message')
  return { child, id, load: await Load.open(port) }
}

/** Microseconds of CPU time that the server needs for so many requests. */
async function useCpu ({ child, load, id }: Server, path: string, requests: number): Promise<number> {
  const before = await readCpu(child)
  await load.send(path, path === '/session' ? `mcp-session-id: ${id}\r\n` : '', requests)
  return await readCpu(child) - before
}

async function readCpu (child: ChildProcess): Promise<number> {
  const message = once(child, 'message')
  child.send('cpu')
  const [{ cpu }] = await message
  return cpu
}
