import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import './augmentation.js'
import { createFastifyLogger } from './logger.js'
import { resolveOptions, type McpSessionsOptions } from './options.js'
import { checkRouteConfig, createSessionHook } from './session/session-hook.js'
import { hashSessionId } from './session/session-id.js'
import { SessionManager } from './session/session-manager.js'

async function mcpSessionsPlugin (fastify: FastifyInstance, options: McpSessionsOptions): Promise<void> {
  const { enabled, errorResponseBuilder } = resolveOptions(options)
  const { ttl, cleanupInterval, logger = createFastifyLogger(fastify.log) } = options
  const sessions = new SessionManager({ ttl, cleanupInterval, logger, formatId: hashSessionId })

  fastify.decorate('sessionManager', sessions)
  fastify.decorateRequest('mcpSession', null)

  fastify.addHook('onReady', async function startCleanup () {
    sessions.startTTLCleanup()
  })
  fastify.addHook('onClose', async function closeSessions () {
    sessions.stopTTLCleanup()
    sessions.clearAll('shutdown')
  })
  if (!enabled) return

  fastify.addHook('onRoute', checkRouteConfig)
  fastify.addHook('onRequest', createSessionHook(sessions, errorResponseBuilder))
}

/** Gives the instance it is registered on a `sessionManager`, and its requests their `mcpSession`. */
export const mcpSessions = fp(mcpSessionsPlugin, {
  name: 'fastify-mcp-sessions',
  fastify: '5.x'
})
