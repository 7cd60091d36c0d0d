/**
 * What an app keeps with a session. Give your own keys their types by
 * declaration merging:
 *
 * ```ts
 * declare module 'fastify-mcp-sessions' {
 *   interface SessionMetadata { cart?: string[] }
 * }
 * ```
 */
export interface SessionMetadata {
  [key: string]: unknown
}

/** A session as callers see it. It is live: its times and counters move. */
export interface Session {
  readonly id: string
  /** Milliseconds since the epoch. */
  readonly createdAt: number
  /** Milliseconds since the epoch; the start of the idle time while `activeRequests` is 0. */
  readonly lastAccessedAt: number
  /** A frozen shallow copy of what was passed in; `update()` replaces it. */
  readonly metadata?: Readonly<SessionMetadata> | undefined
  /** Requests in flight and streams open. While there is one, the session does not age. */
  readonly activeRequests: number
}

/**
 * Why a session ended: `deleted` by DELETE or `cleanup()`, `expired` after its
 * ttl, `replaced` by `register()` of the same id, `cleared` by `clearAll()`,
 * `shutdown` with the app.
 */
export type CloseReason = 'deleted' | 'expired' | 'replaced' | 'cleared' | 'shutdown'
