import { checkBoolean, checkNames, refuse } from '../base/option-checks.js'

/** What goes to the global providers of `@opentelemetry/api`. */
export interface TelemetryOptions {
  /**
   * Whether there are metrics.
   *
   * @default true
   */
  metrics?: boolean | undefined
  /**
   * Whether there are spans.
   *
   * @default true
   */
  traces?: boolean | undefined
}

export interface ResolvedTelemetryOptions {
  readonly metrics: boolean
  readonly traces: boolean
}

/** @throws TypeError that names the option */
export function resolveTelemetryOptions (telemetry: boolean | TelemetryOptions): ResolvedTelemetryOptions {
  if (typeof telemetry === 'boolean') return { metrics: telemetry, traces: telemetry }
  if (typeof telemetry !== 'object' || telemetry === null) refuse('telemetry', 'true, false or an object { metrics, traces }', telemetry)
  checkNames(telemetry, ['metrics', 'traces'], 'telemetry')
  const { metrics = true, traces = true } = telemetry
  return { metrics: checkBoolean('telemetry.metrics', metrics), traces: checkBoolean('telemetry.traces', traces) }
}
