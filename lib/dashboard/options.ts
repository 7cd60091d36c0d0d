import type { FastifyInstance, FastifyReply, FastifyRequest, HookHandlerDoneFunction } from 'fastify'
import { checkNames, refuse } from '../base/option-checks.js'
import { REGISTER_OPTIONS } from '../http/register-options.js'

/**
 * An `onRequest` hook. It turns a request away when it throws, rejects, replies or returns false. One that takes `done`,
 * such as those of @fastify/auth and @fastify/basic-auth, calls it when the request may go on.
 */
export type Authorize = (this: FastifyInstance, request: FastifyRequest, reply: FastifyReply, done: HookHandlerDoneFunction) => unknown

/** The options of `sessionsDashboard`, beside the `prefix` of its scope. */
export interface SessionsDashboardOptions {
  /**
   * Who may see the sessions and end them: an `onRequest` hook that turns away everybody else. It is asked before each
   * request, and every 15 minutes for a page that stays open.
   *
   * `'loopback'`: whoever sits at this machine, and nobody who comes through a proxy. For development.
   *
   * @example
   * ```ts
   * await app.register(sessionsDashboard, {
   *   prefix: '/sessions',
   *   async authorize (request, reply) {
   *     await request.jwtVerify()
   *     if (request.user.role !== 'operator') return reply.code(403).send('For operators only')
   *   }
   * })
   * ```
   */
  authorize: Authorize | 'loopback'
}

const NAMES = [...REGISTER_OPTIONS, 'authorize']
const EXPECTED = "a hook (request, reply) that throws or replies to turn a request away, or 'loopback' to let in this machine alone"

/** @throws TypeError that names the option */
export function resolveDashboardOptions (options: SessionsDashboardOptions): Authorize | 'loopback' {
  checkNames(options, NAMES)
  const { authorize } = options
  if (authorize === 'loopback' || typeof authorize === 'function') return authorize
  refuse('authorize', EXPECTED, authorize)
}
