import { mock } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import type { Test } from 'tap'
import { Endings } from '../../lib/cluster/outbox.js'
import { Holdings } from '../../lib/cluster/owned-sessions.js'
import { Membership } from '../../lib/cluster/lease.js'
import { SessionManager, type SessionManagerOptions } from '../../lib/session/session-manager.js'
import { MemoryDirectory } from './memory-directory.js'

export const LEASE = 3000

/** One node of a cluster over a directory in memory. */
export interface SceneNode {
  sessions: SessionManager
  membership: Membership
  endings: Endings
  holdings: Holdings
  /** Sessions that were closed here, and why. */
  closed: string[]
  /** What was logged. */
  errors: string[]
}

export interface Scene {
  directory: MemoryDirectory
  addNode: (options?: SessionManagerOptions) => Promise<SceneNode>
  /** Lets time pass, and what comes due happen. */
  pass: (ms: number) => Promise<void>
  /** Lets all happen that needs no time. */
  settle: () => Promise<void>
}

export function buildScene (t: Test, ttl = 3_600_000): Scene {
  mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'], now: 1_000_000 })
  const nodes: SceneNode[] = []
  t.teardown(async () => {
    for (const { membership } of nodes) await membership.leave()
    mock.timers.reset()
  })
  const directory = new MemoryDirectory({ ttl })

  async function settle (): Promise<void> {
    for (let i = 0; i < 10; i++) await turn()
  }

  async function addNode (options: SessionManagerOptions = {}): Promise<SceneNode> {
    const errors: string[] = []
    const closed: string[] = []
    const onError = (message: string): void => { errors.push(message) }
    const sessions = new SessionManager({ ttl, ...options })
    const membership = new Membership({ directory, url: () => `http://127.0.0.1:${3000 + nodes.length}`, lease: LEASE, now: Date.now })
    const endings = new Endings({ directory, onError })
    const holdings = new Holdings({ sessions, directory, membership, endings, patience: 1000, onError })
    sessions.on('closed', (_session, reason) => { closed.push(reason) })
    const node = { sessions, membership, endings, holdings, closed, errors }
    nodes.push(node)
    await membership.join()
    return node
  }

  async function pass (ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += 50) {
      mock.timers.tick(50)
      await settle()
    }
  }

  return { directory, addNode, pass, settle }
}
