// npm run demo:flood: one who opens sessions without end, and 50 users who go on working. See README.md.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { McpLoad } from './mcp-load.js'
import { ServerProcess } from './server-process.js'
import { setting } from './settings.js'
import { median, quantile } from './statistics.js'

interface User {
  readonly load: McpLoad
  readonly session: string
}

const SECONDS = setting('SECONDS', 60, 5)
const RATE = setting('RATE', 300, 300)
const USERS = 50
// Milliseconds between two calls of a user.
const PACE = 100
// Milliseconds until all is compiled.
const WARM_UP = 5000
const FLOOD = fileURLToPath(new URL('measure/flood.ts', import.meta.url))

await meet('room is made', [])
await meet('maxOpensPerMinute: 60', ['60'])

/** Prints what the users see before the flood, and in it. */
async function meet (title: string, args: readonly string[]): Promise<void> {
  const server = await ServerProcess.start('flood-server', ...args)
  const users = await Promise.all(Array.from({ length: USERS }, (_, index) => arrive(server.url, index)))
  await work(users, WARM_UP)
  const calm = await work(users, SECONDS * 1000)
  const flood = fork(FLOOD, [server.url, `${RATE}`], { execArgv: ['--import', 'tsx'] })
  process.once('exit', () => flood.kill('SIGKILL'))
  await once(flood, 'message')
  const flooded = await work(users, SECONDS * 1000)
  const answered = once(flood, 'message')
  flood.send('how was it')
  const [statuses] = await answered
  flood.kill('SIGKILL')
  console.log(`${title}: ${USERS} users, ${SECONDS} seconds without and with a flood of ${RATE} a second, answered ${JSON.stringify(statuses)}`)
  console.log(`  a call, median: ${median(calm).toFixed(1)} and ${median(flooded).toFixed(1)} ms`)
  console.log(`  a call, p99:    ${quantile(calm, 0.99).toFixed(1)} and ${quantile(flooded, 0.99).toFixed(1)} ms: ${(quantile(flooded, 0.99) / quantile(calm, 0.99)).toFixed(2)}, wanted <= 2`)
  console.log(`  sessions lost:  ${await countLost(users)}, wanted 0`)
  for (const { load } of users) load.close()
  await server.stop()
}

async function arrive (url: string, index: number): Promise<User> {
  const load = await McpLoad.open(url, 1, `authorization: user ${index}\r\n`)
  const [session = ''] = await load.openMany(1)
  return { load, session }
}

/** The milliseconds that their calls have taken. Rejects when one is not answered as it should be. */
async function work (users: readonly User[], duration: number): Promise<number[]> {
  const end = performance.now() + duration
  const times = await Promise.all(users.map(async ({ load, session }, index) => {
    const own: number[] = []
    await sleep(index * PACE / USERS)
    while (performance.now() < end) {
      own.push(...await load.timeCalls([session], 1))
      await sleep(PACE)
    }
    return own
  }))
  return times.flat()
}

async function countLost (users: readonly User[]): Promise<number> {
  const answers = await Promise.allSettled(users.map(({ load, session }) => load.callMany([session], 1)))
  return answers.filter(({ status }) => status === 'rejected').length
}
