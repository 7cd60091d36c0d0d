import type { SessionRecord } from './session-record.js'

/** The sessions of each principal, for the limit within one principal. */
export class PrincipalSessions {
  readonly #max: number
  readonly #sessions = new Map<string, Set<SessionRecord>>()

  /** @param max sessions of one principal; Infinity: no limit, and nothing is kept */
  constructor (max: number) {
    this.#max = max
  }

  add (session: SessionRecord): void {
    const { principal } = session
    if (principal === undefined || this.#max === Infinity) return
    const own = this.#sessions.get(principal)
    if (own === undefined) this.#sessions.set(principal, new Set([session]))
    else own.add(session)
  }

  delete (session: SessionRecord): void {
    const { principal } = session
    const own = principal === undefined ? undefined : this.#sessions.get(principal)
    if (principal === undefined || own === undefined) return
    own.delete(session)
    if (own.size === 0) this.#sessions.delete(principal)
  }

  isFull (principal: string | undefined): boolean {
    return this.#of(principal).size >= this.#max
  }

  longestIdle (principal: string | undefined): SessionRecord | undefined {
    let longest: SessionRecord | undefined
    for (const session of this.#of(principal)) {
      if (session.activeRequests > 0) continue
      if (longest === undefined || session.lastAccessedAt < longest.lastAccessedAt) longest = session
    }
    return longest
  }

  #of (principal: string | undefined): ReadonlySet<SessionRecord> {
    return (principal === undefined ? undefined : this.#sessions.get(principal)) ?? none
  }
}

const none: ReadonlySet<SessionRecord> = new Set()
