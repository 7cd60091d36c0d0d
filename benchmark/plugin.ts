// What the hook of the plugin adds to a request. See README.md.
import { Load } from './load.js'
import { ServerProcess, useCpu } from './server-process.js'
import { setting } from './settings.js'
import { alternate, describe, median } from './statistics.js'

const PROCESSES = setting('FLEETS', 6, 2)
const ROUNDS = setting('ROUNDS', 150, 40)
const REQUESTS = 400
const WARM_UP = 10_000
const ORDERS = [['bare', 'twin', 'plugin'], ['plugin', 'twin', 'bare'], ['twin', 'plugin', 'bare']]

const routes = [
  { path: '/plain', wanted: 0.99, name: 'a route without the header' },
  { path: '/session', wanted: 0.97, name: 'a route that validates and touches' }
] as const

/** Microseconds per request. */
interface Figures {
  bare: number[]
  /** Of a second bare app, more than of the first: as far from 0 as this is, a figure means nothing. */
  twin: number[]
  plugin: number[]
}

for (const { path, wanted, name } of routes) {
  const all: Figures = { bare: [], twin: [], plugin: [] }
  const ofProcesses: Figures = { bare: [], twin: [], plugin: [] }
  for (let run = 0; run < PROCESSES; run++) {
    const figures = await measureProcess(path, ORDERS[run % ORDERS.length] ?? [])
    for (const kind of ['bare', 'twin', 'plugin'] as const) {
      all[kind].push(...figures[kind])
      ofProcesses[kind].push(median(figures[kind]))
    }
  }
  const bare = median(all.bare)
  console.log(`${name}, CPU time per request`)
  console.log(`  bare app                ${describe(all.bare, 1, ' µs')}`)
  console.log(`  a second bare app adds  ${describe(all.twin, 2, ' µs')}, in each process ${list(ofProcesses.twin)}`)
  console.log(`  the plugin adds         ${describe(all.plugin, 2, ' µs')}, in each process ${list(ofProcesses.plugin)}`)
  console.log(`  requests per CPU second, of the bare app's: ${(bare / (bare + median(all.plugin))).toFixed(3)}, wanted >= ${wanted}`)
}

async function measureProcess (path: string, order: readonly string[]): Promise<Figures> {
  const server = await ServerProcess.start('hook-server', ...order)
  const loads = await Promise.all(server.urls.map((url) => Load.open(url)))
  const bursts = await Promise.all(loads.map((load) => prepare(load, path)))
  for (const burst of bursts) await burst(WARM_UP)
  const rows = await alternate(ROUNDS, bursts.map((burst) => async () => (await useCpu([server], () => burst(REQUESTS))).cpu / REQUESTS))
  for (const load of loads) load.close()
  await server.stop()
  const column = (kind: string): number[] => rows.map((row) => row[order.indexOf(kind)] ?? NaN)
  const bare = column('bare')
  const added = (kind: string): number[] => column(kind).map((time, index) => time - (bare[index] ?? NaN))
  return { bare, twin: added('twin'), plugin: added('plugin') }
}

/** Both kinds of apps get the same requests, so that what a header costs Node.js is in none of the differences. */
async function prepare (load: Load, path: string): Promise<(count: number) => Promise<void>> {
  let id = ''
  await load.run(1, async (connection) => { id = (await connection.send('GET /open HTTP/1.1\r\nhost: localhost\r\n\r\n')).body })
  const header = path === '/session' ? `mcp-session-id: ${id}\r\n` : ''
  const request = `GET ${path} HTTP/1.1\r\nhost: localhost\r\n${header}\r\n`
  return (count) => load.run(count, async (connection) => {
    const { status, body } = await connection.send(request)
    if (status !== 200 || body !== '{"hello":"world"}') throw new Error(`${status} ${body}`)
  })
}

function list (values: readonly number[]): string {
  return values.map((value) => value.toFixed(2)).join(', ')
}
