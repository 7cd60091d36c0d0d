import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import './augmentation.js'
import { createFastifyLogger } from './logger.js'
import { resolveOptions, type McpSessionsOptions } from './options.js'
import { checkRouteConfig, createSessionHook } from './session/session-hook.js'
import { hashSessionId } from './session/session-id.js'
import { provideSessionLayer } from './session/session-layer.js'
import { SessionManager } from './session/session-manager.js'
import { Shutdown } from './session/shutdown.js'

async function mcpSessionsPlugin (fastify: FastifyInstance, options: McpSessionsOptions): Promise<void> {
  const resolved = resolveOptions(options)
  const { ttl, cleanupInterval, maxSessionsPerPrincipal, logger = createFastifyLogger(fastify.log) } = options
  const { enabled, maxSessions, identify, reject, drainTimeout } = resolved
  const sessions = new SessionManager({
    ttl, cleanupInterval, maxSessions, maxSessionsPerPrincipal, logger, formatId: hashSessionId
  })
  const shutdown = new Shutdown(sessions, drainTimeout)

  fastify.decorate('sessionManager', sessions)
  fastify.decorateRequest('mcpSession', null)
  provideSessionLayer(fastify, { ...resolved, sessions, shutdown })

  fastify.addHook('onReady', async function startCleanup () {
    sessions.startTTLCleanup()
  })
  // In preClose, because close() waits for open streams before it comes to onClose.
  fastify.addHook('preClose', async function endSessions () {
    await shutdown.run()
  })
  // An app that fails to boot comes here without preClose; one that closed may have got new sessions since.
  fastify.addHook('onClose', async function closeSessions () {
    sessions.stopTTLCleanup()
    if (sessions.getActiveSessionCount() > 0) sessions.clearAll('shutdown')
  })
  if (!enabled) return

  fastify.addHook('onRoute', checkRouteConfig)
  fastify.addHook('onRequest', createSessionHook(sessions, identify, reject))
}

/** Gives the instance it is registered on a `sessionManager`, and its requests their `mcpSession`. */
export const mcpSessions = fp(mcpSessionsPlugin, {
  name: 'fastify-mcp-sessions',
  fastify: '5.x'
})
