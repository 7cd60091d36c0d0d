import { setTimeout as wait } from 'node:timers/promises'
import type { Random } from '../helpers/chance/random.js'
import { DEPLOY } from './checker.js'
import type { CountingClient } from './counting-client.js'
import type { FaultTraits } from './history.js'
import type { Scene, SceneNode } from './scene.js'
import { forgetEverything, type StoreKind } from './stores.js'

/** Something bad that happens to a cluster. */
export interface Nemesis {
  readonly name: string
  /** How many nodes it happens to. One more must be there. */
  readonly nodes: number
  /** Whether it happens to Redis. */
  readonly isOfStore?: true
  /** What Redis must be like. Left out: anything. */
  readonly stores?: readonly StoreKind[]
  /** Resolves when all is well again, as far as others are concerned. */
  strike: (scene: Scene, nodes: readonly SceneNode[], random: Random) => Promise<void>
}

const HOUR = 3_600_000

export const nemeses: readonly Nemesis[] = [
  {
    name: 'kill',
    nodes: 1,
    strike: (scene, nodes, random) => kill('kill', scene, nodes, random)
  },
  {
    name: 'quick-restart',
    nodes: 1,
    strike: (scene, nodes) => outOfAction(scene, 'quick-restart', nodes, async () => {
      await Promise.all(nodes.map(restart))
    })
  },
  {
    name: 'two-at-once',
    nodes: 2,
    strike: (scene, nodes, random) => kill('two-at-once', scene, nodes, random)
  },
  {
    name: 'rolling-restart',
    nodes: 1,
    async strike (scene, [first], random) {
      // The others, too, one after the other; those to which something else is done are left out.
      if (first !== undefined) await deploy(scene, first)
      for (const node of scene.nodes) {
        if (node === first || node.isTaken) continue
        node.isTaken = true
        await deploy(scene, node)
        node.isTaken = false
        await wait(random.below(scene.options.lease))
      }
    }
  },
  {
    name: 'pause',
    nodes: 1,
    strike: (scene, nodes, random) => freeze(scene, 'pause', nodes, random.below(scene.options.lease * 0.8))
  },
  {
    name: 'long-pause',
    nodes: 1,
    strike: (scene, nodes, random) => freeze(scene, 'long-pause', nodes, scene.options.lease * 1.1 + random.below(2 * scene.options.lease))
  },
  {
    name: 'two-pauses',
    nodes: 2,
    strike: (scene, nodes, random) => freeze(scene, 'two-pauses', nodes, scene.options.lease * 1.1 + random.below(2 * scene.options.lease))
  },
  {
    name: 'blocked-loop',
    nodes: 1,
    strike: (scene, nodes, random) => outOfAction(scene, 'blocked-loop', nodes, async () => {
      const duration = scene.options.lease * 1.1 + random.below(scene.options.lease)
      for (const { process } of nodes) process.block(duration)
      await wait(duration + scene.options.lease / 2)
    }, true)
  },
  {
    name: 'wrong-clock',
    nodes: 1,
    async strike (scene, nodes, random) {
      await outOfAction(scene, 'wrong-clock', nodes, () => Promise.all(nodes.map((node) => restart(node, HOUR))))
      await wait(scene.options.lease + random.below(2 * scene.options.lease))
      await outOfAction(scene, 'right-clock', nodes, () => Promise.all(nodes.map((node) => restart(node))))
    }
  },
  {
    name: 'redis-pause',
    nodes: 0,
    isOfStore: true,
    strike: (scene, _nodes, random) => happens(scene, 'redis-pause', async () => {
      for (const server of scene.store.servers) server.freeze()
      await wait(random.below(2.5 * scene.options.lease))
      for (const server of scene.store.servers) server.thaw()
      await scene.store.whenWhole?.()
      // The Sentinel may have put the replica in the master's place.
    }, scene.store.kind === 'sentinel' ? { loses: 'latest', isDoubted: true } : {})
  },
  {
    name: 'redis-cut',
    nodes: 0,
    isOfStore: true,
    stores: ['alone', 'persistent'],
    strike: (scene, _nodes, random) => cutRedis(scene, 'redis-cut', scene.nodes, random)
  },
  {
    name: 'one-cut-from-redis',
    nodes: 1,
    stores: ['alone', 'persistent'],
    strike: (scene, nodes, random) => cutRedis(scene, 'one-cut-from-redis', nodes, random)
  },
  {
    name: 'redis-killed',
    nodes: 0,
    isOfStore: true,
    stores: ['alone', 'persistent'],
    async strike (scene, _nodes, random) {
      const end = scene.history.begin('redis-killed', { loses: scene.store.kind === 'alone' ? 'everything' : 'nothing', isDoubted: true })
      await Promise.all(scene.store.servers.map((server) => server.kill()))
      await wait(random.below(2 * scene.options.lease))
      await Promise.all(scene.store.servers.map((server) => server.start()))
      end()
    }
  },
  {
    name: 'flushall',
    nodes: 0,
    isOfStore: true,
    async strike (scene) {
      const end = scene.history.begin('flushall', { loses: 'everything', isDoubted: true })
      await forgetEverything(scene.store)
      end()
      // Nodes find it out within a third of a lease; what they have written again by then is safe.
      await wait(scene.options.lease)
    }
  },
  {
    name: 'failover',
    nodes: 0,
    isOfStore: true,
    stores: ['sentinel'],
    async strike (scene) {
      const end = scene.history.begin('failover', { loses: 'latest', isDoubted: true })
      await scene.store.failOver?.()
      end()
    }
  },
  {
    name: 'peer-cut',
    nodes: 1,
    strike: (scene, nodes, random) => happens(scene, 'peer-cut', async () => {
      for (const { inbound } of nodes) inbound.cut()
      await wait(random.below(3 * scene.options.lease))
      for (const { inbound } of nodes) inbound.open()
    }, { isBetweenNodes: true })
  },
  {
    name: 'peer-silent',
    nodes: 1,
    strike: (scene, nodes, random) => happens(scene, 'peer-silent', async () => {
      for (const { inbound } of nodes) inbound.silence()
      // Long enough for a request to wait longer than it may.
      await wait(scene.longestWait + random.below(2 * scene.options.lease))
      for (const { inbound } of nodes) inbound.open()
    }, { isBetweenNodes: true })
  },
  {
    name: 'peer-slow',
    nodes: 1,
    strike: (scene, nodes, random) => happens(scene, 'peer-slow', async () => {
      for (const { inbound } of nodes) inbound.slowDown(20 + random.below(300))
      await wait(random.below(3 * scene.options.lease))
      for (const { inbound } of nodes) inbound.open()
    })
  },
  {
    name: 'deletes-in-a-takeover',
    nodes: 1,
    async strike (scene, nodes, random) {
      const bereft = await clientsOf(scene, nodes)
      await outOfAction(scene, 'deletes-in-a-takeover', nodes, async () => {
        await Promise.all(nodes.map(({ process }) => process.end('SIGKILL')))
        // Right when the lease ends, the others take over.
        await wait(Math.max(0, scene.options.lease - 300 + random.below(400)))
        await Promise.all(bereft.slice(0, 5).map((client) => client.endAmongCalls()))
        await Promise.all(nodes.map(({ process }) => process.start()))
      })
    }
  },
  {
    name: 'expiry-in-a-takeover',
    nodes: 1,
    async strike (scene, nodes, random) {
      const { lease, ttl } = scene.options
      const resting = (await clientsOf(scene, nodes)).slice(0, 5)
      for (const client of resting) client.rest(ttl + lease)
      await wait(ttl - lease - 500 + random.below(600))
      await outOfAction(scene, 'expiry-in-a-takeover', nodes, async () => {
        await Promise.all(nodes.map(({ process }) => process.end('SIGKILL')))
        await wait(Math.max(0, lease - 200 + random.below(400)))
        await Promise.all(resting.flatMap((client) => scene.nodes.map(({ index }) => client.session === '' ? undefined : client.count(index))))
        await Promise.all(nodes.map(({ process }) => process.start()))
      })
    }
  }
]

