// A process that opens anonymous sessions without end, so many in a second, and says what it was answered.
import { setTimeout as sleep } from 'node:timers/promises'
import { McpLoad } from '../mcp-load.js'

const [, , url = '', rate] = process.argv
// Milliseconds.
const BURST = 20
const load = await McpLoad.open(url)
const total: Record<string, number> = {}
process.on('message', () => process.send?.(total))
process.once('disconnect', () => process.exit())
process.send?.({ urls: [] })
while (true) {
  const statuses = await load.tryToOpen(Math.round(Number(rate) * BURST / 1000))
  for (const [status, count] of Object.entries(statuses)) total[status] = (total[status] ?? 0) + count
  await sleep(BURST)
}
