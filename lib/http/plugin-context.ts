import type { FastifyInstance } from 'fastify'
import { MissingPluginError, RegisteredTwiceError } from '../base/errors.js'
import type { Announcements } from './announcements.js'
import type { EventBus } from './event-bus.js'
import type { Identify } from './principal.js'
import type { OpeningRate } from './opening-rate.js'
import type { Reject, Rejections } from './rejection.js'
import type { ReplyTracker } from './reply-tracker.js'
import type { SessionDirectory } from './session-directory.js'
import type { SessionCluster } from './session-cluster.js'
import type { SessionManager } from '../session/session-manager.js'
import type { Shutdown } from './shutdown.js'
import type { Warnings } from './warnings.js'

/** What the plugin leaves on the instance for the endpoints that are mounted on it. */
export interface PluginContext {
  readonly enabled: boolean
  /** Milliseconds; 0: sessions never expire. */
  readonly ttl: number
  readonly identify: Identify
  readonly reject: Reject
  /** What error handlers answer rejections with. */
  readonly rejections: Rejections
  /** Milliseconds. */
  readonly drainTimeout: number
  readonly maxSessions: number
  /** Infinity: no limit. */
  readonly maxSessionsPerPrincipal: number
  readonly sessions: SessionManager
  readonly replies: ReplyTracker
  readonly shutdown: Shutdown
  readonly warnings: Warnings
  /** Undefined: sessions may be opened as often as one likes. */
  readonly openingRate: OpeningRate | undefined
  readonly announcements: Announcements
  /** The announcements, for handlers of clients without sessions. */
  readonly bus: EventBus
  /** Undefined: all sessions live in this process. */
  readonly cluster: SessionCluster | undefined
  /** The sessions of the cluster, or without one those of this process. */
  readonly directory: SessionDirectory
}

const kPluginContext = Symbol('fastify-mcp-sessions.context')

declare module 'fastify' {
  interface FastifyInstance {
    [kPluginContext]?: PluginContext
  }
}

/** @throws RegisteredTwiceError when the plugin is registered, here or on an instance that encloses this one */
export function refuseSecondContext (fastify: FastifyInstance): void {
  if (fastify[kPluginContext] !== undefined) throw new RegisteredTwiceError()
}

export function providePluginContext (fastify: FastifyInstance, context: PluginContext): void {
  fastify.decorate(kPluginContext, context)
}

/** @throws MissingPluginError when the plugin is not registered */
export function requirePluginContext (fastify: FastifyInstance): PluginContext {
  const context = fastify[kPluginContext]
  if (context === undefined) throw new MissingPluginError()
  return context
}
