import { AsyncLocalStorage } from 'node:async_hooks'
import { isAddressed, type Announcements, type AnnouncementListener, type Audience, type ServerChange } from './announcements.js'

/**
 * The announcements as an event bus of SDK 2, for handlers of `createMcpHandler`: what is published on it reaches clients
 * with sessions as well, and all nodes of a cluster.
 *
 * The SDK does not say whose stream subscribes. But it subscribes while it serves the request of that stream, and so the
 * principal is kept in the async context of the request.
 *
 * @example
 * const handler = createMcpHandler(buildServer, { bus: app.mcp.bus })
 * await app.register(mcpEndpoint, { createServer, modern: handler })
 */
export class EventBus {
  readonly #announcements: Announcements
  readonly #listener = new AsyncLocalStorage<Audience>()

  constructor (announcements: Announcements) {
    this.#announcements = announcements
  }

  /** Serves a request whose streams are those of this principal. */
  listenAs<T> (principal: string | undefined, serve: () => T): T {
    return this.#listener.run({ principal }, serve)
  }

  /** Tells everybody, on all nodes. */
  publish (change: ServerChange): void {
    this.#announcements.publish({ change, audience: {} })
  }

  /**
   * The listener hears of what is published from now on, and, a moment later, of what was published of late: the client
   * may have missed it while it was looking for another node. Returns how to stop listening.
   */
  subscribe (listener: (change: ServerChange) => void): () => void {
    const who = this.#listener.getStore() ?? {}
    const hear: AnnouncementListener = ({ change, audience }) => { if (isAddressed(audience, who)) listener(change) }
    const missed = this.#announcements.recent()
    const end = this.#announcements.subscribe(hear)
    const telling = setImmediate(() => missed.forEach(hear))
    return () => {
      clearImmediate(telling)
      end()
    }
  }
}
