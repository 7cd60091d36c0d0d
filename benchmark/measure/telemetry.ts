// Providers of OpenTelemetry as in production, with exporters that throw away what they get, and what its API costs alone.
import { context, metrics, propagation, SpanKind, trace } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { ExportResultCode, W3CTraceContextPropagator } from '@opentelemetry/core'
import { AggregationTemporality, InMemoryMetricExporter, MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics'
import { BasicTracerProvider, BatchSpanProcessor, type SpanProcessor } from '@opentelemetry/sdk-trace-base'
import { IncomingMessage, ServerResponse, type Server } from 'node:http'
import type { TelemetryOptions } from '../../index.js'
import type { Around } from './tools.js'

const dropping: SpanProcessor = { onStart () {}, onEnd () {}, async forceFlush () {}, async shutdown () {} }

/** What is asked of the package, and what is done around each tool instead of it. */
interface Variant {
  readonly telemetry: TelemetryOptions
  readonly drops?: true
  /** Whether each request of HTTP has a span, which all that follows from it is inside of. */
  readonly tracesHttp?: true
  readonly around?: () => Around
}

const OFF = { metrics: false, traces: false }

const variants: Readonly<Record<string, Variant>> = {
  off: { telemetry: OFF },
  metrics: { telemetry: { metrics: true, traces: false } },
  dropped: { telemetry: { metrics: false, traces: true }, drops: true },
  batched: { telemetry: { metrics: false, traces: true } },
  both: { telemetry: { metrics: true, traces: true } },
  http: { telemetry: OFF, tracesHttp: true },
  'http-both': { telemetry: { metrics: true, traces: true }, tracesHttp: true },
  'bare-context': { telemetry: OFF, around: () => (work) => context.with(trace.deleteSpan(context.active()), work) },
  'bare-histogram': { telemetry: OFF, around: recordBare },
  'bare-dropped': { telemetry: OFF, drops: true, around: () => spanBare(false) },
  'bare-batched': { telemetry: OFF, around: () => spanBare(false) },
  'bare-both': {
    telemetry: OFF,
    around () {
      const [record, span] = [recordBare(), spanBare(true)]
      return (work, call) => record(() => span(work, call), call)
    }
  }
}

/** Sets the providers of this process. */
export function setUpTelemetry (name = '', server: Server): { telemetry: TelemetryOptions, around: Around | undefined } {
  const variant = variants[name]
  if (variant === undefined) throw new Error(`There is no ${name}, only ${Object.keys(variants).join(', ')}`)
  const exporter = {
    export (_spans: unknown, done: (result: { code: ExportResultCode }) => void) { done({ code: ExportResultCode.SUCCESS }) },
    async shutdown () {}
  }
  const reader = new PeriodicExportingMetricReader({ exporter: new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE), exportIntervalMillis: 600_000 })
  metrics.setGlobalMeterProvider(new MeterProvider({ readers: [reader] }))
  trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [variant.drops ? dropping : new BatchSpanProcessor(exporter)] }))
  propagation.setGlobalPropagator(new W3CTraceContextPropagator())
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
  if (variant.tracesHttp) traceHttp(server)
  return { telemetry: variant.telemetry, around: variant.around?.() }
}

// As instrumentation of node:http does it, in as few calls.
function traceHttp (server: Server): void {
  const tracer = trace.getTracer('http')
  const { emit } = server
  server.emit = function traced (event: string, ...args: unknown[]): boolean {
    const [request, response] = args
    const pass = (): boolean => Reflect.apply(emit, this, [event, ...args])
    if (event !== 'request' || !(request instanceof IncomingMessage) || !(response instanceof ServerResponse)) return pass()
    const parent = propagation.extract(context.active(), request.headers)
    const span = tracer.startSpan('POST', {
      kind: SpanKind.SERVER,
      attributes: {
        'http.request.method': 'POST',
        'url.scheme': 'http',
        'url.path': request.url,
        'server.address': request.headers.host,
        'network.protocol.version': request.httpVersion,
        'user_agent.original': request.headers['user-agent']
      }
    }, parent)
    response.once('close', () => {
      span.setAttribute('http.response.status_code', response.statusCode)
      span.end()
    })
    return context.with(trace.setSpan(parent, span), pass)
  }
}

// As few calls as what the package says of a call can be said with.
function recordBare (): Around {
  const histogram = metrics.getMeter('bare').createHistogram('bare', { unit: 's' })
  return (work, { name }) => {
    const start = performance.now()
    const result = work()
    histogram.record((performance.now() - start) / 1000, {
      'network.transport': 'tcp',
      'network.protocol.name': 'http',
      'mcp.method.name': 'tools/call',
      'gen_ai.tool.name': name,
      'mcp.protocol.version': '2025-11-25'
    })
    return result
  }
}

function spanBare (isActive: boolean): Around {
  const tracer = trace.getTracer('bare')
  return (work, { name, id, sessionId }) => {
    const parent = context.active()
    const span = tracer.startSpan(`tools/call ${name}`, {
      kind: SpanKind.SERVER,
      attributes: {
        'network.transport': 'tcp',
        'network.protocol.name': 'http',
        'mcp.method.name': 'tools/call',
        'jsonrpc.request.id': String(id),
        'gen_ai.tool.name': name,
        'gen_ai.operation.name': 'execute_tool',
        'mcp.protocol.version': '2025-11-25',
        'mcp.session.id': sessionId
      }
    }, parent)
    const result = isActive ? context.with(trace.setSpan(parent, span), work) : work()
    span.end()
    return result
  }
}
