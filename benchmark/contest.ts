import { isInstalled } from './installed.js'
import { McpLoad } from './mcp-load.js'
import { ServerProcess, useCpu } from './server-process.js'
import { setting } from './settings.js'
import { alternate, describe } from './statistics.js'

/** What serves `/mcp`: the arguments of measure/endpoint-server.ts. */
const entrants = {
  'mcpEndpoint sse': ['endpoint', 'sse'],
  'mcpEndpoint auto': ['endpoint', 'auto'],
  'telemetry off': ['telemetry', 'auto', 'off'],
  metrics: ['telemetry', 'auto', 'metrics'],
  'spans dropped': ['telemetry', 'auto', 'dropped'],
  'spans batched': ['telemetry', 'auto', 'batched'],
  'metrics and spans': ['telemetry', 'auto', 'both'],
  'bare context': ['telemetry', 'auto', 'bare-context'],
  'bare histogram': ['telemetry', 'auto', 'bare-histogram'],
  'bare spans dropped': ['telemetry', 'auto', 'bare-dropped'],
  'bare spans batched': ['telemetry', 'auto', 'bare-batched'],
  'bare metrics and spans': ['telemetry', 'auto', 'bare-both'],
  'HTTP spans': ['telemetry', 'auto', 'http'],
  'HTTP spans, metrics and spans': ['telemetry', 'auto', 'http-both'],
  'by hand sse': ['by-hand', 'sse'],
  'by hand json': ['by-hand', 'json'],
  'fastify-mcp': ['fastify-mcp'],
  '@platformatic/mcp': ['platformatic-mcp'],
  'mcpEndpoint auto, stub': ['stub', 'auto'],
  'bare Fastify, server': ['bare-server', 'json'],
  'mcpEndpoint auto, shared validator': ['endpoint', 'auto', 'shared'],
  'mcpEndpoint auto, reused': ['endpoint', 'auto', 'reused'],
  'by hand sse, shared validator': ['by-hand', 'sse', 'shared'],
  'bare Fastify, server, shared validator': ['bare-server', 'json', 'shared'],
  'bare Fastify': ['bare']
} as const

/** What serves the public workload: the arguments of measure/shop-server.ts. */
const shops = {
  'bare Fastify with the shop': ['bare', '1', 'once'],
  'mcpEndpoint, SDK 1, reused': ['endpoint', '1', 'reused'],
  'mcpEndpoint, SDK 1, made once': ['endpoint', '1', 'once'],
  'mcpEndpoint, SDK 1': ['endpoint', '1', 'each'],
  'by hand, SDK 1, made once': ['by-hand', '1', 'once'],
  'by hand, SDK 1': ['by-hand', '1', 'each'],
  'server per request, SDK 1, made once': ['per-request', '1', 'once'],
  'server per request, SDK 1': ['per-request', '1', 'each'],
  'mcpEndpoint, SDK 2, reused': ['endpoint', '2', 'reused'],
  'mcpEndpoint, SDK 2, made once': ['endpoint', '2', 'once'],
  'mcpEndpoint, SDK 2': ['endpoint', '2', 'each'],
  'by hand, SDK 2, made once': ['by-hand', '2', 'once'],
  'by hand, SDK 2': ['by-hand', '2', 'each'],
  'server per request, SDK 2, made once': ['per-request', '2', 'once'],
  'server per request, SDK 2': ['per-request', '2', 'each']
} as const

/** The same with OpenTelemetry, or with its providers alone. */
const observedShops = {
  'shop, telemetry off': ['endpoint', '1', 'once', 'off'],
  'shop, metrics and spans': ['endpoint', '1', 'once', 'both'],
  'shop, HTTP spans': ['endpoint', '1', 'once', 'http'],
  'shop, HTTP spans, metrics and spans': ['endpoint', '1', 'once', 'http-both']
} as const

/** What serves clients of 2026-07-28: the arguments of measure/modern-server.ts. */
const moderns = {
  'mcpEndpoint, modern': ['endpoint', 'each'],
  'SDK 2 under node:http': ['handler', 'each'],
  'mcpEndpoint, modern, made once': ['endpoint', 'once'],
  'SDK 2 under node:http, made once': ['handler', 'once'],
  '100 tools': ['endpoint', 'many'],
  '100 tools, memoiseSchema': ['endpoint', 'memoised']
} as const

export type Shop = keyof typeof shops
type ObservedShop = keyof typeof observedShops
type Modern = keyof typeof moderns
export type Name = keyof typeof entrants | Shop | ObservedShop | Modern

export const shopNames = Object.keys(shops).filter(isShop)

