import type { ClusterOptions } from '../cluster/options.js'
import type { ILogger } from '../base/logger.js'
import { checkBoolean, checkCount, checkFunction, checkList, checkNames, checkTimer, refuse } from '../base/option-checks.js'
import { createIdentify, type Identify } from '../http/principal.js'
import { REGISTER_OPTIONS } from '../http/register-options.js'
import { warningCodes, type WarningCode } from '../http/warnings.js'
import { resolveTelemetryOptions, type ResolvedTelemetryOptions, type TelemetryOptions } from '../telemetry/options.js'
import { Rejections, type ErrorResponseBuilder } from '../http/rejection.js'

/** Options of the plugin. All times are milliseconds. */
export interface McpSessionsOptions {
  /**
   * `false`: the decorators are there, no hook validates, the endpoint keeps no sessions.
   *
   * @default true
   */
  enabled?: boolean | undefined
  /**
   * Idle time after which a session expires; 0: never.
   *
   * @default 3_600_000 (1 hour)
   */
  ttl?: number | undefined
  /**
   * How often expired sessions are removed; 0: every ttl / 2.
   *
   * @default 300_000 (5 minutes)
   */
  cleanupInterval?: number | undefined
  /**
   * How many sessions there may be. Past it a session makes room: an anonymous one, or one of the principal with the
   * most; 503 with `Retry-After` if none can.
   *
   * @default 10_000
   */
  maxSessions?: number | undefined
  /**
   * How many sessions one principal may have. Past it one of the same principal makes room.
   *
   * @default no limit
   */
  maxSessionsPerPrincipal?: number | undefined
  /**
   * How many sessions one principal may open in a minute; of the anonymous, one address (of IPv6, a /64). In a cluster it
   * is counted once for all nodes. 429 past it.
   *
   * @default no limit
   */
  maxOpensPerMinute?: number | undefined
  /**
   * Who is calling; a session answers only to the principal that opened it.
   *
   * @default all are anonymous
   * @example (request) => request.user?.sub
   */
  identify?: Identify | undefined
  /**
   * Where the life of sessions is logged, as lines of text. Session ids come to it hashed.
   *
   * @default the app's log, with fields
   */
  logger?: ILogger | undefined
  /**
   * Builds the body of a rejection, sync or async.
   *
   * @default a JSON-RPC error, or what the app's own error handler sends
   * @example (request, error) => ({ message: error.message })
   */
  errorResponseBuilder?: ErrorResponseBuilder | undefined
  /**
   * How long `close()` waits for the running requests of the endpoint; 0: not at all.
   *
   * @default 10_000
   */
  drainTimeout?: number | undefined
  /**
   * Lets sessions live on many machines, over Redis.
   *
   * @default they live in this process
   */
  cluster?: ClusterOptions | undefined
  /**
   * Gives metrics and traces to the global providers of `@opentelemetry/api`, which must be set up before.
   *
   * @default false
   */
  telemetry?: boolean | TelemetryOptions | undefined
  /**
   * Warnings that you have read and do not want to see, by their codes.
   *
   * @default []
   * @example ['FST_WARN_MCP_SESSION_TRUST_PROXY']
   */
  ignoreWarnings?: readonly WarningCode[] | undefined
}

export interface ResolvedOptions {
  readonly enabled: boolean
  readonly ttl: number
  readonly maxSessions: number
  /** Infinity: no limit. */
  readonly maxSessionsPerPrincipal: number
  readonly maxOpensPerMinute: number | undefined
  readonly identify: Identify
  readonly rejections: Rejections
  readonly drainTimeout: number
  readonly telemetry: ResolvedTelemetryOptions
}

const NAMES = [
  'enabled', 'ttl', 'cleanupInterval', 'maxSessions', 'maxSessionsPerPrincipal', 'maxOpensPerMinute', 'identify', 'logger',
  'errorResponseBuilder', 'drainTimeout', 'cluster', 'telemetry', 'ignoreWarnings', ...REGISTER_OPTIONS
]

/**
 * What the plugin itself needs; `SessionManager` checks its own options.
 *
 * @throws TypeError that names the option
 */
export function resolveOptions (options: McpSessionsOptions): ResolvedOptions {
  checkNames(options, NAMES)
  checkWarningCodes(options.ignoreWarnings)
  const { enabled = true, ttl = 3_600_000, maxSessions = 10_000, drainTimeout = 10_000 } = options
  const buildBody = checkFunction('errorResponseBuilder', options.errorResponseBuilder, '(request, error) => body')
  const identify = checkFunction('identify', options.identify, '(request) => string | undefined')
  return {
    enabled: checkBoolean('enabled', enabled),
    ttl,
    maxSessions,
    maxSessionsPerPrincipal: checkCount('maxSessionsPerPrincipal', options.maxSessionsPerPrincipal) ?? Infinity,
    maxOpensPerMinute: checkCount('maxOpensPerMinute', options.maxOpensPerMinute),
    identify: createIdentify(identify),
    rejections: new Rejections(buildBody),
    drainTimeout: checkTimer('drainTimeout', drainTimeout, 'do not wait'),
    telemetry: resolveTelemetryOptions(options.telemetry ?? false)
  }
}

function checkWarningCodes (codes: readonly string[] | undefined): void {
  const unknown = checkList('ignoreWarnings', codes)?.find((code) => !warningCodes.includes(code))
  if (unknown !== undefined) refuse('ignoreWarnings', `a list of codes of warnings: ${warningCodes.join(', ')}`, unknown)
}
