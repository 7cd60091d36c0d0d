import { mock } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import type { Test } from 'tap'
import { Outbox } from '../../../lib/cluster/outbox.js'
import { OwnedSessions } from '../../../lib/cluster/owned-sessions.js'
import { NodeLease } from '../../../lib/cluster/lease.js'
import { SessionManager, type SessionManagerOptions } from '../../../lib/session/session-manager.js'
import { MemoryDirectory } from './memory-directory.js'

export const LEASE = 3000

/** One node of a cluster over a directory in memory. */
export interface SceneNode {
  sessions: SessionManager
  nodeLease: NodeLease
  outbox: Outbox
  ownedSessions: OwnedSessions
  /** Sessions that were closed here, and why. */
  closed: string[]
  /** What was logged. */
  errors: string[]
}

export interface Scene {
  directory: MemoryDirectory
  addNode: (options?: SessionManagerOptions) => Promise<SceneNode>
  /** Lets time pass, and runs what comes due meanwhile. */
  pass: (ms: number) => Promise<void>
  /** Runs everything that needs no time. */
  settle: () => Promise<void>
}

export function buildScene (t: Test, ttl = 3_600_000): Scene {
  mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'], now: 1_000_000 })
  const nodes: SceneNode[] = []
  t.teardown(async () => {
    for (const { nodeLease } of nodes) await nodeLease.leave()
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
    const nodeLease = new NodeLease({ directory, url: () => `http://127.0.0.1:${3000 + nodes.length}`, lease: LEASE, now: Date.now })
    const outbox = new Outbox({ directory, onError })
    const ownedSessions = new OwnedSessions({ sessions, directory, nodeLease, outbox, patience: 1000, onError })
    sessions.on('closed', (_session, reason) => { closed.push(reason) })
    const node = { sessions, nodeLease, outbox, ownedSessions, closed, errors }
    nodes.push(node)
    await nodeLease.join()
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
