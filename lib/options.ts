import type { FastifyRequest } from 'fastify'
import type { SessionError } from './errors.js'
import type { ILogger } from './logger.js'
import { checkBoolean, checkFunction } from './option-checks.js'

/** The body of a rejection. */
export type ErrorResponseBuilder = (request: FastifyRequest, error: SessionError) => unknown

/** Options of the plugin. All times are milliseconds. */
export interface McpSessionsOptions {
  /** `false`: the decorators are there, no hook validates. Default `true`. */
  enabled?: boolean | undefined
  /** Idle time after which a session expires; 0: never. Default 3600000. */
  ttl?: number | undefined
  /** How often expired sessions are removed; 0: every ttl / 2. Default 300000. */
  cleanupInterval?: number | undefined
  /** Where the life of sessions is logged. Default: the app's log. Session ids come to it hashed. */
  logger?: ILogger | undefined
  /** Builds the body of a rejection. Default: a JSON-RPC error. */
  errorResponseBuilder?: ErrorResponseBuilder | undefined
}

export interface ResolvedOptions {
  readonly enabled: boolean
  readonly errorResponseBuilder: ErrorResponseBuilder | undefined
}

/**
 * What the plugin itself needs; `SessionManager` checks its own options.
 *
 * @throws TypeError that names the option
 */
export function resolveOptions (options: McpSessionsOptions): ResolvedOptions {
  const { enabled = true, errorResponseBuilder } = options
  return {
    enabled: checkBoolean('enabled', enabled),
    errorResponseBuilder: checkFunction('errorResponseBuilder', errorResponseBuilder, '(request, error) => body')
  }
}
