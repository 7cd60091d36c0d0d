import { metrics, type Attributes, type Counter, type UpDownCounter } from '@opentelemetry/api'
import { channels, tracingChannels, type CallMessage } from '../observe/channels.js'
import { BoundedNames } from './bounded-names.js'
import { readErrorType, readRevision, readTarget } from './call-facts.js'
import { listen, type Stop } from '../observe/listen.js'
import { ParkedSet } from '../observe/parked-set.js'

// In seconds, from the conventions.
const OPERATION_BUCKETS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300]
// In seconds, up to three days. The conventions give sessions the buckets of calls, which are too short for most.
const SESSION_BUCKETS = [1, 10, 60, 300, 900, 1800, 3600, 7200, 14_400, 28_800, 86_400, 259_200]

// How many different names are kept of each kind, because each set of attributes stays in memory as long as the process runs.
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
  const counter = (name: string, unit: string, description: string): Counter => {
    return meter.createCounter(`fastify_mcp_sessions.${name}`, { unit, description })
  }
  const upDownCounter = (name: string, unit: string, description: string): UpDownCounter => {
    return meter.createUpDownCounter(`fastify_mcp_sessions.${name}`, { unit, description })
  }
  return {
    operationDuration: meter.createHistogram('mcp.server.operation.duration', {
      unit: 's',
      description: 'From when a request of MCP was received until it was answered',
      advice: { explicitBucketBoundaries: OPERATION_BUCKETS }
    }),
    sessionDuration: meter.createHistogram('mcp.server.session.duration', {
      unit: 's', description: 'The age of sessions at their end', advice: { explicitBucketBoundaries: SESSION_BUCKETS }
    }),
    active: upDownCounter('sessions.active', '{session}', 'Sessions of this process'),
    parked: upDownCounter('sessions.parked', '{session}', 'Sessions of this process that have no MCP server until their next request'),
    opened: counter('sessions.opened', '{session}', 'Sessions opened in this process'),
    closed: counter('sessions.closed', '{session}', 'Sessions that ended in this process'),
    evicted: counter('sessions.evicted', '{session}', 'Sessions that had to make room for others'),
    takenOver: counter('sessions.taken_over', '{session}', 'Sessions that came here from another node'),
    handedOver: counter('sessions.handed_over', '{session}', 'Sessions left to other nodes by a shutdown'),
    rejected: counter('requests.rejected', '{request}', 'Requests turned away'),
    forwarded: counter('requests.forwarded', '{request}', 'Requests passed on to the node that owns their session'),
    cutOff: counter('streams.cut_off', 'By', 'What waited in streams that were cut off because their clients read too slowly'),
    outages: counter('redis.outages', '{outage}', 'Times that Redis did not answer')
  }
}

function countSessions (instruments: Instruments, sessions: object, handsOver: boolean): Stop[] {
  const { active, opened, closed, evicted, takenOver, handedOver, sessionDuration } = instruments
  return [
    listen(channels['session.created'], sessions, ({ how }) => {
      active.add(1)
      if (how !== 'adopted') opened.add(1)
    }),
    listen(channels['session.closed'], sessions, ({ session: { protocolVersion }, reason, age }) => {
      active.add(-1)
      closed.add(1, { 'fastify_mcp_sessions.reason': reason })
      if (reason === 'evicted') evicted.add(1)
      // It lives on, and is measured by the node on which it ends.
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

  // With what is the same for all calls in the literal: to spread it costs more than to record a value.
  function describe (call: CallMessage): Attributes {
    const attributes: Attributes = {
      'network.transport': 'tcp',
      'network.protocol.name': 'http',
      'mcp.method.name': methods.bound(call.method)
    }
    const target = readTarget(call)
    // The conventions leave URIs to spans, because there is no end of them.
    if (target !== undefined && target.key !== 'mcp.resource.uri') attributes[target.key] = targets.bound(target.value)
    const revision = readRevision(call)
    if (revision !== undefined) attributes['mcp.protocol.version'] = revisions.bound(revision)
    const errorType = readErrorType(call)
    if (errorType !== undefined) attributes['error.type'] = errors.bound(errorType)
    return attributes
  }
}
