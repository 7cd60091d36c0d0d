export { mcpSessions, mcpSessions as default } from './lib/plugin.js'
export { mcpEndpoint } from './lib/endpoint/endpoint.js'
export { SessionManager } from './lib/session/session-manager.js'
export {
  MalformedSessionIdError,
  MissingSessionIdError,
  RouteConfigError,
  SessionNotFoundError,
  toJsonRpcError
} from './lib/errors.js'
export type { McpSessionsOptions } from './lib/options.js'
export type { ErrorResponseBuilder } from './lib/session/rejection.js'
export type { Identify } from './lib/session/principal.js'
export type { ExpirationHandler, SessionEvents, SessionManagerOptions } from './lib/session/session-manager.js'
export type { SessionMode } from './lib/session/session-hook.js'
export type { CloseReason, Session, SessionMetadata } from './lib/session/session.js'
export type { ILogger, LogEntry, LogLevel } from './lib/logger.js'
export type { Result } from './lib/result.js'
export type { SessionError } from './lib/errors.js'
