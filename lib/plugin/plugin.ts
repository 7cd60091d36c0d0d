import type { FastifyBaseLogger, FastifyInstance, FastifySchema } from 'fastify'
import fp from 'fastify-plugin'
import nodeCluster from 'node:cluster'
import './augmentation.js'
import { findOwnUrl } from '../cluster/advertise.js'
import type { ClusterNode } from '../cluster/cluster-node.js'
import type { ClusterOptions } from '../cluster/options.js'
import { explainMissing } from '../base/missing-package.js'
import { createFailureLogger } from './fastify-logger.js'
import { logSessions } from './session-log.js'
import { createMcp, type Mcp } from './mcp.js'
import { resolveOptions, type McpSessionsOptions, type ResolvedOptions } from './options.js'
import { createWriteBarrier } from '../http/write-barrier.js'
import { LocalSessionDirectory, type SessionDirectory } from '../http/session-directory.js'
import { Connections } from '../http/connections.js'
import { decorateWithRecord, ReplyTracker } from '../http/reply-tracker.js'
import { warnOfMistakes } from './boot-warnings.js'
import { LocalAnnouncements } from '../http/announcements.js'
import { LocalMinuteCounts, OpeningRate } from '../http/opening-rate.js'
import { createBodyHook } from '../http/body-hook.js'
import { createEarlyAnswerHook, createReceiveHook, createReplayHook } from '../http/hop-hooks.js'
import { createEarlierHook, createRouteHook } from '../http/session-hook.js'
import { hashSessionId } from '../session/session-id.js'
import { providePluginContext, refuseSecondContext, type PluginContext } from '../http/plugin-context.js'
import { SessionManager } from '../session/session-manager.js'
import { Shutdown } from '../http/shutdown.js'
import { Warnings } from '../http/warnings.js'

// Where a node asks another one whether it is alive, and whether it has the requests that were passed on to it.
const PING_PATH = '/mcp-session-hops'

async function mcpSessionsPlugin (fastify: FastifyInstance, options: McpSessionsOptions): Promise<void> {
  refuseSecondContext(fastify)
  const resolved = resolveOptions(options)
  const { cleanupInterval, maxSessionsPerPrincipal, logger = createFailureLogger(fastify.log) } = options
  const { enabled, ttl, maxSessions, maxOpensPerMinute, drainTimeout, rejections } = resolved
  const sessions = new SessionManager({ ttl, cleanupInterval, maxSessions, maxSessionsPerPrincipal, logger, formatId: hashSessionId })
  const endLog = options.logger === undefined ? logSessions(sessions, fastify.log) : undefined
  const replies = new ReplyTracker(sessions)
  const stopTelemetry = await beginTelemetry(sessions, resolved, options.cluster !== undefined)
  const warnings = new Warnings(fastify.log, options.ignoreWarnings)
  const node = options.cluster === undefined ? undefined : await joinCluster(fastify, sessions, ttl, options.cluster, warnings)
  const shutdown = new Shutdown({ sessions, replies, connections: new Connections(fastify.server), drainTimeout, successor: node })
  const announcements = node?.announcements ?? createLocalAnnouncements(fastify.log)
  const openingRate = createOpeningRate(maxOpensPerMinute, node)
  const mcp = createMcp({ announcements, shutdown, node })
  const identify = warnOfMistakes(fastify, warnings, {
    isEnabled: enabled,
    identify: resolved.identify,
    isIdentifyGiven: options.identify !== undefined,
    isClustered: node !== undefined,
    isForwarded: (request) => node?.isForwarded(request) === true,
    isWorker: nodeCluster.isWorker
  })
  const directory: SessionDirectory = node?.directory ?? new LocalSessionDirectory(sessions)
  const { reject } = rejections
  const context: PluginContext = {
    ...resolved, identify, reject, sessions, replies, shutdown, warnings, openingRate, announcements, bus: mcp.bus, cluster: node, directory
  }
  decorate(fastify, context, mcp)

  fastify.addHook('onReady', async function startCleanup () {
    sessions.startTTLCleanup()
  })
  // In preClose, because close() waits for open streams before it calls onClose, and only this ends them.
  fastify.addHook('preClose', async function endSessions () {
    await shutdown.run()
  })
  // An app that fails to boot gets here without preClose, and sessions can have been opened since preClose.
  fastify.addHook('onClose', async function closeSessions () {
    await shutdown.finish()
    await node?.leave()
    endLog?.()
    stopTelemetry?.()
  })
  if (enabled) addRequestHooks(fastify, context, node)
}

