import {
  context, createContextKey, propagation, ROOT_CONTEXT, SpanKind, SpanStatusCode, trace,
  type Attributes, type Context, type Link, type Span
} from '@opentelemetry/api'
import { AsyncLocalStorage } from 'node:async_hooks'
import {
  tracingChannels, type CallMessage, type ChannelMessage, type ForwardMessage, type ObservedSession, type TypedTracingChannel
} from '../observe/channels.js'
import { hashSessionId } from '../session/session-id.js'
import { OTHER } from './bounded-names.js'
import { readErrorType, readRevision, readTarget, type CallTarget } from './call-facts.js'
import { listen, type Stop } from '../observe/listen.js'

// How many characters are kept of what a client has made up, such as the name of a tool.
const LONGEST = 256
// How many characters a header, or what stands for one in `_meta`, may have.
const LONGEST_HEADER = 8192
// The keys of `_meta` that SEP-414 has: https://modelcontextprotocol.io/seps/414-request-meta
const PROPAGATED = ['traceparent', 'tracestate', 'baggage']
// What `suppressTracing` of @opentelemetry/core sets. Without it, instrumentation of undici would send a second `traceparent`,
// and a request with two of them has none.
const SUPPRESS_TRACING = createContextKey('OpenTelemetry SDK Context Key SUPPRESS_TRACING')

/** Makes spans of the calls of one app, and of what it passes on to other nodes. */
export function recordTraces (sessions: object): Stop {
  const tracer = trace.getTracer('fastify-mcp-sessions')
  const hashes = new WeakMap<ObservedSession, string>()
  const stops = [
    spansOf(tracingChannels.call, sessions, startCall, endCall),
    spansOf(tracingChannels['request.forwarded'], sessions, startForward, endForward)
  ]
  return () => { for (const stop of stops) stop() }

  function startCall (call: CallMessage): Begun {
    const { parent, links } = findParent(call)
    const target = readTarget(call)
    const span = tracer.startSpan(nameOf(call, target), { kind: SpanKind.SERVER, attributes: describeCall(call, target), links }, parent)
    // Not among the attributes at the start: no sampler needs it, and for a span that is not kept nothing is hashed.
    if (call.session !== undefined && span.isRecording()) span.setAttribute('mcp.session.id', hashOf(call.session))
    return { span, inside: trace.setSpan(parent, span) }
  }

  // Kept, because to hash the id for each call would be a fifth of what a span costs.
  function hashOf (session: ObservedSession): string {
    const known = hashes.get(session)
    if (known !== undefined) return known
    const hash = hashSessionId(session.id)
    hashes.set(session, hash)
    return hash
  }

  // The parent comes from the headers, as on the owner: the body has not been read yet.
  function startForward (hop: ForwardMessage): Begun {
    const parent = findAmbient(hop.headers)
    const span = tracer.startSpan('forward to owner', {
      kind: SpanKind.CLIENT,
      attributes: { 'mcp.session.id': hashSessionId(hop.sessionId), 'http.request.method': hop.method, 'url.full': hop.url }
    }, parent)
    const inside = trace.setSpan(parent, span)
    propagation.inject(inside, hop.headers)
    return { span, inside: inside.setValue(SUPPRESS_TRACING, true) }
  }
}

interface Begun {
  readonly span: Span
  /** The context for what happens within the span. */
  readonly inside: Context
}

/** Has `diagnostics_channel` run work within a context of OpenTelemetry, by looking like an `AsyncLocalStorage` to it. */
class ContextStore extends AsyncLocalStorage<Context | undefined> {
  override run<R, A extends unknown[]> (inside: Context | undefined, work: (...args: A) => R, ...args: A): R {
    return inside === undefined ? work(...args) : context.with(inside, work, undefined, ...args)
  }
}

function spansOf<M extends ChannelMessage> (
  { start, asyncEnd }: TypedTracingChannel<M>, sessions: object, begin: (message: M) => Begun, end: (span: Span, message: M) => void
): Stop {
  const spans = new WeakMap<M, Span>()
  const store = new ContextStore()
  start.bindStore(store, (message) => {
    if (message.sessions !== sessions) return undefined
    const { span, inside } = begin(message)
    spans.set(message, span)
    return inside
  })
  const stop = listen(asyncEnd, sessions, (message) => {
    const span = spans.get(message)
    if (span === undefined) return
    // Entries that are left in a WeakMap cost the garbage collector much.
    spans.delete(message)
    end(span, message)
    span.end()
  })
  return () => {
    start.unbindStore(store)
    stop()
  }
}

function nameOf (call: CallMessage, target: CallTarget | undefined): string {
  // Without a URI, because there is no end of them, and names of spans should be few.
  return shorten(target === undefined || target.key === 'mcp.resource.uri' ? call.method : `${call.method} ${target.value}`)
}

// With what is the same for all calls in the literal: to spread it costs more than the rest of a span.
function describeCall (call: CallMessage, target: CallTarget | undefined): Attributes {
  const attributes: Attributes = {
    'network.transport': 'tcp',
    'network.protocol.name': 'http',
    'mcp.method.name': shorten(call.method),
    'jsonrpc.request.id': shorten(String(call.id))
  }
  if (target !== undefined) attributes[target.key] = shorten(target.value)
  if (call.method === 'tools/call') attributes['gen_ai.operation.name'] = 'execute_tool'
  const revision = readRevision(call)
  if (revision !== undefined) attributes['mcp.protocol.version'] = shorten(revision)
  return attributes
}

function endCall (span: Span, call: CallMessage): void {
  const errorType = readErrorType(call)
  if (errorType === undefined) return
  span.setAttribute('error.type', errorType)
  if (typeof call.error?.code === 'number') span.setAttribute('rpc.response.status_code', errorType)
  span.setStatus({ code: SpanStatusCode.ERROR, ...(call.error !== undefined && { message: shorten(call.error.message) }) })
}

function endForward (span: Span, { statusCode, error }: ForwardMessage): void {
  if (statusCode !== undefined) span.setAttribute('http.response.status_code', statusCode)
  if (error === undefined) return
  span.setAttribute('error.type', error instanceof Error ? error.name : OTHER)
  span.setStatus({ code: SpanStatusCode.ERROR })
}

// The conventions want the context of the message as the parent, and a link to the ambient one, which is that of HTTP.
function findParent ({ params, headers }: CallMessage): { parent: Context, links: Link[] } {
  const ambient = findAmbient(headers)
  const carrier = readCarrier(params?.['_meta'])
  if (carrier === undefined) return { parent: ambient, links: [] }
  const parent = propagation.extract(ROOT_CONTEXT, carrier)
  if (trace.getSpanContext(parent) === undefined) return { parent: ambient, links: [] }
  const http = trace.getSpanContext(ambient)
  return { parent, links: http === undefined ? [] : [{ context: http }] }
}

// The context of the HTTP request: that of its span or, where nothing makes one, what its headers say.
function findAmbient (headers: CallMessage['headers']): Context {
  const active = context.active()
  return trace.getSpan(active) === undefined && headers['traceparent'] !== undefined ? propagation.extract(active, headers) : active
}

function readCarrier (meta: unknown): Record<string, string> | undefined {
  if (typeof meta !== 'object' || meta === null || !('traceparent' in meta)) return undefined
  const carrier: Record<string, string> = {}
  for (const key of PROPAGATED) {
    const value: unknown = Reflect.get(meta, key)
    if (typeof value === 'string' && value.length <= LONGEST_HEADER) carrier[key] = value
  }
  return carrier
}

function shorten (text: string): string {
  return text.length > LONGEST ? text.slice(0, LONGEST) : text
}
