import { recordMetrics } from './metrics.js'
import type { Stop } from '../observe/listen.js'
import type { ResolvedTelemetryOptions } from './options.js'
import { recordTraces } from './traces.js'

/**
 * Gives what happens in one app to the global providers of OpenTelemetry.
 *
 * @param handsOver whether sessions live on elsewhere after a shutdown
 */
export function startTelemetry (sessions: object, { metrics, traces }: ResolvedTelemetryOptions, handsOver: boolean): Stop {
  const stopMetrics = metrics ? recordMetrics(sessions, handsOver) : undefined
  const stopTraces = traces ? recordTraces(sessions) : undefined
  return () => {
    stopMetrics?.()
    stopTraces?.()
  }
}