function decorate (fastify: FastifyInstance, context: PluginContext, mcp: Mcp): void {
  fastify.decorate('sessionManager', context.sessions)
  fastify.decorate('sessionDirectory', context.directory)
  fastify.decorate('mcp', mcp)
  fastify.decorateRequest('mcpSession', null)
  decorateWithRecord(fastify)
  providePluginContext(fastify, context)
}

function addRequestHooks (fastify: FastifyInstance, context: PluginContext, node: ClusterNode | undefined): void {
  const { rejections } = context
  fastify.addHook('onRoute', createRouteHook(context))
  fastify.addHook('onRoute', rejections.watchRoute)
  if (node !== undefined) fastify.addHook('onRequest', createReceiveHook({ ...context, cluster: node }))
  if (hasRoutes(fastify)) fastify.addHook('onRequest', createEarlierHook(context, (request) => rejections.isWatched(request)))
  if (node !== undefined) fastify.addHook('preParsing', createReplayHook({ ...context, cluster: node }))
  fastify.addHook('preValidation', createBodyHook(context))
  if (node === undefined) return
  fastify.addHook('onSend', createWriteBarrier({ ...context, cluster: node }))
  fastify.addHook('onSend', createEarlyAnswerHook({ ...context, cluster: node }))
  addPingRoute(fastify, node)
}

// The answer is in the head of the response, which the node writes before the app's first hook runs.
function addPingRoute (fastify: FastifyInstance, node: ClusterNode): void {
  // The plugin may be registered in another scope of this prefix, too: its route answers for both.
  if (fastify.hasRoute({ method: 'GET', url: pingPathOf(fastify) })) return
  // Keeps the route out of API descriptions, such as those of @fastify/swagger.
  const schema: FastifySchema & { hide: boolean } = { hide: true }
  const options = { logLevel: 'silent', exposeHeadRoute: false, schema, config: { mcpSession: 'ignore' } } as const
  fastify.get(PING_PATH, options, async function answerNode (request, reply) {
    if (!node.isForwarded(request)) return reply.callNotFound()
    return reply.code(204).send()
  })
}

function pingPathOf ({ prefix }: FastifyInstance): string {
  return `${prefix}${PING_PATH}`
}

// Routes that are there already do not pass by onRoute any more.
function hasRoutes (fastify: FastifyInstance): boolean {
  return fastify.printRoutes() !== '(empty tree)'
}

function createOpeningRate (max: number | undefined, node: ClusterNode | undefined): OpeningRate | undefined {
  return max === undefined ? undefined : new OpeningRate(max, node?.minuteCounts ?? new LocalMinuteCounts())
}

function createLocalAnnouncements (log: FastifyBaseLogger): LocalAnnouncements {
  return new LocalAnnouncements((error) => log.error(error, 'Somebody who listens to announcements has failed'))
}

// Loaded on demand: @opentelemetry/api need not be installed.
async function beginTelemetry (
  sessions: SessionManager,
  { telemetry }: ResolvedOptions,
  handsOver: boolean
): Promise<(() => void) | undefined> {
  if (!telemetry.metrics && !telemetry.traces) return undefined
  const { startTelemetry } = await import('../telemetry/telemetry.js').catch(explainMissing('telemetry', '@opentelemetry/api'))
  return startTelemetry(sessions, telemetry, handsOver)
}

// Loaded on demand: an app on one machine does not need any of it.
async function joinCluster (
  fastify: FastifyInstance,
  sessions: SessionManager,
  ttl: number,
  options: ClusterOptions,
  warnings: Warnings
): Promise<ClusterNode> {
  const { createClusterNode } = await import('../cluster/cluster-node.js')
  const node = createClusterNode({
    sessions,
    ttl,
    options,
    findOwnUrl: () => findOwnUrl(fastify),
    pingPath: pingPathOf(fastify),
    log: fastify.log,
    warnings
  })
  node.listen(fastify.server)
  fastify.addHook('onListen', async function joinOthers () {
    await node.join()
  })
  return node
}

/**
 * Adds sessions to an app: `app.sessionManager`, `app.sessionDirectory`, `app.mcp`, and `request.mcpSession` on its requests.
 *
 * @throws TypeError that names the option which is wrong
 * @throws RegisteredTwiceError when it is registered already, here or on an instance that encloses this one
 * @example
 * ```ts
 * await app.register(mcpSessions, { identify: (request) => request.user?.sub })
 * ```
 */
export const mcpSessions = fp(mcpSessionsPlugin, {
  name: 'fastify-mcp-sessions',
  fastify: '5.x'
})
