import type { FastifyBaseLogger } from 'fastify'
import type { ILogger, LogLevel } from '../base/logger.js'

const pinoLevels = {
  debug: 'debug',
  info: 'info',
  notice: 'info',
  warning: 'warn',
  error: 'error',
  critical: 'fatal',
  alert: 'fatal',
  emergency: 'fatal'
} as const satisfies Record<LogLevel, keyof FastifyBaseLogger>

/**
 * An `ILogger` that writes to the log of a Fastify app what goes wrong. It leaves out `info`, which is the life of sessions:
 * `logSessions` writes that, with fields.
 */
export function createFailureLogger (log: FastifyBaseLogger): ILogger {
  return {
    sendLog ({ level, data, logger }) {
      if (level !== 'info') log[pinoLevels[level]]({ logger }, String(data))
    }
  }
}