async function happens (scene: Scene, name: string, action: () => Promise<unknown>, traits: FaultTraits = {}): Promise<void> {
  const end = scene.history.begin(name, traits)
  await action()
  end()
}

/** The nodes are no good meanwhile, and a load balancer would know. */
async function outOfAction (scene: Scene, name: string, nodes: readonly SceneNode[], action: () => Promise<unknown>, isSilent = false): Promise<void> {
  const end = scene.history.begin(name, { nodes: nodes.map(({ index }) => index), isSilent })
  for (const node of nodes) node.isReady = false
  await action()
  for (const node of nodes) node.isReady = true
  end()
}

function kill (name: string, scene: Scene, nodes: readonly SceneNode[], random: Random): Promise<void> {
  return outOfAction(scene, name, nodes, async () => {
    await Promise.all(nodes.map(({ process }) => process.end('SIGKILL')))
    await wait(random.below(2 * scene.options.lease))
    await Promise.all(nodes.map(({ process }) => process.start()))
  })
}

function freeze (scene: Scene, name: string, nodes: readonly SceneNode[], duration: number): Promise<void> {
  return outOfAction(scene, name, nodes, async () => {
    for (const { process } of nodes) process.freeze()
    await wait(duration)
    for (const { process } of nodes) process.thaw()
  }, true)
}

async function restart ({ process }: SceneNode, clockShift = 0): Promise<void> {
  await process.end('SIGKILL')
  await process.start(clockShift)
}

function deploy (scene: Scene, node: SceneNode): Promise<void> {
  return outOfAction(scene, DEPLOY, [node], async () => {
    await node.process.end('SIGTERM')
    await node.process.start()
  })
}

async function cutRedis (scene: Scene, name: string, nodes: readonly SceneNode[], random: Random): Promise<void> {
  const isSilent = random.below(2) === 0
  await happens(scene, isSilent ? `${name}, silent` : name, async () => {
    for (const { toRedis } of nodes) {
      if (isSilent) toRedis?.silence()
      else toRedis?.cut()
    }
    await wait(random.below(2.5 * scene.options.lease))
    for (const { toRedis } of nodes) toRedis?.open()
  })
}

/** The clients whose sessions live on these nodes. */
async function clientsOf (scene: Scene, nodes: readonly SceneNode[]): Promise<CountingClient[]> {
  const lists = await Promise.all(nodes.map(({ process }) => process.sessions()))
  const ids = new Set(lists.flat().map(({ id }) => id))
  return scene.clients.filter(({ session }) => ids.has(session))
}
