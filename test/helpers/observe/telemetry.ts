import { context, metrics, propagation, trace } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { W3CTraceContextPropagator } from '@opentelemetry/core'
import { AggregationTemporality, InMemoryMetricExporter, MeterProvider, PeriodicExportingMetricReader, type MetricData } from '@opentelemetry/sdk-metrics'
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor, type ReadableSpan } from '@opentelemetry/sdk-trace-base'
import type { Test } from 'tap'

export interface Telemetry {
  /** What has been measured up to now. */
  metrics (): Promise<MetricData[]>
  /** The spans that are over. */
  spans (): ReadableSpan[]
}

/** Global providers of OpenTelemetry that keep all in memory, until the test is over. */
export function setUpTelemetry (t: Test): Telemetry {
  const spanExporter = new InMemorySpanExporter()
  const metricExporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
  const reader = new PeriodicExportingMetricReader({ exporter: metricExporter, exportIntervalMillis: 3_600_000 })
  const meterProvider = new MeterProvider({ readers: [reader] })
  const tracerProvider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spanExporter)] })
  metrics.setGlobalMeterProvider(meterProvider)
  trace.setGlobalTracerProvider(tracerProvider)
  propagation.setGlobalPropagator(new W3CTraceContextPropagator())
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
  t.teardown(async () => {
    for (const api of [metrics, trace, propagation, context]) api.disable()
    await meterProvider.shutdown()
    await tracerProvider.shutdown()
  })
  return {
    async metrics () {
      metricExporter.reset()
      await meterProvider.forceFlush()
      return metricExporter.getMetrics().flatMap(({ scopeMetrics }) => scopeMetrics.flatMap(({ metrics }) => metrics))
    },
    spans: () => spanExporter.getFinishedSpans()
  }
}

/** The sum of what was counted under these attributes. */
export function sumOf (metrics: readonly MetricData[], name: string, attributes: Record<string, unknown> = {}): number {
  let sum = 0
  for (const { descriptor, dataPoints } of metrics) {
    if (descriptor.name !== name) continue
    for (const { value, attributes: own } of dataPoints) {
      if (!Object.entries(attributes).every(([key, wanted]) => own[key] === wanted)) continue
      sum += typeof value === 'number' ? value : value.count
    }
  }
  return sum
}
