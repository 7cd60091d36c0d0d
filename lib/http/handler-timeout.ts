import type { FastifyInstance } from 'fastify'
import { clampToTimer } from '../base/option-checks.js'

/**
 * The `handlerTimeout` for a route that may take as long as it likes, in milliseconds. Fastify has no way to opt out of the
 * timeout of the app, so it is the longest that there is. Undefined: the app has no timeout.
 */
export function exemptFromTimeout ({ initialConfig }: FastifyInstance): number | undefined {
  const isTimed = 'handlerTimeout' in initialConfig && initialConfig.handlerTimeout !== 0
  return isTimed ? clampToTimer(Infinity) : undefined
}
