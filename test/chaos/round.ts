import { setTimeout as wait } from 'node:timers/promises'
import { createRandom, type Random } from '../helpers/chance/random.js'
import { findViolations, stoodStill, type Violation } from './checker.js'
import type { History, Operation } from './history.js'
import { nemeses, type Nemesis } from './nemeses.js'
import { findLeftovers, measureIdle } from './rest.js'
import { Scene, type SceneOptions } from './scene.js'

export interface RoundOptions extends SceneOptions {
  /** Milliseconds in which things go wrong. */
  duration: number
  /** What goes wrong, by name; of more than one, two at a time. Left out: all that can. */
  nemeses?: readonly string[] | undefined
  say: (line: string) => void
}

export interface Verdict {
  violations: Violation[]
  /** How many requests were answered with which status and code; `none`: they got no answer. */
  statuses: Record<string, number>
  sessions: number
  /** How often each thing went wrong. */
  faults: Record<string, number>
  /** What happened to one of the sessions of which something was not kept, and the faults around it. */
  traceOf: (session: string) => string[]
  /** The answer that took longest, of a node that did not stand still. */
  longest: string
}

// Of a session of which something was not kept, this many of its last requests are told, and what went wrong up to so many
// milliseconds before them.
const TRACED = 25
const AFTERMATH = 15_000

/** Lets things go wrong for a while, then lets the cluster come to rest, and says what it has promised and not kept. */
export async function playRound (options: RoundOptions): Promise<Verdict> {
  const scene = await Scene.start(options)
  try {
    const idle = await measureIdle(scene)
    const over = new AbortController()
    const traffic = Promise.all(scene.clients.map((client) => client.run(over.signal)))
    await wait(options.lease)
    await strikeFor(scene, options)
    await wait(2 * options.lease + 1000)
    over.abort()
    await traffic
    const leftovers = await findLeftovers(scene, idle)
    const { lease, ttl } = options
    return judge(scene, [...findViolations(scene.history, { lease, ttl, longestWait: scene.longestWait }), ...leftovers])
  } finally {
    await scene.stop()
  }
}

async function strikeFor (scene: Scene, { duration, nemeses: names, seed, say }: RoundOptions): Promise<void> {
  const choice = nemeses.filter(({ name, stores }) => (names?.includes(name) ?? true) && (stores?.includes(scene.store.kind) ?? true))
  if (choice.length === 0) throw new Error(`There is no nemesis ${names?.join(', ')} for this Redis, only ${nemeses.map(({ name }) => name).join(', ')}`)
  const begin = performance.now()
  const hands = choice.length > 1 ? [1, 2] : [1]
  await Promise.all(hands.map(async (hand) => {
    const random = createRandom(seed * 7 + hand)
    while (performance.now() - begin < duration) {
      const next = random.pick(choice)
      const since = ((performance.now() - begin) / 1000).toFixed(1)
      if (next !== undefined && await strike(scene, next, random, (nodes) => say(`${since} s: ${[next.name, ...nodes].join(' ')}`))) {
        await wait(random.below(2 * scene.options.lease))
      } else {
        await wait(100)
      }
    }
  }))
}

// False: something else is being done there.
async function strike (scene: Scene, nemesis: Nemesis, random: Random, say: (nodes: number[]) => void): Promise<boolean> {
  const nodes = nemesis.nodes === 0 ? [] : scene.takeNodes(nemesis.nodes, random)
  if (nodes === undefined) return false
  const isFree = nemesis.isOfStore !== true || scene.takeStore()
  if (isFree) {
    say(nodes.map(({ index }) => index))
    await nemesis.strike(scene, nodes, random)
    if (nemesis.isOfStore === true) scene.giveStoreBack()
  }
  scene.giveBack(nodes)
  return isFree
}

function judge ({ history }: Scene, violations: Violation[]): Verdict {
  const { operations, faults } = history
  const answered = operations.filter((operation) => operation.status !== undefined && !stoodStill(operation, faults))
  return {
    violations,
    statuses: countBy(operations.map(nameOutcome)),
    sessions: new Set(operations.map(({ session }) => session)).size,
    faults: countBy(faults.map(({ name }) => name)),
    traceOf: (session) => trace(history, session),
    longest: answered.length === 0 ? 'none' : describe(answered.reduce((a, b) => b.over - b.sent > a.over - a.sent ? b : a))
  }
}

function trace ({ operations, faults }: History, session: string): string[] {
  const own = operations.filter((operation) => operation.session === session)
    .sort((a, b) => a.sent - b.sent)
    .slice(-TRACED)
  const since = (own[0]?.sent ?? 0) - AFTERMATH
  const lines: Array<[number, string]> = [
    ...own.map((operation): [number, string] => [operation.sent, describe(operation)]),
    ...faults.filter(({ to }) => to > since).map(({ name, nodes, from, to }): [number, string] => [from, `${at(from)} to ${at(to)}: ${[name, ...nodes].join(' ')}`])
  ]
  return lines.sort(([a], [b]) => a - b).map(([, line]) => line)
}

function describe (operation: Operation): string {
  const { kind, node, sent, over, count = '', instance = '' } = operation
  return `${at(sent)} to ${at(over)}: ${kind} at node ${node}: ${nameOutcome(operation)} ${count} ${instance.slice(0, 4)}`.trimEnd()
}

function at (time: number): string {
  return (time / 1000).toFixed(2)
}

// The code of an error is in its body.
function nameOutcome ({ status, said }: Operation): string {
  const [code = ''] = /FST_\w+/.exec(said ?? '') ?? []
  return `${status ?? 'none'} ${code.replace('FST_ERR_MCP_SESSION_', '')}`.trim()
}

function countBy (names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1
  return counts
}
