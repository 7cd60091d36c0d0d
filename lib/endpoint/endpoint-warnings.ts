import type { FastifyInstance, FastifyReply } from 'fastify'
import type { Warnings } from '../http/warnings.js'
import type { ResolvedEndpointOptions } from './options.js'

/** Warns of times that do not go together. `ttl` is in milliseconds, 0: never. */
export function warnOfTimes (app: FastifyInstance, warnings: Warnings, ttl: number, options: ResolvedEndpointOptions): void {
  const { connectionTimeout = 0 } = app.initialConfig
  const { heartbeatInterval } = options
  if (ttl !== 0 && ttl < heartbeatInterval) warnings.warn('FST_WARN_MCP_SESSION_TTL', String(ttl), String(heartbeatInterval))
  if (connectionTimeout === 0) return
  const fix = fixForConnectionTimeout(connectionTimeout, options)
  if (fix !== undefined) warnings.warn('FST_WARN_MCP_SESSION_CONNECTION_TIMEOUT', String(connectionTimeout), fix)
}

// A call that takes longer than a heartbeat is a stream, which is never quiet for longer; one that is answered with JSON is.
function fixForConnectionTimeout (timeout: number, { heartbeatInterval, responseMode }: ResolvedEndpointOptions): string | undefined {
  if (heartbeatInterval === 0 || heartbeatInterval >= timeout) {
    return `Set "heartbeatInterval" of mcpEndpoint to ${Math.floor(timeout / 2)} or less, or take connectionTimeout away`
  }
  if (responseMode !== 'json') return undefined
  return "Make it longer than the longest call, or let long calls be streams: responseMode: 'auto'"
}

/** Warns when web pages will not see the id of the session that they have opened. */
export function warnOfHiddenId (reply: FastifyReply, warnings: Warnings): void {
  if (!warnings.isOpen('FST_WARN_MCP_SESSION_CORS') || !reply.hasHeader('access-control-allow-origin')) return
  const exposed = String(reply.getHeader('access-control-expose-headers')).toLowerCase().split(',').map((name) => name.trim())
  if (!exposed.includes('mcp-session-id') && !exposed.includes('*')) warnings.warn('FST_WARN_MCP_SESSION_CORS')
}
