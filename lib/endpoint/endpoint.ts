import type { FastifyBaseLogger, FastifyInstance, FastifyRequest } from 'fastify'
import './augmentation.js'
import { asError } from '../base/safe-call.js'
import type { ReplyKind } from '../http/reply-tracker.js'
import { createSessionHook } from '../http/session-hook.js'
import { requirePluginContext, type PluginContext } from '../http/plugin-context.js'
import { limitTime } from './call-timeout.js'
import { warnOfTimes } from './endpoint-warnings.js'
import { DualLeg, loadSdk } from './modern/dual-leg.js'
import { createErrorHandler } from './error-handler.js'
import { createJsonParser } from './json-parser.js'
import { isListening, isModern, ModernRequests } from './modern/modern-requests.js'
import { GivenLeg, type ModernLeg } from './modern/modern-leg.js'
import { resolveEndpointOptions, type McpEndpointOptions, type ResolvedEndpointOptions } from './options.js'
import { refuseOtherMethods } from './other-methods.js'
import { createRebindingGuard } from './rebinding-guard.js'
import { toRouteOptions } from './route-options.js'
import { createSessionHandlers } from './session-handlers.js'
import { SessionRuntimes } from './session-runtimes.js'
import { createStatelessHandlers } from './stateless.js'

/**
 * Mounts an MCP endpoint (Streamable HTTP) with one MCP server per session. The prefix and the hooks of the scope that it is
 * registered in apply to it. At its path, methods that it does not have are answered with 405, except OPTIONS and those for
 * which the app has a route there already.
 *
 * @throws MissingPluginError when `mcpSessions` is not registered
 * @throws MissingSdkError when `modern` is true and SDK 2 is not installed
 * @throws TypeError that names the option which is wrong
 * @see https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#streamable-http
 * @example
 * ```ts
 * await app.register(mcpEndpoint, { createServer: ({ session }) => buildServer(session) })
 * ```
 */
export async function mcpEndpoint (fastify: FastifyInstance, options: McpEndpointOptions): Promise<void> {
  const context = requirePluginContext(fastify)
  const resolved = resolveEndpointOptions(options)
  const { reject, rejections, replies, shutdown, enabled } = context
  const { path, route } = resolved
  const runtimes = new SessionRuntimes(context, resolved, fastify.log)
  const modern = new ModernRequests(context, resolved, await createModernLeg(context, resolved, fastify.log), fastify.log)
  shutdown.add(runtimes)
  shutdown.add(modern)
  if (enabled) warnOfTimes(fastify, context.warnings, context.ttl, resolved)

  fastify.setErrorHandler(createErrorHandler(rejections))
  fastify.removeAllContentTypeParsers()
  fastify.addContentTypeParser<string>('application/json', { parseAs: 'string' }, createJsonParser(fastify))

  // On the routes themselves, so that they run after the hooks of the scope, such as its authentication.
  const guard = createRebindingGuard(resolved, context)
  const onRequest = enabled ? [guard, createSessionHook(context, { mode: 'optional', kindOf: kindInSession })] : [guard]

  const handlers = enabled ? createSessionHandlers(context, runtimes) : createStatelessHandlers(context, resolved)
  for (const [method, handle] of Object.entries(handlers)) {
    fastify.route({
      ...toRouteOptions(method, route, fastify),
      method,
      url: path,
      exposeHeadRoute: false,
      // A copy: other plugins add hooks of their own to a route that they see.
      onRequest: [...onRequest],
      handler (request, reply) {
        // A request with a session has its record from the session hook.
        const record = replies.get(reply) ?? replies.begin(request, reply, kindOf(request))
        if (route.handlerTimeout !== undefined && record.kind === 'call') limitTime(request, reply, route.handlerTimeout)
        const incoming = { request, reply, record }
        const answered = request.mcpSession === null && isModern(request) ? modern.handle(incoming) : handle(incoming)
        // The promise is not returned: Fastify would wait for it, and most calls are answered later, by their server.
        answered?.catch((reason: unknown) => reply.send(asError(reason)))
      }
    })
  }
  refuseOtherMethods(fastify, { path, route, served: enabled ? ['GET', 'POST', 'DELETE'] : ['POST'], guard, reject })
}

async function createModernLeg (
  context: PluginContext,
  { modern, responseMode }: ResolvedEndpointOptions,
  log: FastifyBaseLogger
): Promise<ModernLeg | undefined> {
  if (typeof modern !== 'function') return modern && new GivenLeg(modern, context)
  return new DualLeg({ sdk: await loadSdk(), createServer: modern, responseMode, bus: context.bus, log })
}

function kindInSession ({ method }: FastifyRequest): ReplyKind {
  return method === 'GET' ? 'stream' : 'call'
}

function kindOf (request: FastifyRequest): ReplyKind {
  return isListening(request) ? 'stream' : kindInSession(request)
}
