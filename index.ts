/**
 * Sessions for the Model Context Protocol in any Fastify app: the plugin `mcpSessions`, which is also the default export,
 * and `mcpEndpoint`.
 *
 * @module fastify-mcp-sessions
 */
export { mcpSessions, mcpSessions as default } from './lib/plugin/plugin.js'
export { mcpEndpoint } from './lib/endpoint/endpoint.js'
export { memoiseSchema } from './lib/endpoint/memoise-schema.js'
export { SessionManager } from './lib/session/session-manager.js'
export {
  ClusterUnavailableError,
  ForbiddenOriginError,
  InvalidRequestError,
  MalformedSessionIdError,
  MethodNotAllowedError,
  MisdirectedError,
  MissingPluginError,
  MissingSdkError,
  MissingSessionIdError,
  NotAcceptableError,
  NotReplicatedError,
  OpeningRateError,
  OwnerFailedError,
  OwnerUnreachableError,
  ParseError,
  PrincipalError,
  RegisteredTwiceError,
  RouteConfigError,
  ServerError,
  SharedServerError,
  SessionLimitError,
  SessionNotFoundError,
  ShuttingDownError,
  toJsonRpcError,
  UnsupportedRevisionError
} from './lib/base/errors.js'
export { channels, tracingChannels } from './lib/observe/channels.js'
export { hashSessionId } from './lib/session/session-id.js'
export type { ClusterOptions, WaitForReplicasOptions } from './lib/cluster/options.js'
export type { ListedNode, ListedSession, ListOptions, SessionDirectory } from './lib/http/session-directory.js'
export type {
  CreateDualServer, CreateServer, CreateServerContext, DualEndpointOptions, McpEndpointOptions, ModernServerContext, ResponseMode,
  ResumableOptions, SessionEndpointOptions, SessionServer, SharedEndpointOptions, SharedServerContext
} from './lib/endpoint/options.js'
export type { AuthInfo } from './lib/endpoint/auth-info.js'
export type { JsonConvertibleSchema, SchemaConverter, SchemaConverterOptions } from './lib/endpoint/memoise-schema.js'
export type { ModernHandler } from './lib/endpoint/modern/modern-handler.js'
export type { JsonRpcErrorResponse, SessionError } from './lib/base/errors.js'
export type { ILogger, LogEntry, LogLevel } from './lib/base/logger.js'
export type {
  CallMessage, ChannelMessage, CloseReason, ForwardMessage, ObservedSession, RedisAvailableMessage, RedisUnavailableMessage, RequestRejectedMessage,
  SessionClosedMessage, SessionCreatedMessage, SessionHandedOverMessage, SessionParkedMessage, SessionRestoredMessage, SessionTakenOverMessage,
  StartChannel, StreamCutMessage, TypedChannel, TypedTracingChannel
} from './lib/observe/channels.js'
export type { WithSession } from './lib/plugin/augmentation.js'
export type { Announcement, Audience, ServerChange } from './lib/http/announcements.js'
export type { EventBus } from './lib/http/event-bus.js'
export type { Notifier } from './lib/http/notifier.js'
export type { Mcp, Readiness } from './lib/plugin/mcp.js'
export type { TelemetryOptions } from './lib/telemetry/options.js'
export type { McpSessionsOptions } from './lib/plugin/options.js'
export type { Result } from './lib/base/result.js'
export type { Identify } from './lib/http/principal.js'
export type { ErrorResponseBuilder } from './lib/http/rejection.js'
export type { WarningCode } from './lib/http/warnings.js'
export type { SessionMode } from './lib/http/session-hook.js'
export type { ExpirationHandler, SessionEvents, SessionManagerOptions } from './lib/session/session-manager.js'
export type { ClientInfo, RestoredOrigin, Session, SessionMetadata, SessionOrigin } from './lib/session/session.js'
