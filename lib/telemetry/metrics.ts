import { metrics, type Attributes } from '@opentelemetry/api'
import { channels, tracingChannels, type CallMessage } from '../observe/channels.js'
import { BoundedNames } from './bounded-names.js'
import { readErrorType, readRevision, readTarget } from './call-facts.js'
import { listen, type Stop } from '../observe/listen.js'
import { ParkedSet } from '../observe/parked-set.js'

// Seconds. Of the conventions.
const OPERATION_BUCKETS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300]
// Seconds: up to three days. The conventions give sessions the same as calls, and most live longer.
const SESSION_BUCKETS = [1, 10, 60, 300, 900, 1800, 3600, 7200, 14_400, 28_800, 86_400, 259_200]

// A counter of each set of attributes stays in memory for as long as the process runs.
const METHODS = 50
const TARGETS = 200
const REVISIONS = 20
const ERRORS = 50

/**
 * Counts and measures what the channels say of one app.
 *
 * @param handsOver whether sessions live on elsewhere after a shutdown
 */
export function recordMetrics (sessions: object, handsOver: boolean): Stop {
  const instruments = createInstruments()
  const stops = [
    ...countSessions(instruments, sessions, handsOver),
    new ParkedSet().listen(sessions, (difference) => instruments.parked.add(difference)),
    ...countRequests(instruments, sessions),
    measureCalls(instruments, sessions)
  ]
  return () => { for (const stop of stops) stop() }
}

type Instruments = ReturnType<typeof createInstruments>

function createInstruments () {
  const meter = metrics.getMeter('fastify-mcp-sessions')
  const own = 'fastify_mcp_sessions'
  return {
    operationDuration: meter.createHistogram('mcp.server.operation.duration', {
      unit: 's', description: 'From when a request of MCP was received until it was answered', advice: { explicitBucketBoundaries: OPERATION_BUCKETS }
    }),
    sessionDuration: meter.createHistogram('mcp.server.session.duration', {
      unit: 's', description: 'The age of sessions at their end', advice: { explicitBucketBoundaries: SESSION_BUCKETS }
    }),
    active: meter.createUpDownCounter(`${own}.sessions.active`, { unit: '{session}', description: 'Sessions of this process' }),
    parked: meter.createUpDownCounter(`${own}.sessions.parked`, { unit: '{session}', description: 'Sessions of this process that have no MCP server until their next request' }),
    opened: meter.createCounter(`${own}.sessions.opened`, { unit: '{session}', description: 'Sessions opened in this process' }),
    closed: meter.createCounter(`${own}.sessions.closed`, { unit: '{session}', description: 'Sessions that ended in this process' }),
    evicted: meter.createCounter(`${own}.sessions.evicted`, { unit: '{session}', description: 'Sessions that had to make room for others' }),
    takenOver: meter.createCounter(`${own}.sessions.taken_over`, { unit: '{session}', description: 'Sessions that came here from another node' }),
    handedOver: meter.createCounter(`${own}.sessions.handed_over`, { unit: '{session}', description: 'Sessions left to other nodes by a shutdown' }),
    rejected: meter.createCounter(`${own}.requests.rejected`, { unit: '{request}', description: 'Requests turned away' }),
    forwarded: meter.createCounter(`${own}.requests.forwarded`, { unit: '{request}', description: 'Requests passed on to the node that owns their session' }),
    cutOff: meter.createCounter(`${own}.streams.cut_off`, { unit: 'By', description: 'What waited in streams that were cut off because their clients read too slowly' }),
    outages: meter.createCounter(`${own}.redis.outages`, { unit: '{outage}', description: 'Times that Redis did not answer' })
  }
}

function countSessions ({ active, opened, closed, evicted, takenOver, handedOver, sessionDuration }: Instruments, sessions: object, handsOver: boolean): Stop[] {
  return [
    listen(channels['session.created'], sessions, ({ how }) => {
      active.add(1)
      if (how !== 'adopted') opened.add(1)
    }),
    listen(channels['session.closed'], sessions, ({ session: { protocolVersion }, reason, age }) => {
      active.add(-1)
      closed.add(1, { 'fastify_mcp_sessions.reason': reason })
      if (reason === 'evicted') evicted.add(1)
      // It is not over: whoever has it then measures it.
      if (reason === 'moved' || (reason === 'shutdown' && handsOver)) return
      const attributes: Attributes = { 'network.transport': 'tcp', 'network.protocol.name': 'http' }
      if (protocolVersion !== undefined) attributes['mcp.protocol.version'] = protocolVersion
      sessionDuration.record(age / 1000, attributes)
    }),
    listen(channels['session.taken-over'], sessions, () => takenOver.add(1)),
    listen(channels['session.handed-over'], sessions, () => handedOver.add(1))
  ]
}

function countRequests ({ rejected, forwarded, cutOff, outages }: Instruments, sessions: object): Stop[] {
  return [
    listen(channels['request.rejected'], sessions, ({ code }) => rejected.add(1, { 'fastify_mcp_sessions.code': code })),
    listen(tracingChannels['request.forwarded'].asyncEnd, sessions, ({ error }) => {
      forwarded.add(1, { 'fastify_mcp_sessions.outcome': error === undefined ? 'answered' : 'failed' })
    }),
    listen(channels['stream.cut'], sessions, ({ bytes }) => cutOff.add(bytes)),
    listen(channels['redis.unavailable'], sessions, () => outages.add(1))
  ]
}

function measureCalls ({ operationDuration }: Instruments, sessions: object): Stop {
  const methods = new BoundedNames(METHODS)
  const targets = new BoundedNames(TARGETS)
  const revisions = new BoundedNames(REVISIONS)
  const errors = new BoundedNames(ERRORS)
  return listen(tracingChannels.call.asyncEnd, sessions, (call) => {
    if (call.duration !== undefined) operationDuration.record(call.duration / 1000, describe(call))
  })

  // In one literal: spreading what is the same for all costs more than recording it.
  function describe (call: CallMessage): Attributes {
    const attributes: Attributes = { 'network.transport': 'tcp', 'network.protocol.name': 'http', 'mcp.method.name': methods.bound(call.method) }
    const target = readTarget(call)
    // The conventions leave URIs to spans: there is no end of them.
    if (target !== undefined && target.key !== 'mcp.resource.uri') attributes[target.key] = targets.bound(target.value)
    const revision = readRevision(call)
    if (revision !== undefined) attributes['mcp.protocol.version'] = revisions.bound(revision)
    const errorType = readErrorType(call)
    if (errorType !== undefined) attributes['error.type'] = errors.bound(errorType)
    return attributes
  }
}
