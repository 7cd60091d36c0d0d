import type {
  ContextConfigDefault, FastifyBaseLogger, FastifySchema, FastifyTypeProvider, FastifyTypeProviderDefault, HTTPMethods,
  RawReplyDefaultExpression, RawRequestDefaultExpression, RawServerBase, RawServerDefault, RouteGenericInterface, RouteHandlerMethod,
  RouteShorthandOptions as ShorthandOptions
} from 'fastify'
import type { SessionDirectory } from '../http/session-directory.js'
import type { SessionManager } from '../session/session-manager.js'
import type { SessionMode } from '../http/session-hook.js'
import type { Mcp } from './mcp.js'
import type { Session } from '../session/session.js'

/** What a request is on a route that says `config: { mcpSession: 'required' }`. */
export interface WithSession {
  readonly mcpSession: Session
}

/** The options of a route that requires a session. */
interface RequiresSession {
  config: { mcpSession: 'required' }
}

/** The handler of such a route: one that Fastify takes, whose request has a session. */
type SessionHandler<Handler extends (request: never, reply: never) => unknown> = (
  this: ThisParameterType<Handler>,
  request: Parameters<Handler>[0] & WithSession,
  reply: Parameters<Handler>[1]
) => ReturnType<Handler>

declare module 'fastify' {
  interface FastifyInstance<
    RawServer extends RawServerBase = RawServerDefault,
    RawRequest extends RawRequestDefaultExpression<RawServer> = RawRequestDefaultExpression<RawServer>,
    RawReply extends RawReplyDefaultExpression<RawServer> = RawReplyDefaultExpression<RawServer>,
    Logger extends FastifyBaseLogger = FastifyBaseLogger,
    TypeProvider extends FastifyTypeProvider = FastifyTypeProviderDefault
  > {
    /** The sessions of this process. */
    sessionManager: SessionManager
    /** What goes out to MCP clients of its own accord. */
    mcp: Mcp
    /** All sessions: those of the whole cluster, or without one of this process. */
    sessionDirectory: SessionDirectory

    /** A route that requires a session has one: `request.mcpSession` is not null. */
    route<
      RouteGeneric extends RouteGenericInterface = RouteGenericInterface,
      ContextConfig = ContextConfigDefault,
      const SchemaCompiler extends FastifySchema = FastifySchema
    >(
      opts: ShorthandOptions<RawServer, RawRequest, RawReply, RouteGeneric, ContextConfig, SchemaCompiler, TypeProvider, Logger> & RequiresSession & {
        method: HTTPMethods | HTTPMethods[]
        url: string
        handler: SessionHandler<RouteHandlerMethod<RawServer, RawRequest, RawReply, RouteGeneric, ContextConfig, SchemaCompiler, TypeProvider, Logger>>
      }
    ): FastifyInstance<RawServer, RawRequest, RawReply, Logger, TypeProvider>
  }

  interface RouteShorthandMethod<
    RawServer extends RawServerBase = RawServerDefault,
    RawRequest extends RawRequestDefaultExpression<RawServer> = RawRequestDefaultExpression<RawServer>,
    RawReply extends RawReplyDefaultExpression<RawServer> = RawReplyDefaultExpression<RawServer>,
    TypeProvider extends FastifyTypeProvider = FastifyTypeProviderDefault,
    Logger extends FastifyBaseLogger = FastifyBaseLogger
  > {
    /** A route that requires a session has one: `request.mcpSession` is not null. */
    <
      RouteGeneric extends RouteGenericInterface = RouteGenericInterface,
      ContextConfig = ContextConfigDefault,
      const SchemaCompiler extends FastifySchema = FastifySchema
    >(
      path: string,
      opts: ShorthandOptions<RawServer, RawRequest, RawReply, RouteGeneric, ContextConfig, SchemaCompiler, TypeProvider, Logger> & RequiresSession,
      handler: SessionHandler<RouteHandlerMethod<RawServer, RawRequest, RawReply, RouteGeneric, ContextConfig, SchemaCompiler, TypeProvider, Logger>>
    ): FastifyInstance<RawServer, RawRequest, RawReply, Logger, TypeProvider>
  }

  interface FastifyRequest {
    /** The session that the request belongs to; null when it names none. There from `preParsing` on. */
    mcpSession: Session | null
  }

  interface FastifyContextConfig {
    /**
     * What the route wants of the `mcp-session-id` header. `'required'`: a good id; `'optional'`: none, or a good one;
     * `'ignore'`: it is not looked at.
     *
     * @default 'optional'
     * @example
     * ```ts
     * app.get('/cart', { config: { mcpSession: 'required' } }, async (request) => request.mcpSession.metadata)
     * ```
     */
    mcpSession?: SessionMode | undefined
  }
}
