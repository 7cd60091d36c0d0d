import type { FastifyInstance } from 'fastify'
import { MissingPluginError } from '../base/errors.js'
import type { ResolvedOptions } from '../plugin/options.js'
import type { SessionCluster } from './session-cluster.js'
import type { SessionManager } from '../session/session-manager.js'
import type { Shutdown } from './shutdown.js'

/** What the plugin leaves on the instance for the endpoints that are mounted on it. */
export interface SessionLayer extends ResolvedOptions {
  readonly sessions: SessionManager
  readonly shutdown: Shutdown
  /** Undefined: all sessions live in this process. */
  readonly cluster: SessionCluster | undefined
}

const kSessionLayer = Symbol('fastify-mcp-sessions.layer')

export function provideSessionLayer (fastify: FastifyInstance, layer: SessionLayer): void {
  fastify.decorate(kSessionLayer, layer)
}

/** @throws MissingPluginError when the plugin is not registered */
export function requireSessionLayer (fastify: FastifyInstance): SessionLayer {
  if (!fastify.hasDecorator(kSessionLayer)) throw new MissingPluginError()
  return fastify.getDecorator<SessionLayer>(kSessionLayer)
}
