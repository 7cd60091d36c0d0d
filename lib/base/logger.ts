/** The severities of RFC 5424, section 6.2.1, under the names that MCP gives them. */
export type LogLevel =
  | 'debug' | 'info' | 'notice' | 'warning'
  | 'error' | 'critical' | 'alert' | 'emergency'

/** One thing to log. */
export interface LogEntry {
  /** How bad it is. */
  level: LogLevel
  /** What is logged, a text as a rule. */
  data: unknown
  /** Who writes, for example `SessionManager`. */
  logger?: string
}

/**
 * Where log entries go. An entry has the shape of the parameters of MCP's `notifications/message`, so that it can be handed
 * to the SDK's `server.sendLoggingMessage` as it is.
 */
export interface ILogger {
  /** What it throws, and what it rejects with, is ignored. */
  sendLog (entry: LogEntry): void | Promise<void>
}
