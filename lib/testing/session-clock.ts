import type { FastifyInstance } from 'fastify'
import { checkMilliseconds } from '../base/option-checks.js'
import { requirePluginContext } from '../http/plugin-context.js'
import { moveClock, readClock } from '../session/session-manager.js'

/** The clock of the sessions of one app. */
export interface SessionClock {
  /** Milliseconds since the epoch, as the sessions have it. */
  now (): number
  /**
   * Moves on by so many milliseconds. Sessions that have expired by then are closed before this returns. Only sessions notice:
   * timers, such as heartbeats, and Redis go on as before.
   */
  advance (milliseconds: number): void
}

/**
 * A clock with which sessions expire without waiting.
 *
 * @example
 * ```ts
 * sessionClock(app).advance(3_600_001)
 * ```
 */
export function sessionClock (app: FastifyInstance): SessionClock {
  const { sessions } = requirePluginContext(app)
  return {
    now: () => readClock(sessions),
    advance (milliseconds) {
      moveClock(sessions, checkMilliseconds('milliseconds', milliseconds, 'look now'))
    }
  }
}
