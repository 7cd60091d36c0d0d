import { randomBytes } from 'node:crypto'
import { EventBus } from '../http/event-bus.js'
import type { Announcements } from '../http/announcements.js'
import { Notifier } from '../http/notifier.js'

/** Whether a load balancer should send requests to this process. */
export type Readiness =
  | { readonly isReady: true }
  /**
   * `closing`: the app has begun to close. `redis-away`: Redis does not answer. `no-lease`: this node has no lease yet, or
   * has lost it, so the others take it for dead.
   */
  | { readonly isReady: false, readonly reason: 'closing' | 'redis-away' | 'no-lease' }

/** What `app.mcp` is. */
export interface Mcp {
  /** Tells clients of both eras, on all nodes of a cluster, what has changed. */
  readonly notify: Notifier
  /** The same as an event bus of SDK 2, for a handler that the app itself makes with `createMcpHandler`. */
  readonly bus: EventBus
  /**
   * 32 bytes to seal `requestState` with, the same on all nodes of a cluster: a round trip that began on one node ends
   * on another. Without a cluster each process has its own. They change when Redis has lost its data.
   *
   * @throws ClusterUnavailableError (a rejection) when Redis does not answer
   * @example
   * const codec = createRequestStateCodec({ key: await app.mcp.requestStateKey() })
   */
  requestStateKey (): Promise<Uint8Array>
  /**
   * Whether a load balancer should send requests here. Costs no round trip.
   *
   * @example
   * app.get('/ready', async (_request, reply) => {
   *   const readiness = app.mcp.readiness()
   *   return reply.code(readiness.isReady ? 200 : 503).send(readiness)
   * })
   */
  readiness (): Readiness
}

export interface McpParts {
  readonly announcements: Announcements
  readonly shutdown: { readonly hasStarted: boolean }
  /** This process as a node of a cluster. */
  readonly node: {
    readonly trouble: 'redis-away' | 'no-lease' | undefined
    /** The key that all nodes have. */
    requestStateKey (): Promise<Uint8Array>
  } | undefined
}

export function createMcp ({ announcements, shutdown, node }: McpParts): Mcp {
  const ownKey = randomBytes(32)
  return {
    notify: new Notifier(announcements),
    bus: new EventBus(announcements),
    requestStateKey: async () => node === undefined ? ownKey : await node.requestStateKey(),
    readiness () {
      const reason = shutdown.hasStarted ? 'closing' : node?.trouble
      return reason === undefined ? { isReady: true } : { isReady: false, reason }
    }
  }
}
