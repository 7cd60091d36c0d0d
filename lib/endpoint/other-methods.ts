import type { FastifyInstance, FastifyReply, FastifyRequest, onRequestHookHandler } from 'fastify'
import { MethodNotAllowedError } from '../base/errors.js'
import type { Reject } from '../http/rejection.js'
import { toRouteOptions, type EndpointRouteOptions } from './route-options.js'

export interface OtherMethodsOptions {
  readonly path: string
  /** The methods that are served at the path. */
  readonly served: readonly string[]
  readonly route: EndpointRouteOptions
  readonly guard: onRequestHookHandler
  readonly reject: Reject
}

/**
 * Answers 405 to every method that the path does not have, and `Allow` says which it has. A method for which the app
 * has a route of its own there is left to it. So is OPTIONS, to @fastify/cors.
 */
export function refuseOtherMethods (app: FastifyInstance, { path, served, route, guard, reject }: OtherMethodsOptions): void {
  const others = app.supportedMethods.filter((method) => method !== 'OPTIONS' && !served.includes(method))
  const own = others.filter((method) => isTaken(app, method, path, route))
  const allow = [...served, ...own].join(', ')

  function refuse (request: FastifyRequest, reply: FastifyReply): void {
    reply.header('allow', allow)
    reject(request, reply, new MethodNotAllowedError())
  }

  for (const method of others) {
    if (own.includes(method)) continue
    app.route({
      ...toRouteOptions(method, { ...route, schema: { hide: true } }, app),
      method,
      url: path,
      exposeHeadRoute: false,
      // In a hook, because the body comes next, and may be of a type that is not read here. The handler is never called, but
      // Fastify wants one.
      onRequest: [guard, refuse],
      handler: refuse
    })
  }
}

function isTaken (app: FastifyInstance, method: string, path: string, { constraints }: EndpointRouteOptions): boolean {
  const { prefix } = app
  const urls = path === '/' ? [prefix, `${prefix}/`] : [prefix.replace(/\/$/, '') + path]
  return urls.some((url) => app.hasRoute({ method, url, ...(constraints && { constraints }) }))
}
