// tools/call through mcpEndpoint against the SDK's transport wired by hand, and against fastify-mcp. See README.md.
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { Agent, request } from 'undici'
import { describe, median } from './statistics.js'

const PAIRS = Number(process.env['PAIRS'] ?? 3)
const ROUNDS = Number(process.env['ROUNDS'] ?? 20)
const SESSIONS = 64
const CALLS = 1000
const WARM_UP = 5000
const OPENED = 2000
const OPENED_TO_WARM_UP = 500

interface Server {
  readonly child: ChildProcess
  readonly url: string
  readonly ids: string[]
}

const dispatcher = new Agent({ connections: 16 })
const headers = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' }

for (const mode of ['sse', 'json'] as const) {
  for (const rival of mode === 'sse' ? ['hand-wired', 'fastify-mcp'] : ['hand-wired']) await compare(mode, rival)
}
await measureOpening()
await dispatcher.close()

async function compare (mode: string, rival: string): Promise<void> {
  const ratios: number[] = []
  const times: number[] = []
  for (let pair = 0; pair < PAIRS; pair++) {
    const ours = await start('endpoint', mode)
    const theirs = await start(rival, mode)
    for (const server of [ours, theirs]) await useCpu(server, WARM_UP)
    for (let round = 0; round < ROUNDS; round++) {
      const oursFirst = (round + pair) % 2 === 0
      const before = oursFirst ? await useCpu(ours, CALLS) : 0
      const theirTime = await useCpu(theirs, CALLS)
      const ourTime = oursFirst ? before : await useCpu(ours, CALLS)
      ratios.push(ourTime / theirTime)
      times.push(ourTime / CALLS)
    }
    stop(ours, theirs)
  }
  console.log(`CPU time of a tools/call (${mode}) through mcpEndpoint, of that through ${rival}: ${describe(ratios)}, wanted <= 1`)
  console.log(`  mcpEndpoint: ${median(times).toFixed(0)} µs`)
}

async function measureOpening (): Promise<void> {
  const ratios: number[] = []
  const heaps: number[] = []
  const rates: number[] = []
  for (let pair = 0; pair < PAIRS; pair++) {
    const ours = await start('endpoint', 'sse')
    const theirs = await start('hand-wired', 'sse')
    for (const server of [ours, theirs]) await inParallel(OPENED_TO_WARM_UP, () => open(server.url))
    const before = pair % 2 === 0 ? await openMany(ours) : undefined
    const theirCost = await openMany(theirs)
    const ourCost = before ?? await openMany(ours)
    rates.push(ourCost.rate)
    ratios.push(ourCost.cpu / theirCost.cpu)
    heaps.push(ourCost.heap / theirCost.heap)
    console.log(`  heap of a live session with its server: ${(ourCost.heap / 1024).toFixed(1)} KiB, by hand ${(theirCost.heap / 1024).toFixed(1)} KiB`)
    stop(ours, theirs)
  }
  console.log(`sessions opened per second: ${median(rates).toFixed(0)}; CPU time of it, of that by hand: ${describe(ratios)}`)
  console.log(`heap of a live session, of one by hand: ${describe(heaps)}`)
}

async function openMany (server: Server): Promise<{ cpu: number, heap: number, rate: number }> {
  const before = await ask(server, 'heap')
  const startedAt = performance.now()
  await inParallel(OPENED, () => open(server.url))
  const seconds = (performance.now() - startedAt) / 1000
  const cpu = (await ask(server, 'cpu')).cpu - before.cpu
  const after = await ask(server, 'heap')
  return { cpu, heap: (after.heap - before.heap) / OPENED, rate: OPENED / seconds }
}

async function start (kind: string, mode: string): Promise<Server> {
  const file = fileURLToPath(new URL('measure/endpoint-server.ts', import.meta.url))
  const child = fork(file, [kind, mode], { execArgv: ['--import', 'tsx', '--expose-gc'] })
  const [{ url }] = await once(child, 'message')
  const ids: string[] = []
  for (let index = 0; index < SESSIONS; index++) ids.push(await open(url))
  return { child, url, ids }
}

function stop (...servers: Server[]): void {
  for (const { child } of servers) child.kill()
}

async function open (url: string): Promise<string> {
  const body = JSON.stringify({
    jsonrpc: '2.0',
    id: 0,
    method: 'initialize',
    params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'benchmark', version: '1' } }
  })
  const response = await request(url, { method: 'POST', headers, body, dispatcher })
  await response.body.dump()
  return String(response.headers['mcp-session-id'])
}

/** Microseconds of CPU time that the server needs for so many calls. */
async function useCpu (server: Server, calls: number): Promise<number> {
  const before = await ask(server, 'cpu')
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'greet', arguments: {} } })
  await inParallel(calls, async (index) => {
    const id = server.ids[index % SESSIONS]
    const response = await request(server.url, { method: 'POST', headers: { ...headers, 'mcp-session-id': id }, body, dispatcher })
    const text = await response.body.text()
    if (!text.includes('hello')) throw new Error(`${response.statusCode} ${text}`)
  })
  return (await ask(server, 'cpu')).cpu - before.cpu
}

async function inParallel (count: number, work: (index: number) => Promise<unknown>): Promise<void> {
  let next = 0
  await Promise.all(Array.from({ length: 16 }, async () => {
    while (next < count) await work(next++)
  }))
}

async function ask ({ child }: Server, question: 'cpu' | 'heap'): Promise<{ cpu: number, heap: number }> {
  const message = once(child, 'message')
  child.send(question)
  const [answer] = await message
  return answer
}
