import type { ClientInfo, RestoredOrigin, Session, SessionMetadata } from './session.js'

/**
 * A session as the manager keeps it, and its place in a circular list of the
 * idle queue. The links are private so that a session can be logged, compared
 * and serialised, and two of them cost less than a list node of their own.
 */
export class SessionRecord implements Session {
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
  #previous: SessionRecord = this
  #next: SessionRecord = this

  constructor (id: string, now: number, metadata?: Readonly<SessionMetadata>, origin?: RestoredOrigin) {
    this.lastAccessedAt = now
    this.id = id
    this.createdAt = origin?.createdAt ?? now
    this.metadata = metadata
    this.principal = origin?.principal
    this.clientInfo = origin?.clientInfo
    this.protocolVersion = origin?.protocolVersion
  }

  get isLinked (): boolean {
    return this.#next !== this
  }

  get next (): SessionRecord {
    return this.#next
  }

  /** Puts this record, which must be in no list, in front of another one. */
  linkBefore (other: SessionRecord): void {
    const previous = other.#previous
    this.#previous = previous
    this.#next = other
    previous.#next = this
    other.#previous = this
  }

  unlink (): void {
    this.#previous.#next = this.#next
    this.#next.#previous = this.#previous
    this.#previous = this
    this.#next = this
  }
}
