// What must hold when nothing goes wrong any more: every session is served again, in one place, and when the
// sessions have ended, nothing is left of them.
import { setTimeout as wait } from 'node:timers/promises'
import { ALL_SHARDS } from '../../lib/cluster/redis/shards.js'
import type { Violation } from './checker.js'
import type { Scene } from './scene.js'
import { endlessKeys } from './stores.js'

// How long the cluster may take to come to rest, in milliseconds: connections that are kept idle end after 4 s.
const TIME_TO_REST = 8000
const POLL = 100
// Made once, and for all sessions.
const KEPT_KEYS: ReadonlySet<string> = new Set(['mcp:history', ...ALL_SHARDS.map((shard) => `mcp:history:{${shard}}`)])
// What may be there or not at any moment: the next renewal of a lease, and the like.
const FLUCTUATION = 2

/** How much keeps each node's event loop alive when there is nothing to do, by kind. */
export type Idle = ReadonlyArray<ReadonlyMap<string, number>>

export async function measureIdle (scene: Scene): Promise<Idle> {
  const reports = await Promise.all(scene.nodes.map(({ process }) => process.report()))
  return reports.map(({ resources }) => countKinds(resources))
}

export async function findLeftovers (scene: Scene, idle: Idle): Promise<Violation[]> {
  const unserved = await callEverywhere(scene)
  const doubled = await whenEmpty(() => findDoubled(scene))
  const unending = await endAll(scene)
  const leftovers = await whenEmpty(async () => [...await findKeptResources(scene, idle), ...await findLiveSessions(scene)])
  const keys = (await endlessKeys(scene.store)).filter((key) => !KEPT_KEYS.has(key))
  const codes = await Promise.all(scene.nodes.map(({ process }) => process.end('SIGTERM').catch(() => 'does not end')))
  return [
    ...unserved,
    ...unending,
    ...doubled.map((detail) => leftover('at rest each session lives on one node', detail)),
    ...leftovers.map((detail) => leftover('at rest nothing is left', detail)),
    ...keys.map((key) => leftover('every key has an end', key)),
    ...codes.filter((code) => code !== 0).map((code) => leftover('a node that is told to stop ends', String(code)))
  ]
}

async function callEverywhere ({ clients, nodes }: Scene): Promise<Violation[]> {
  const found: Violation[] = []
  await Promise.all(clients.map(async (client) => {
    if (client.session === '') await client.open()
    for (const { index } of nodes) {
      const { status, session, said } = await client.count(index)
      // Whether it may be gone is judged with all that has happened to it.
      if (status === 404) return
      if (status !== 200) found.push({ promise: 'at rest every session is served everywhere', session, detail: `status ${status} from node ${index}: ${said}` })
    }
  }))
  return found
}

async function liveIds ({ nodes }: Scene): Promise<string[]> {
  const lists = await Promise.all(nodes.map(({ process }) => process.sessions()))
  return lists.flat().map(({ id }) => id)
}

async function findDoubled (scene: Scene): Promise<string[]> {
  const ids = await liveIds(scene)
  return ids.filter((id, i) => ids.indexOf(id) !== i)
}

// Those, too, of which the client never heard: the answer to its `initialize` was lost.
async function endAll (scene: Scene): Promise<Violation[]> {
  const [first] = scene.nodes
  const found: Violation[] = []
  await Promise.all(scene.clients.map((client) => client.session === '' ? undefined : client.end()))
  for (const session of await liveIds(scene)) {
    const response = await fetch(String(first?.process.url), { method: 'DELETE', headers: { 'mcp-session-id': session } })
    const body = await response.text()
    // Its time may be over just now.
    if (!response.ok && response.status !== 404) found.push({ promise: 'at rest whatever lives can be ended', session, detail: `status ${response.status}: ${body}` })
  }
  return found
}

async function findKeptResources ({ nodes, store }: Scene, idle: Idle): Promise<string[]> {
  const found: string[] = []
  const reports = await Promise.all(nodes.map(({ process }) => process.report()))
  // The client of a Redis Cluster connects to a server when it has something for it, and stays.
  const late = store.kind === 'cluster' ? store.servers.length : 0
  for (const [i, { resources }] of reports.entries()) {
    for (const [kind, count] of countKinds(resources)) {
      const before = idle[i]?.get(kind) ?? 0
      if (count > before + FLUCTUATION + late) found.push(`node ${i} holds ${count} ${kind}, ${before} when it was new`)
    }
  }
  return found
}

async function findLiveSessions (scene: Scene): Promise<string[]> {
  const ids = await liveIds(scene)
  return ids.length === 0 ? [] : [`${ids.length} sessions live, such as ${ids[0]}`]
}

/** What is found still after a while. */
async function whenEmpty (find: () => Promise<string[]>): Promise<string[]> {
  const end = performance.now() + TIME_TO_REST
  let found = await find()
  while (found.length > 0 && performance.now() < end) {
    await wait(POLL)
    found = await find()
  }
  return found
}

function leftover (promise: string, detail: string): Violation {
  return { promise, session: '', detail }
}

function countKinds (resources: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const kind of resources) counts.set(kind, (counts.get(kind) ?? 0) + 1)
  return counts
}
