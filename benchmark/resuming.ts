// For how long Redis is kept from others while a stream is resumed: the longest commands of a session with a full log. See README.md.
import { Redis } from 'ioredis'
import { RedisCommands } from '../lib/cluster/redis/commands.js'
import { RedisDirectory } from '../lib/cluster/redis/directory.js'
import { RedisEventStore } from '../lib/cluster/redis/event-store.js'
import { needsRedisServer, RedisServer } from '../test/helpers/redis/redis-server.js'
import { setting } from './settings.js'
import { quantile } from './statistics.js'

const EVENTS = setting('EVENTS', 10_000, 1000)
const ROUNDS = setting('ROUNDS', 5, 2)
const MIB = 1024 * 1024
const MAX_BYTES = 16 * MIB
const BATCH = 64

const { skip } = needsRedisServer()
if (skip !== false) {
  console.error(skip)
  process.exit(1)
}
const server = await RedisServer.start({ args: ['--slowlog-log-slower-than', '0', '--slowlog-max-len', '100000'] })
const redis = new Redis(server.url)
const directory = new RedisDirectory({ redis, ttl: 0 })

console.log('milliseconds of Redis           | commands | median |    p99 | longest, in the best round')
for (const size of [100, Math.floor(MAX_BYTES / EVENTS) - 1, 64 * 1024, MIB]) await measure(size)
redis.disconnect()
await server.stop()

interface Measure {
  readonly what: string
  readonly run: () => Promise<unknown>
}

async function measure (size: number): Promise<void> {
  const count = Math.min(EVENTS, Math.floor(MAX_BYTES / size))
  console.log(`${count} events of ${size} bytes`)
  const rounds: Map<string, number[]>[] = []
  for (let round = 0; round < ROUNDS; round++) rounds.push(await measureOnce(`${size}-${round}`, size, count))
  for (const what of rounds[0]?.keys() ?? []) {
    const all = rounds.flatMap((round) => round.get(what) ?? [])
    const longest = Math.min(...rounds.map((round) => Math.max(...round.get(what) ?? [0])))
    const figures = [quantile(all, 0.5), quantile(all, 0.99), longest].map((us) => (us / 1000).toFixed(3).padStart(6))
    console.log(`  ${what.padEnd(30)}| ${String(all.length).padStart(8)} | ${figures.join(' | ')}`)
  }
}

async function measureOnce (id: string, size: number, count: number): Promise<Map<string, number[]>> {
  const epoch = String(await directory.create({
    id, principal: undefined, owner: 'node', createdAt: 0, lastAccessedAt: Date.now(), metadata: undefined, state: undefined
  }))
  const store = new RedisEventStore({
    commands: new RedisCommands({ redis, timeout: 60_000 }),
    id,
    bounds: { maxEvents: EVENTS, maxBytes: MAX_BYTES },
    epoch: () => epoch,
    ready: () => undefined,
    onUnavailable (error) { throw error },
    onLost () { throw new Error('The session is lost') }
  })
  const data = 'x'.repeat(size)
  const first = await store.append('stream', data, [])
  const append = async (times: number): Promise<void> => {
    for (let written = 0; written < times; written += BATCH) {
      await Promise.all(Array.from({ length: Math.min(BATCH, times - written) }, () => store.append('stream', data, [])))
    }
  }
  const resume = async (): Promise<void> => {
    const resumption = await store.after(first)
    let count = 0
    for await (const page of resumption?.pages() ?? []) count += page.length
    if (count === 0) throw new Error('There was nothing to resume')
  }
  const measures: Measure[] = [
    { what: 'keeping an event', run: () => append(count - 1) },
    { what: 'resuming from the first', run: resume },
    { what: 'keeping one in place of one', run: () => append(100) },
    { what: 'keeping one in place of many', run: () => store.append('stream', 'x'.repeat(MIB), []) },
    { what: 'ending the session', run: () => directory.remove(id, epoch) }
  ]
  const took = new Map<string, number[]>()
  for (const { what, run } of measures) {
    await redis.slowlog('RESET')
    await run()
    took.set(what, await readLog())
  }
  return took
}

/** Microseconds of each script. */
async function readLog (): Promise<number[]> {
  const entries: unknown = await redis.slowlog('GET', 100_000)
  return [entries].flat().flatMap((entry) => {
    const [, , took, [command]]: [unknown, unknown, unknown, unknown[]] = Array.isArray(entry) ? [entry[0], entry[1], entry[2], entry[3]] : [0, 0, 0, []]
    return /^eval/i.test(String(command)) ? [Number(took)] : []
  })
}
