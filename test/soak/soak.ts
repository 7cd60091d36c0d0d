import { Redis } from 'ioredis'
import { setTimeout as wait } from 'node:timers/promises'
import { createRandom } from '../helpers/chance/random.js'
import { RedisServer } from '../helpers/redis/redis-server.js'
import { SoakClient, type Outcome } from './client.js'
import type { SoakState } from './server.js'
import { SoakServer } from './soak-server.js'

export interface SoakOptions {
  readonly seed: number
  /** Milliseconds. */
  readonly duration: number
  /** Milliseconds between two lines. */
  readonly interval: number
  /** Idle milliseconds after which a session is gone, of our time. */
  readonly ttl: number
  readonly parkAfter: number
  readonly clients: number
  /** Bytes of heap that a server may hold more than before: what is compiled late, and caches. */
  readonly maxGrowth: number
  readonly say: (line: string) => void
}

export interface SoakVerdict {
  /** What is not as it should be. */
  readonly complaints: readonly string[]
  readonly requests: number
}

// How many times faster the time of the server goes that is alone.
const SPEED = 60
const WARM_UP = 5000
const MOST_COMPLAINTS = 20

/** Lets clients come and go, and compares what is left when all have gone with what was left before. */
export async function soak (options: SoakOptions): Promise<SoakVerdict> {
  const redis = await RedisServer.start()
  const store = new Redis(redis.url)
  const { ttl, parkAfter } = options
  // So few that some have to make room.
  const maxSessions = options.clients * 2
  const node = { redisPort: redis.port, ttl, parkAfter, speed: 1, maxSessions }
  const servers = await Promise.all([
    SoakServer.start('alone', { ttl: ttl * SPEED, parkAfter: parkAfter * SPEED, speed: SPEED, maxSessions }),
    SoakServer.start('node 1', node),
    SoakServer.start('node 2', node)
  ])
  try {
    return await new Soak(options, servers, store).run()
  } finally {
    store.disconnect()
    await Promise.all(servers.map((server) => server.stop()))
    await redis.stop()
  }
}

interface Sample {
  readonly states: readonly SoakState[]
  readonly keys: number
}

class Soak {
  readonly #options: SoakOptions
  readonly #servers: readonly SoakServer[]
  readonly #store: Redis
  readonly #complaints: string[] = []
  readonly #outcomes = new Map<string, number>()
  #requests = 0

  constructor (options: SoakOptions, servers: readonly SoakServer[], store: Redis) {
    this.#options = options
    this.#servers = servers
    this.#store = store
  }

  async run (): Promise<SoakVerdict> {
    const { duration, say } = this.#options
    await this.#live(WARM_UP)
    const before = await this.#rest()
    say(`at rest, before: ${describe(before)}`)
    await this.#live(duration)
    const after = await this.#rest()
    say(`at rest, after:  ${describe(after)}`)
    say(Array.from(this.#outcomes).sort().map(([what, count]) => `${what}: ${count}`).join(', '))
    this.#compare(before, after)
    return { complaints: this.#complaints, requests: this.#requests }
  }

  async #live (duration: number): Promise<void> {
    const { interval, say } = this.#options
    const leaving = new AbortController()
    const working = Promise.all(this.#createClients().map((client) => client.run(leaving.signal)))
    working.catch(() => {})
    const end = performance.now() + duration
    for (let line = 1; performance.now() < end; line++) {
      await Promise.race([wait(Math.min(interval, end - performance.now())), working])
      say(`${line}: ${describe(await this.#sample())}, ${this.#requests} requests`)
    }
    leaving.abort()
    await working
  }

  #createClients (): SoakClient[] {
    const { clients, seed, parkAfter } = this.#options
    const [alone, ...nodes] = this.#servers.map(({ url }) => url)
    return Array.from({ length: clients }, (_, index) => new SoakClient({
      // Two of a name at once, one alone and one in the cluster.
      name: `client ${index >> 1}`,
      urls: index % 2 === 0 && alone !== undefined ? [alone] : nodes,
      random: createRandom(seed + index),
      parkAfter,
      onOutcome: (outcome) => this.#note(outcome)
    }))
  }

  #note ({ what, status, complaint }: Outcome): void {
    const key = `${what} ${status ?? ''}`
    this.#requests++
    this.#outcomes.set(key, (this.#outcomes.get(key) ?? 0) + 1)
    if (complaint !== undefined) this.#complain(`${what}: ${complaint}`)
  }

  #complain (complaint: string): void {
    if (this.#complaints.length < MOST_COMPLAINTS) this.#complaints.push(complaint)
  }

  async #sample (): Promise<Sample> {
    return { states: await Promise.all(this.#servers.map((server) => server.ask())), keys: await this.#store.dbsize() }
  }

  // All clients have gone: their sessions expire, and then what Redis keeps of them for a while.
  async #rest (): Promise<Sample> {
    const { ttl } = this.#options
    const deadline = performance.now() + ttl * 3 + 15_000
    let last = Infinity
    let sample = await this.#sample()
    while (performance.now() < deadline && !(sample.states.every(isAtRest) && sample.keys === last)) {
      last = sample.keys
      await wait(ttl / 2)
      sample = await this.#sample()
    }
    return sample
  }

  #compare (before: Sample, after: Sample): void {
    for (const [index, { name }] of this.#servers.entries()) {
      const [was, is] = [before.states[index], after.states[index]]
      if (was === undefined || is === undefined) continue
      if (!isAtRest(is)) this.#complain(`${name} has ${is.sessions} sessions, ${is.running} requests, ${is.parked} parked and ${is.connections} connections of clients that have gone`)
      if (is.handles > was.handles) this.#complain(`${name} has ${is.handles} handles, and had ${was.handles}`)
      if (is.heap - was.heap > this.#options.maxGrowth) this.#complain(`${name} holds ${toMB(is.heap)} MB of heap, and held ${toMB(was.heap)}`)
    }
    if (after.keys > before.keys) this.#complain(`Redis has ${after.keys} keys, and had ${before.keys}`)
  }
}

function isAtRest ({ sessions, running, parked, connections }: SoakState): boolean {
  return sessions === 0 && running === 0 && parked === 0 && connections === 0
}

function describe ({ states, keys }: Sample): string {
  const column = (read: (state: SoakState) => number | string): string => states.map(read).join('/')
  return `sessions ${column(({ sessions }) => sessions)}, parked ${column(({ parked }) => parked)}, heap ${column(({ heap }) => toMB(heap))} MB, handles ${column(({ handles }) => handles)}, ${keys} keys`
}

function toMB (bytes: number): string {
  return (bytes / 1e6).toFixed(1)
}
