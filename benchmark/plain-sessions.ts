export interface PlainSession {
  readonly id: string
  readonly createdAt: number
  lastAccessedAt: number
  metadata: object | undefined
  principal: string | undefined
  clientInfo: object | undefined
  protocolVersion: string | undefined
  activeRequests: number
}

/** What everyone writes: a Map, the time on touch, and a scan of all sessions per sweep. */
export class PlainSessions {
  readonly #sessions = new Map<string, PlainSession>()
  readonly #ttl: number
  readonly #onExpired: (id: string) => void

  constructor (ttl: number, onExpired: (id: string) => void = () => {}) {
    this.#ttl = ttl
    this.#onExpired = onExpired
  }

  get size (): number {
    return this.#sessions.size
  }

  register (id: string): void {
    const now = Date.now()
    this.#sessions.set(id, {
      id,
      createdAt: now,
      lastAccessedAt: now,
      metadata: undefined,
      principal: undefined,
      clientInfo: undefined,
      protocolVersion: undefined,
      activeRequests: 0
    })
  }

  touch (id: string): boolean {
    const session = this.#sessions.get(id)
    if (session === undefined) return false
    session.lastAccessedAt = Date.now()
    return true
  }

  sweep (): void {
    const now = Date.now()
    for (const session of this.#sessions.values()) {
      if (now - session.lastAccessedAt <= this.#ttl) continue
      this.#onExpired(session.id)
      this.#sessions.delete(session.id)
    }
  }
}
