// npm run demo:scale: as many idle sessions as one likes in one process, parked. See README.md.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { McpLoad } from './mcp-load.js'
import { setting } from './settings.js'

interface State {
  readonly parked: number
  /** Microseconds. */
  readonly cpu: number
  /** Bytes. */
  readonly heap: number
  readonly rss: number
  /** Milliseconds since the last question: how long the event loop stood still, and for how long of that this process ran. */
  readonly longest: number
  readonly longestCpu: number
}

const COUNT = setting('SESSIONS', 100_000, 5000)
const PARK_AFTER = setting('PARK_AFTER', 200, 200)
const WOKEN = 200
const WARM_UP = 500
// MB. Without bounds V8 lets a heap grow to some times what is alive in it before it looks, and looks for longer.
const HEAP = setting('HEAP', 220, 220)
const YOUNG = setting('YOUNG', 2, 2)
const bounds = HEAP === 0 ? [] : [`--max-old-space-size=${HEAP}`, `--max-semi-space-size=${YOUNG}`]
// How many servers of sessions that are parked are kept for the next ones; 0: none.
const REUSE = setting('REUSE', 1000, 1000)

const server = fork(fileURLToPath(new URL('measure/scale-server.ts', import.meta.url)), [`${COUNT + 10_000}`, `${PARK_AFTER}`, `${REUSE}`], { execArgv: ['--import', 'tsx', '--expose-gc', ...bounds] })
process.on('exit', () => server.kill('SIGKILL'))
const [{ url }] = await once(server, 'message')
const load = await McpLoad.open(url)

const warm = await load.openMany(WARM_UP)
await load.callMany(warm, WARM_UP)
await waitUntilParked(WARM_UP)
const before = await ask('memory')
console.log(`opening ${COUNT} sessions, each idle for ${PARK_AFTER} ms before it is parked${REUSE > 0 ? `, with up to ${REUSE} servers kept for others` : ''}`)
const startedAt = performance.now()
const ids = await load.openMany(COUNT)
const seconds = (performance.now() - startedAt) / 1000
const opened = await ask('state')
await waitUntilParked(WARM_UP + COUNT)
const parked = await ask('state')
const after = await ask('memory')
console.log(`  opened per second:                 ${(COUNT / seconds).toFixed(0)}`)
console.log(`  heap of one that is parked:        ${((after.heap - before.heap) / COUNT).toFixed(0)} bytes, wanted <= 2048`)
console.log(`  memory of the process:             ${(after.rss / 1e6).toFixed(0)} MB with ${bounds.join(' ') || 'the bounds of Node.js'}, wanted < 250; heap ${(after.heap / 1e6).toFixed(0)} MB`)
console.log(`  the event loop stood still for:    ${Math.max(opened.longest, parked.longest).toFixed(1)} ms at most, wanted <= 20; in CPU time ${Math.max(opened.longestCpu, parked.longestCpu).toFixed(1)} ms`)

const [oldest = ''] = ids
const [first = NaN] = await load.timeCalls([oldest], 1)
const [second = NaN] = await load.timeCalls([oldest], 1)
console.log(`  the oldest answers after:          ${first.toFixed(1)} ms, and then after ${second.toFixed(1)} ms`)
const opening = await cost(async () => { await load.openMany(WOKEN) })
const waking = await cost(async () => { await load.callMany(ids.slice(1, WOKEN + 1), WOKEN) })
const calling = await cost(async () => { await load.callMany(ids.slice(1, WOKEN + 1), WOKEN) })
console.log(`  CPU time of waking, of opening:    ${((waking - calling) / opening).toFixed(2)}, wanted <= 1.5`)
load.close()
server.disconnect()
await once(server, 'exit')

async function ask (question: 'state' | 'memory'): Promise<State> {
  const answer = once(server, 'message')
  server.send(question)
  const [state] = await answer
  return state
}

async function cost (work: () => Promise<void>): Promise<number> {
  const { cpu } = await ask('state')
  await work()
  return (await ask('state')).cpu - cpu
}

async function waitUntilParked (count: number): Promise<void> {
  while ((await ask('state')).parked < count) await sleep(100)
}
