import { randomBytes } from 'node:crypto'
import { EventBus } from '../http/event-bus.js'
import type { Announcements } from '../http/announcements.js'
import { Notifier } from '../http/notifier.js'

/** What `app.mcp` is. */
export interface Mcp {
  /** Tells clients of both eras, on all nodes of a cluster, what has changed. */
  readonly notify: Notifier
  /** The same as an event bus, for handlers of `createMcpHandler` that an app makes itself. */
  readonly bus: EventBus
  /**
   * 32 bytes to seal `requestState` with, the same on all nodes of a cluster: a round trip that began on one node ends
   * on another. Without a cluster, other ones in each process. They change when Redis has lost its data.
   *
   * Rejects with a `ClusterUnavailableError` when Redis does not answer.
   *
   * @example
   * const codec = createRequestStateCodec({ key: await app.mcp.requestStateKey() })
   */
  requestStateKey (): Promise<Uint8Array>
}

/** @param shareKey gives the key that all nodes of a cluster have */
export function createMcp (announcements: Announcements, shareKey: (() => Promise<Uint8Array>) | undefined): Mcp {
  const own = randomBytes(32)
  return {
    notify: new Notifier(announcements),
    bus: new EventBus(announcements),
    requestStateKey: shareKey ?? (async () => own)
  }
}
