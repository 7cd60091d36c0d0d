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
 * Where log entries go. The shape of an entry is that of MCP's
 * `notifications/message`, so the SDK's `server.sendLoggingMessage` is one.
 */
export interface ILogger {
  /** What it throws, and what it rejects with, is ignored. */
  sendLog (entry: LogEntry): void | Promise<void>
}