/** A server, and its clients. */
export interface Entrant {
  readonly name: Name
  readonly server: ServerProcess
  readonly load: McpLoad
}

export interface Work<Result = unknown> {
  /** How often it is done before anything is measured, and in each round. */
  readonly warmUp: number
  readonly count: number
  /** Default `ROUNDS`. */
  readonly rounds?: number
  /** Connections of each server's clients. */
  readonly connections?: number
  /** Of the servers: what they are told beside who they are. */
  readonly args?: readonly string[]
  /** Called once for each server; does the work so many times whenever it is asked. */
  prepare (entrant: Entrant): Promise<(count: number) => Promise<Result>>
  /** Makes what was done undone, which is not measured. */
  undo? (entrant: Entrant, result: Result): Promise<unknown>
}

export const FLEETS = setting('FLEETS', 3, 1)
export const ROUNDS = setting('ROUNDS', 40, 10)

/** What the same work costs several servers, in microseconds of CPU time each time. */
export class Contest {
  readonly #times = new Map<Name, number[]>()

  /** Lets all that are installed do the work in turn, round by round. */
  static async hold<Result> (names: readonly Name[], work: Work<Result>): Promise<Contest> {
    const contest = new Contest()
    const present = names.filter((name) => isInstalled(packageOf(name)))
    for (let fleet = 0; fleet < FLEETS; fleet++) {
      // No two processes of the same server are equally fast.
      const entrants = await Promise.all(present.map((name) => start(name, work)))
      const measurements: Array<() => Promise<number>> = []
      for (const entrant of entrants) {
        const perform = await work.prepare(entrant)
        await work.undo?.(entrant, await perform(work.warmUp))
        measurements.push(async () => {
          const { cpu, result } = await useCpu([entrant.server], () => perform(work.count))
          await work.undo?.(entrant, result)
          return cpu / work.count
        })
      }
      for (const row of await alternate(work.rounds ?? ROUNDS, measurements)) contest.#add(present, row)
      await Promise.all(entrants.map(stop))
    }
    return contest
  }

  /** Prints what each costs, and the head of what `compare` prints. */
  print (title: string, names: readonly Name[], noteOf: (name: Name) => string = () => ''): void {
    console.log(title)
    for (const name of names) this.#printOne(name, noteOf(name))
    console.log('of each other, in the same round')
  }

  #printOne (name: Name, note: string): void {
    const times = this.#times.get(name)
    console.log(`  ${name.padEnd(38)} ${times === undefined ? 'is not installed: see README.md' : `${describe(times, 0, ' µs')}${note}`}`)
  }

  /** Prints what one costs, of what the other costs in the same round. */
  compare (name: Name, other: Name, wanted?: number): void {
    const [times, others] = [this.#times.get(name), this.#times.get(other)]
    if (times === undefined || others === undefined) return
    const ratios = times.map((time, index) => time / (others[index] ?? NaN))
    const goal = wanted === undefined ? '' : `, wanted <= ${wanted}`
    console.log(`  ${`${name} / ${other}`.padEnd(72)} ${describe(ratios)}${goal}`)
  }

  #add (names: readonly Name[], row: readonly number[]): void {
    for (const [index, name] of names.entries()) {
      this.#times.set(name, [...this.#times.get(name) ?? [], row[index] ?? NaN])
    }
  }
}

export async function start (name: Name, { args = [], connections }: Pick<Work, 'args' | 'connections'> = {}): Promise<Entrant> {
  const server = await startServer(name, args)
  return { name, server, load: await McpLoad.open(server.url, connections) }
}

function startServer (name: Name, args: readonly string[]): Promise<ServerProcess> {
  if (isShop(name)) return ServerProcess.start('shop-server', ...args, ...shops[name])
  if (isObservedShop(name)) return ServerProcess.start('shop-server', ...args, ...observedShops[name])
  if (isModern(name)) return ServerProcess.start('modern-server', ...moderns[name])
  return ServerProcess.start('endpoint-server', ...entrants[name])
}

function isShop (name: string): name is Shop {
  return name in shops
}

function isObservedShop (name: string): name is ObservedShop {
  return name in observedShops
}

function isModern (name: string): name is Modern {
  return name in moderns
}

/** The package of this folder that an entrant needs. */
function packageOf (name: Name): string | undefined {
  if (name === 'fastify-mcp' || name === '@platformatic/mcp') return name
  return name.includes('node:http') ? '@modelcontextprotocol/node' : undefined
}

export async function stop ({ server, load }: Entrant): Promise<void> {
  load.close()
  await server.stop()
}
