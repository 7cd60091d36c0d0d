import { ListNode } from './list-node.js'
import type { ClientInfo, RestoredOrigin, Session, SessionMetadata } from './session.js'

/**
 * A session as the manager keeps it. It is also its own place in the queue of
 * all sessions: that costs less memory than a list node for each.
 */
export class SessionRecord extends ListNode implements Session {
  // First, so that a touch finds it in the cache line that it has to load anyway. NaN, because
  // V8 writes in place only to a field that has never held anything but a number.
  lastAccessedAt = NaN
  readonly id: string
  readonly createdAt: number
  metadata: Readonly<SessionMetadata> | undefined
  readonly principal: string | undefined
  readonly clientInfo: ClientInfo | undefined
  readonly protocolVersion: string | undefined
  activeRequests = 0
  openStreams = 0

  constructor (id: string, now: number, metadata?: Readonly<SessionMetadata>, origin?: RestoredOrigin) {
    super()
    this.lastAccessedAt = now
    this.id = id
    this.createdAt = origin?.createdAt ?? now
    this.metadata = metadata
    this.principal = origin?.principal
    this.clientInfo = origin?.clientInfo
    this.protocolVersion = origin?.protocolVersion
  }

  override get session (): SessionRecord {
    return this
  }

  get isIdle (): boolean {
    return this.activeRequests === 0
  }

  /** In use, but by nothing that waits for an answer. */
  get holdsOnlyStreams (): boolean {
    return this.activeRequests > 0 && this.activeRequests === this.openStreams
  }
}
