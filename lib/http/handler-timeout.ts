import type { FastifyInstance } from 'fastify'
import { clampToTimer } from '../base/option-checks.js'

/**
 * The `handlerTimeout` of a route that has no end of its own: it cannot opt out of the timeout of the app, only have a
 * longer one. Undefined: the app has none.
 */
export function exemptFromTimeout ({ initialConfig }: FastifyInstance): number | undefined {
  const isTimed = 'handlerTimeout' in initialConfig && initialConfig.handlerTimeout !== 0
  return isTimed ? clampToTimer(Infinity) : undefined
}
