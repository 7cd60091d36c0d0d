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

/** Who opened a session, as far as it is known. */
export interface SessionOrigin {
  /** The caller, from the `identify` option; a session answers to nobody else. */
  readonly principal?: string | undefined
  /** What the client called itself in `initialize`. */
  readonly clientInfo?: ClientInfo | undefined
  /** The revision of MCP that client and server agreed on, such as `2025-11-25`. */
  readonly protocolVersion?: string | undefined
}

/** A session that another process has opened. */
export interface RestoredOrigin extends SessionOrigin {
  /** Milliseconds since the epoch. */
  readonly createdAt?: number | undefined
}

/** What a client calls itself in `initialize`. Nobody has checked it. */
export interface ClientInfo {
  /** Such as `claude-code`. */
  readonly name: string
  /** In whatever form the client has it. */
  readonly version: string
}

/** A session as callers see it. It is live: its times and counters move. */
export interface Session extends SessionOrigin {
  /** What the client sends as `mcp-session-id`: a secret, see `hashSessionId`. */
  readonly id: string
  /** Milliseconds since the epoch. */
  readonly createdAt: number
  /** Milliseconds since the epoch; the start of the idle time while `activeRequests` is 0. */
  readonly lastAccessedAt: number
  /** A frozen shallow copy of what was passed in; `update()` replaces it. */
  readonly metadata?: Readonly<SessionMetadata> | undefined
  /** Requests in flight and streams open. While there is one, the session does not age. */
  readonly activeRequests: number
  /** Of these, streams that have no end of their own: a session that holds nothing else may still be evicted. */
  readonly openStreams: number
}
