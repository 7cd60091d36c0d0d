import type { FastifyInstance, FastifyReply } from 'fastify'
import type { Warnings } from '../http/warnings.js'
import type { ResolvedEndpointOptions } from './options.js'

/** Warns of times that do not go together. `ttl` is in milliseconds, 0: never. */
export function warnOfTimes ({ initialConfig: { connectionTimeout = 0 } }: FastifyInstance, warnings: Warnings, ttl: number, { heartbeatInterval, responseMode }: ResolvedEndpointOptions): void {
  if (ttl !== 0 && ttl < heartbeatInterval) warnings.warn('FST_WARN_MCP_SESSION_TTL', String(ttl), String(heartbeatInterval))
  if (connectionTimeout === 0) return
  // Calls that take longer than a heartbeat say something at each, but for those that are answered with JSON.
  const isQuiet = heartbeatInterval === 0 || heartbeatInterval >= connectionTimeout
  if (isQuiet) {
    warnings.warn('FST_WARN_MCP_SESSION_CONNECTION_TIMEOUT', String(connectionTimeout), `Set "heartbeatInterval" of mcpEndpoint to ${Math.floor(connectionTimeout / 2)} or less, or take connectionTimeout away`)
  } else if (responseMode === 'json') {
    warnings.warn('FST_WARN_MCP_SESSION_CONNECTION_TIMEOUT', String(connectionTimeout), "Make it longer than the longest call, or let long calls be streams: responseMode: 'auto'")
  }
}

/** Warns when web pages will not see the id of the session that they have opened. */
export function warnOfHiddenId (reply: FastifyReply, warnings: Warnings): void {
  if (!warnings.isOpen('FST_WARN_MCP_SESSION_CORS') || !reply.hasHeader('access-control-allow-origin')) return
  const exposed = String(reply.getHeader('access-control-expose-headers')).toLowerCase().split(',').map((name) => name.trim())
  if (!exposed.includes('mcp-session-id') && !exposed.includes('*')) warnings.warn('FST_WARN_MCP_SESSION_CORS')
}
