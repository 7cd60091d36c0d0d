import type { FastifyInstance, onRequestHookHandler } from 'fastify'
import { createSessionHook } from '../session/session-hook.js'
import { requireSessionLayer } from '../session/session-layer.js'
import { EndpointDrainer } from './endpoint-drainer.js'
import { createErrorHandler } from './error-handler.js'
import { LiveSessions } from './live-sessions.js'
import { isListening, isModern, ModernRequests } from './modern.js'
import { resolveEndpointOptions, type McpEndpointOptions } from './options.js'
import { createRebindingGuard } from './rebinding-guard.js'
import { RunningReplies } from './running-replies.js'
import { createSessionHandlers } from './session-handlers.js'
import { createStatelessHandlers } from './stateless-handlers.js'

/**
 * Mounts an MCP endpoint (Streamable HTTP) with one MCP server per session.
 * Prefix and hooks of the scope that it is registered in apply to it.
 *
 * @throws MissingPluginError when `mcpSessions` is not registered
 * @throws TypeError that names the option which is wrong
 * @see https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#streamable-http
 */
export async function mcpEndpoint (fastify: FastifyInstance, options: McpEndpointOptions): Promise<void> {
  const layer = requireSessionLayer(fastify)
  const resolved = resolveEndpointOptions(options)
  const { reject, shutdown, enabled } = layer
  const live = new LiveSessions(layer, resolved, fastify.prefix + resolved.path, fastify.log)
  const modern = new ModernRequests(resolved)
  const running = new RunningReplies()
  shutdown.add(new EndpointDrainer({ live, modern, running, layer }))

  fastify.setErrorHandler(createErrorHandler(reject))
  fastify.removeAllContentTypeParsers()
  fastify.addContentTypeParser('application/json', { parseAs: 'string' }, fastify.getDefaultJsonParser('error', 'error'))

  // On the routes themselves, so that they run after the hooks of the scope, such as its authentication.
  const onRequest: onRequestHookHandler[] = [createRebindingGuard(resolved, layer)]
  if (enabled) onRequest.push(createSessionHook(layer, 'optional'))

  const handlers = enabled ? createSessionHandlers(layer, resolved, live) : createStatelessHandlers(layer, resolved)
  for (const [method, handle] of Object.entries(handlers)) {
    fastify.route({
      method,
      url: resolved.path,
      exposeHeadRoute: false,
      config: { mcpSession: 'ignore' },
      onRequest,
      async handler (request, reply) {
        if (method === 'GET' || isListening(request)) running.addStream(reply)
        else running.addCall(reply)
        return request.mcpSession === null && isModern(request) ? modern.handle(request, reply) : handle(request, reply)
      }
    })
  }
}
