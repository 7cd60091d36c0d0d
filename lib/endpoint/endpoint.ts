import type { FastifyInstance } from 'fastify'
import { asError } from '../base/safe-call.js'
import { createSessionHook } from '../http/session-hook.js'
import { requirePluginContext } from '../http/plugin-context.js'
import { limitTime } from './call-timeout.js'
import { EndpointDrainer } from './endpoint-drainer.js'
import { createErrorHandler } from './error-handler.js'
import { createJsonParser } from './json-parser.js'
import { isListening, isModern, ModernRequests } from './modern.js'
import { resolveEndpointOptions, type McpEndpointOptions } from './options.js'
import { refuseOtherMethods } from './other-methods.js'
import { createRebindingGuard } from './rebinding-guard.js'
import { toRouteOptions } from './route-options.js'
import { RunningReplies } from '../http/running-replies.js'
import { createSessionHandlers } from './session-handlers.js'
import { SessionRuntimes } from './session-runtimes.js'
import { createStatelessHandlers } from './stateless.js'

/**
 * Mounts an MCP endpoint (Streamable HTTP) with one MCP server per session.
 * Prefix and hooks of the scope that it is registered in apply to it. Methods that it does not have answer 405 at its
 * path, but for OPTIONS and those for which the app has a route there already.
 *
 * @throws MissingPluginError when `mcpSessions` is not registered
 * @throws TypeError that names the option which is wrong
 * @see https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#streamable-http
 */
export async function mcpEndpoint (fastify: FastifyInstance, options: McpEndpointOptions): Promise<void> {
  const context = requirePluginContext(fastify)
  const resolved = resolveEndpointOptions(options)
  const { reject, shutdown, enabled } = context
  const { path, route } = resolved
  const live = new SessionRuntimes(context, resolved, fastify.prefix + path, fastify.log)
  const modern = new ModernRequests(context, resolved)
  const running = new RunningReplies()
  shutdown.add(new EndpointDrainer({ live, modern, running, context }), live)

  fastify.setErrorHandler(createErrorHandler(reject))
  fastify.removeAllContentTypeParsers()
  fastify.addContentTypeParser<string>('application/json', { parseAs: 'string' }, createJsonParser(fastify))

  // On the routes themselves, so that they run after the hooks of the scope, such as its authentication.
  const guard = createRebindingGuard(resolved, context)
  const onRequest = enabled ? [guard, createSessionHook(context, 'optional')] : [guard]

  const handlers = enabled ? createSessionHandlers(context, resolved, live) : createStatelessHandlers(context, resolved)
  for (const [method, handle] of Object.entries(handlers)) {
    fastify.route({
      ...toRouteOptions(method, route, fastify),
      method,
      url: path,
      exposeHeadRoute: false,
      // A copy: other plugins add hooks of their own to a route that they see.
      onRequest: [...onRequest],
      async handler (request, reply) {
        if (method === 'GET' || isListening(request)) running.addStream(request, reply)
        else running.addCall(request, reply)
        if (route.handlerTimeout !== undefined && method === 'POST' && !isListening(request)) limitTime(request, reply, route.handlerTimeout)
        try {
          return await (request.mcpSession === null && isModern(request) ? modern.handle(request, reply) : handle(request, reply))
        } catch (reason) {
          // Anything else that is thrown, Fastify takes for an answer.
          throw asError(reason)
        }
      }
    })
  }
  refuseOtherMethods(fastify, { path, route, served: enabled ? ['GET', 'POST', 'DELETE'] : ['POST'], guard, reject })
}
