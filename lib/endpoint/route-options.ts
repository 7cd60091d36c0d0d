import type { FastifyContextConfig, FastifyInstance, FastifySchema, RouteOptions } from 'fastify'
import { checkCount, checkTimer, refuse } from '../base/option-checks.js'
import { exemptFromTimeout } from '../http/handler-timeout.js'

// With handlerTimeout spelt out, because older versions of Fastify do not have it.
type PassedOn = Pick<RouteOptions, 'bodyLimit' | 'schema' | 'config' | 'constraints'> & { handlerTimeout?: number }

/** Options of Fastify's routes that an endpoint passes on to its own. */
export interface EndpointRouteOptions {
  /**
   * How many bytes the body of a message may have. Past it: 413.
   *
   * @default that of the app
   */
  bodyLimit?: number | undefined
  /**
   * Milliseconds after which a call is answered 503 or, when its stream has begun, cut. Streams that stay open, of GET
   * and of `subscriptions/listen`, are not calls. What the app has set for all of its routes does not count here, for a
   * tool may take its time.
   *
   * @default no timeout
   */
  handlerTimeout?: number | undefined
  /** Describes the routes, for @fastify/swagger: `{ hide: true }` leaves them out. A `body` in it is that of POST. */
  schema?: (FastifySchema & { readonly [key: string]: unknown }) | undefined
  /** Config of the routes, for other plugins. `mcpSession` is the endpoint's own. */
  config?: (Omit<FastifyContextConfig, 'mcpSession'> & { readonly mcpSession?: undefined, readonly [key: string]: unknown }) | undefined
  /** Which requests the routes are for, such as `{ host: 'mcp.example.com' }`. */
  constraints?: RouteOptions['constraints'] | undefined
}

/** @throws TypeError that names the option */
export function resolveRouteOptions (options: EndpointRouteOptions): EndpointRouteOptions {
  const { bodyLimit, handlerTimeout, schema, config, constraints } = options
  checkCount('bodyLimit', bodyLimit)
  if (checkCount('handlerTimeout', handlerTimeout) !== undefined) checkTimer('handlerTimeout', handlerTimeout, 'not allowed here')
  checkObject('schema', schema)
  checkObject('config', config)
  checkObject('constraints', constraints)
  if (config?.mcpSession !== undefined) refuse('config.mcpSession', 'left to the endpoint', config.mcpSession)
  return { bodyLimit, handlerTimeout, schema, config, constraints }
}

/** The options of the route for one method, as Fastify takes them. */
export function toRouteOptions (method: string, options: EndpointRouteOptions, app: FastifyInstance): PassedOn {
  const { bodyLimit, schema, config, constraints } = options
  const handlerTimeout = exemptFromTimeout(app)
  return {
    config: { ...config, mcpSession: 'ignore' },
    ...(bodyLimit !== undefined && { bodyLimit }),
    ...(handlerTimeout !== undefined && { handlerTimeout }),
    ...(constraints !== undefined && { constraints }),
    ...(schema !== undefined && { schema: toSchema(method, schema) })
  }
}

// A copy for each route, because Fastify marks the schemas that it has seen. It refuses a body schema for methods without one.
function toSchema (method: string, schema: FastifySchema): FastifySchema {
  const { body, ...others } = schema
  return method === 'POST' ? { ...schema } : others
}

function checkObject (name: string, value: unknown): void {
  if (value !== undefined && (typeof value !== 'object' || value === null || Array.isArray(value))) refuse(name, 'an object', value)
}
