// A server process: the example's ten-odd tools would hide what a session costs, so it has three, as the other benchmarks.
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { built } from '../built.js'
import { createApp } from './serve.js'
import { createLeanServer } from './tools.js'

const [, , maxSessions, parkAfter, reuse] = process.argv
const app = createApp()
await app.register(built.mcpSessions, { maxSessions: Number(maxSessions), ttl: 0 })
const reused = Number(reuse) > 0 && { reuseServers: Number(reuse) }
await app.register(built.mcpEndpoint, { createServer: () => createLeanServer(), parkAfter: Number(parkAfter), ...reused })
let parked = 0
let woken = 0
built.channels['session.parked'].subscribe(() => { parked++ })
built.channels['session.restored'].subscribe(() => { woken++ })
const delay = monitorEventLoopDelay({ resolution: 1 })
delay.enable()
const INTERVAL = 2
let longestCpu = 0
let last = { at: performance.now(), cpu: readCpu() }
// Where other processes have their turn, the wall clock says nothing of this one.
setInterval(() => {
  const now = { at: performance.now(), cpu: readCpu() }
  longestCpu = Math.max(longestCpu, Math.min(now.at - last.at, (now.cpu - last.cpu) / 1000) - INTERVAL)
  last = now
}, INTERVAL)

const url = await app.listen({ port: 0, host: '127.0.0.1' })
process.on('message', (question) => {
  if (question === 'memory') {
    globalThis.gc?.()
    globalThis.gc?.()
    delay.reset()
    last = { at: performance.now(), cpu: readCpu() }
  }
  process.send?.({ parked: parked - woken, cpu: readCpu(), heap: process.memoryUsage().heapUsed, rss: process.memoryUsage.rss(), longest: delay.max / 1e6, longestCpu })
  delay.reset()
  longestCpu = 0
})
process.once('disconnect', () => process.exit())
process.send?.({ url: `${url}/mcp` })

/** Microseconds. */
function readCpu (): number {
  const { user, system } = process.cpuUsage()
  return user + system
}
