import type { FastifyInstance } from 'fastify'
import { SessionNotFoundError } from '../base/errors.js'
import { checkNames } from '../base/option-checks.js'
import { keepMadeState } from '../http/made-sessions.js'
import { requirePluginContext } from '../http/plugin-context.js'
import { CLIENT_INFO } from './sdk.js'

/** The options of `serveSession()`. */
export interface ServeSessionOptions {
  /**
   * The path of the endpoint.
   *
   * @default '/mcp'
   */
  path?: string | undefined
  /**
   * What the client can do, as it would say in `initialize`: `{ elicitation: {} }`.
   *
   * @default {}
   */
  capabilities?: Readonly<Record<string, unknown>> | undefined
}

/**
 * Has an endpoint serve a session that `app.sessionManager.create()` or `register()` has made, as any other: it gets its
 * MCP server with its first request, from `createServer`. A session that a client has opened stays as it is.
 *
 * @throws SessionNotFoundError when there is no such session; TypeError for an option that there is not
 * @example
 * ```ts
 * const id = app.sessionManager.create({ cart: ['tea'] }, { principal: 'ann' })
 * serveSession(app, id)
 * ```
 */
export function serveSession (app: FastifyInstance, id: string, options: ServeSessionOptions = {}): void {
  checkNames(options, ['path', 'capabilities'])
  const { path = '/mcp', capabilities = {} } = options
  const { sessions } = requirePluginContext(app)
  const session = sessions.get(id)
  if (session === undefined) throw new SessionNotFoundError()
  const { clientInfo = CLIENT_INFO, protocolVersion = '2025-11-25' } = session
  keepMadeState(session, { path, initialize: { protocolVersion, capabilities, clientInfo }, initialized: true })
}
