import type { FastifyInstance, FastifyReply, FastifyRequest, onRequestHookHandler } from 'fastify'
import { exemptFromTimeout } from '../http/handler-timeout.js'
import { requirePluginContext, type PluginContext } from '../http/plugin-context.js'
import { createAuthorization } from './authorization.js'
import { ClusterView } from './cluster-view.js'
import { endSession } from './end-session.js'
import { findForeignAction, findForeignReader, findStranger } from './guard.js'
import { History } from './history.js'
import { LiveSessions } from './live-sessions.js'
import { resolveDashboardOptions, type Authorize, type SessionsDashboardOptions } from './options.js'
import { PROTECTION, readPage } from './page.js'
import { readQuery, type TableQuery } from './query.js'
import { refuse } from './refusal.js'
import { States } from './state.js'
import { Viewers } from './viewers.js'

// These routes take no notice of the session header.
const ROUTE = { config: { mcpSession: 'ignore' } } as const
const DATA_ROUTE = { ...ROUTE, exposeHeadRoute: false } as const
const EVENT_HEADERS = {
  'content-type': 'text/event-stream; charset=utf-8',
  'cache-control': 'no-store, no-transform',
  // nginx would keep events back until a buffer is full.
  'x-accel-buffering': 'no'
}

/**
 * Mounts, under `prefix`, a page that shows the sessions of the app and of its cluster, and can end them.
 *
 * @throws MissingPluginError when `mcpSessions` is not registered
 * @throws TypeError that names the option which is wrong
 * @example
 * ```ts
 * await app.register(sessionsDashboard, { prefix: '/sessions', authorize: 'loopback' })
 * ```
 */
export async function sessionsDashboard (fastify: FastifyInstance, options: SessionsDashboardOptions): Promise<void> {
  const authorize = resolveDashboardOptions(options)
  const context = requirePluginContext(fastify)
  const page = await readPage()
  fastify.addHook('onRequest', protect)
  fastify.addHook('onRequest', createGate(authorize))

  for (const { path, headers, body } of page) {
    fastify.get(path, ROUTE, async function sendFile (request, reply) {
      // Without a slash at the end of its URL, the browser would look for the files of the page beside it.
      if (path === '/' && !isFolder(request.originalUrl)) return reply.redirect(toFolder(request.originalUrl), 302)
      return reply.headers(headers).send(body)
    })
  }
  mountData(fastify, context)
}

function mountData (fastify: FastifyInstance, context: PluginContext): void {
  const { sessions, directory } = context
  const live = new LiveSessions({ sessions, node: () => directory.node ?? '' })
  const history = new History(sessions)
  const cluster = context.cluster && new ClusterView({ directory, uses: context.cluster.uses })
  const states = new States({ live, history, cluster })
  const viewers = new Viewers({
    look: () => states.look(),
    onFirst: () => cluster?.watch(),
    onLast () {
      cluster?.unwatch()
      live.forget()
    }
  })
  const stops = [live.listen(), history.listen()]
  fastify.addHook('onClose', async function stopListening () {
    for (const stop of stops) stop()
  })

  fastify.get('/state', DATA_ROUTE, async function sendState (request, reply) {
    const query = readData(request, reply)
    if (query === undefined) return reply
    await cluster?.refresh()
    const state = JSON.stringify(states.look().make(query))
    if (viewers.count === 0) live.forget()
    return reply.headers({ 'content-type': 'application/json; charset=utf-8', 'cache-control': 'no-store' }).send(state)
  })

  mountEvents(fastify, context, viewers)

  fastify.post<{ Params: { hash: string } }>('/sessions/:hash/end', DATA_ROUTE, async function end (request, reply) {
    const foreign = findForeignAction(request)
    if (foreign !== undefined) return refuse(reply, 403, foreign)
    return endSession(request, reply, { live, states, cluster, directory })
  })
}

function mountEvents (fastify: FastifyInstance, { replies }: PluginContext, viewers: Viewers): void {
  const handlerTimeout = exemptFromTimeout(fastify)
  const route = { ...DATA_ROUTE, ...(handlerTimeout !== undefined && { handlerTimeout }) }
  fastify.get('/events', route, function sendEvents (request, reply) {
    const query = readData(request, reply)
    if (query === undefined) return
    if (viewers.isFull) {
      refuse(reply.header('retry-after', 5), 503, 'Too many pages are open')
      return
    }
    const stream = viewers.open(query)
    // A record, so that the shutdown of the app ends it as it ends the streams of sessions.
    const record = replies.begin(request, reply, 'stream')
    record.endWith(() => stream.end())
    record.onOver(() => stream.destroy())
    reply.headers(EVENT_HEADERS).send(stream)
  })
}

function readData (request: FastifyRequest, reply: FastifyReply): TableQuery | undefined {
  const foreign = findForeignReader(request)
  if (foreign !== undefined) {
    refuse(reply, 403, foreign)
    return undefined
  }
  const query = readQuery(Object(request.query))
  if (typeof query !== 'string') return query
  refuse(reply, 400, query)
  return undefined
}

const protect: onRequestHookHandler = function protect (_request, reply, done) {
  reply.headers(PROTECTION)
  done()
}

function createGate (authorize: Authorize | 'loopback'): onRequestHookHandler {
  return authorize === 'loopback' ? refuseStrangers : createAuthorization(authorize)
}

const refuseStrangers: onRequestHookHandler = function refuseStrangers (request, reply, done) {
  const stranger = findStranger(request)
  if (stranger === undefined) done()
  else refuse(reply, 403, stranger)
}

function isFolder (url: string): boolean {
  return /^[^?]*\/(?:\?|$)/.test(url)
}

// The same URL with a slash at its end. Relative, because a proxy in front of the app may have it under another path.
function toFolder (url: string): string {
  return url.replace(/^(?:[^?]*\/)?([^/?]*)(.*)$/, './$1/$2')
}
