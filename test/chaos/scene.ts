import { ClusterNode } from '../helpers/cluster/cluster.js'
import { freePort } from '../helpers/redis/redis-server.js'
import { createRandom, type Random } from '../helpers/chance/random.js'
import { CountingClient } from './counting-client.js'
import { History } from './history.js'
import { startStore, type Store, type StoreKind } from './stores.js'
import { TcpLink } from './tcp-link.js'

export interface SceneOptions {
  seed: number
  store: StoreKind
  /** Milliseconds. */
  lease: number
  /** Idle milliseconds after which a session is gone. */
  ttl: number
  nodes: number
  clients: number
  /** Milliseconds between two calls of a client, on average. */
  pace: number
}

/** One request in so many goes to a node that is known to be away: a load balancer is late, too. */
const LATE = 20
// More than a request may take at most, so that one which takes longer is seen.
const EXTRA_PATIENCE = 2000

// So short that connections which nobody uses are gone when the scene is at rest.
const KEEP_ALIVE = 3000
// The same for sessions whose time is over.
const CLEANUP_INTERVAL = 1000

export interface SceneNode {
  readonly index: number
  readonly process: ClusterNode
  /** The way of the other nodes to this one. */
  readonly inbound: TcpLink
  /** The way of this node to Redis. With Sentinels or a Redis Cluster there is none that could be cut: they name their addresses themselves. */
  readonly toRedis: TcpLink | undefined
  isReady: boolean
  /** Whether something is done to it right now. */
  isTaken: boolean
}

/** The processes, the ways between them, and the clients: all that something can be done to. */
export class Scene {
  readonly options: SceneOptions
  readonly store: Store
  readonly nodes: readonly SceneNode[]
  readonly clients: readonly CountingClient[]
  readonly history = new History()
  readonly #random: Random
  #isStoreTaken = false

  private constructor (options: SceneOptions, store: Store, nodes: readonly SceneNode[]) {
    this.options = options
    this.store = store
    this.nodes = nodes
    this.#random = createRandom(options.seed)
    this.clients = Array.from({ length: options.clients }, (_, i) => new CountingClient({
      urls: nodes.map(({ process }) => process.url),
      pickNode: () => this.#pickNode(),
      history: this.history,
      random: createRandom(options.seed + i + 1),
      pace: options.pace,
      patience: this.longestWait + EXTRA_PATIENCE
    }))
  }

  static async start (options: SceneOptions): Promise<Scene> {
    const store = await startStore(options.store)
    try {
      const nodes: SceneNode[] = []
      for (let index = 0; index < options.nodes; index++) nodes.push(await prepareNode(index, store, options))
      await Promise.all(nodes.map(({ process }) => process.start()))
      return new Scene(options, store, nodes)
    } catch (error) {
      await store.stop()
      throw error
    }
  }

  /** Milliseconds that a request may take. */
  get longestWait (): number {
    return this.options.lease + 3000
  }

  /** Nodes to which nothing is done right now, for one who means to do something: at least one is always left alone. */
  takeNodes (count: number, random: Random): SceneNode[] | undefined {
    const free = this.nodes.filter(({ isTaken }) => !isTaken)
    if (free.length <= count) return undefined
    const taken: SceneNode[] = []
    while (taken.length < count) {
      const node = free.splice(random.below(free.length), 1)[0]
      if (node !== undefined) taken.push(node)
    }
    for (const node of taken) node.isTaken = true
    return taken
  }

  giveBack (nodes: readonly SceneNode[]): void {
    for (const node of nodes) node.isTaken = false
  }

  takeStore (): boolean {
    if (this.#isStoreTaken) return false
    this.#isStoreTaken = true
    return true
  }

  giveStoreBack (): void {
    this.#isStoreTaken = false
  }

  async stop (): Promise<void> {
    await Promise.all(this.nodes.map(async ({ process, inbound, toRedis }) => {
      await process.end('SIGKILL')
      await inbound.close()
      await toRedis?.close()
    }))
    await this.store.stop()
  }

  #pickNode (): number {
    const ready = this.nodes.filter(({ isReady }) => isReady)
    const among = this.#random.below(LATE) === 0 || ready.length === 0 ? this.nodes : ready
    return this.#random.pick(among)?.index ?? 0
  }
}

async function prepareNode (index: number, store: Store, { lease, ttl }: SceneOptions): Promise<SceneNode> {
  const port = await freePort()
  const inbound = await TcpLink.to(port, true)
  const { address } = store
  const toRedis = address.kind === 'alone' ? await TcpLink.to(Number(address.ports[0])) : undefined
  const process = new ClusterNode({
    port,
    redis: toRedis === undefined ? address : { kind: 'alone', ports: [toRedis.port] },
    lease,
    isLinked: true,
    advertise: `http://127.0.0.1:${inbound.port}`,
    plugin: { ttl, cleanupInterval: CLEANUP_INTERVAL, drainTimeout: 3000 },
    keepAliveTimeout: KEEP_ALIVE
  })
  return { index, process, inbound, toRedis, isReady: true, isTaken: false }
}
