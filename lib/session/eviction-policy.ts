import { IdleQueue, type IdleBatch } from './idle-queue.js'
import { PrincipalSessions } from './principal-sessions.js'
import type { SessionRecord } from './session-record.js'

/**
 * Decides which session expires next, and which makes room for another one.
 *
 * Anonymous sessions make room first, so that somebody who opens one after the other takes nothing from those who have
 * said who they are. Of the others, the principal with the most sessions makes room. In both, the longest-idle session
 * goes first; if none is idle, one that holds nothing but streams.
 */
export class EvictionPolicy {
  readonly #anonymous: IdleQueue
  readonly #named: IdleQueue
  readonly #ofPrincipal: PrincipalSessions

  /**
   * @param ttl milliseconds; Infinity when sessions never expire
   * @param maxPerPrincipal sessions of one principal; Infinity: no limit
   */
  constructor (ttl: number, maxPerPrincipal: number) {
    this.#anonymous = new IdleQueue(ttl)
    this.#named = new IdleQueue(ttl)
    this.#ofPrincipal = new PrincipalSessions(maxPerPrincipal)
  }

  add (session: SessionRecord): void {
    this.#ofPrincipal.add(session)
    this.#queueOf(session).add(session)
  }

  delete (session: SessionRecord): void {
    this.#ofPrincipal.delete(session)
    session.unlink()
  }

  /** Moves a session, which has been added before, to where it belongs now. */
  requeue (session: SessionRecord): void {
    session.unlink()
    this.#queueOf(session).add(session)
    this.#ofPrincipal.requeue(session)
  }

  /** What `IdleQueue.takeIdleBefore` does, with at most `visits` to the anonymous sessions and as many to the others. */
  takeIdleBefore (time: number, visits: number): IdleBatch {
    const anonymous = this.#anonymous.takeIdleBefore(time, visits)
    if (anonymous.more) return anonymous
    const named = this.#named.takeIdleBefore(time, visits)
    return { sessions: [...anonymous.sessions, ...named.sessions], more: named.more }
  }

  /** Whether the principal has as many sessions as one may have. */
  isFull (principal: string | undefined): boolean {
    return this.#ofPrincipal.isFull(principal)
  }

  /** Which session of the principal makes room for another one of the same. */
  nextOf (principal: string | undefined): SessionRecord | undefined {
    return this.#ofPrincipal.nextToEvict(principal)
  }

  /** Which session of all makes room. One that has expired, and has not been removed yet, goes before all others. */
  next (hasExpired: (session: SessionRecord) => boolean): SessionRecord | undefined {
    const anonymous = this.#anonymous.nextToEvict()
    if (anonymous !== undefined && hasExpired(anonymous)) return anonymous
    const named = this.#named.nextToEvict()
    if (named !== undefined && hasExpired(named)) return named
    return anonymous ?? this.#ofPrincipal.heaviestToEvict() ?? named
  }

  #queueOf ({ principal }: SessionRecord): IdleQueue {
    return principal === undefined ? this.#anonymous : this.#named
  }
}
