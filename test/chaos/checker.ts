// The promises of a cluster, each as a function that finds in a history where it was not kept. Knows of no
// process and of no clock: what it is given is all there is.
import { RECONNECT_TIME } from '../../lib/cluster/lease.js'
import type { Fault, Operation } from './history.js'

export interface Rules {
  /** Milliseconds. */
  lease: number
  /** Idle milliseconds after which a session is gone. */
  ttl: number
  /** How long a request may take at most, in milliseconds. */
  longestWait: number
}

export interface Violation {
  promise: string
  session: string
  detail: string
}

type Counted = Operation & { count: number, instance: string }

// How far asynchronous replication is behind at most, in milliseconds.
const REPLICATION_LAG = 1000
// Between the end of a session by its ttl and the moment at which it is gone for everybody: what was used is
// written to the directory every twentieth of the ttl, and kept that much longer there.
const EXPIRY_SLACK = 0.1
/** The fault of a node that is told to stop, and started anew. */
export const DEPLOY = 'deploy'
const KNOWN_STATUSES: ReadonlySet<number | undefined> = new Set([200, 202, 404, 502, 503, undefined])

/** Everything in the history that a client of the cluster must never see. */
export function findViolations ({ operations, faults }: { operations: readonly Operation[], faults: readonly Fault[] }, rules: Rules): Violation[] {
  const violations = [...findLongWaits(operations, faults, rules), ...findUnknownStatuses(operations), ...findFailedByDeploy(operations, faults, rules)]
  for (const [session, list] of groupBy(operations, ({ session }) => session)) {
    if (session === '') continue
    const counted = list.filter(isCounted).sort((a, b) => a.count - b.count)
    violations.push(
      ...findRepeats(counted, faults, rules),
      ...findDisorder(counted, faults, rules),
      ...findSurplus(list, counted),
      ...findRivals(counted),
      ...findFalseEnds(list, faults, rules),
      ...findRevivals(list, faults, rules)
    )
  }
  return violations
}

/** Every request is answered in time, unless the node that the client has asked cannot answer at all. */
function findLongWaits (operations: readonly Operation[], faults: readonly Fault[], { longestWait }: Rules): Violation[] {
  return operations
    .filter((operation) => operation.over - operation.sent > longestWait && !stoodStill(operation, faults))
    .map((operation) => violation('no request waits longer than a lease and three seconds', operation, `${Math.round(operation.over - operation.sent)} ms`))
}

/** Whether the node that was asked stood still meanwhile. */
export function stoodStill ({ node, sent, over }: Operation, faults: readonly Fault[]): boolean {
  return faults.some(({ isSilent, nodes, from, to }) => isSilent && nodes.includes(node) && from < over && sent < to)
}

function findUnknownStatuses (operations: readonly Operation[]): Violation[] {
  return operations
    .filter(({ status }) => !KNOWN_STATUSES.has(status))
    .map((operation) => violation('errors are those of the README', operation, `status ${operation.status}: ${operation.said}`))
}

/** While nodes are restarted one by one, and nothing else goes wrong then or shortly before, no request fails. */
function findFailedByDeploy (operations: readonly Operation[], faults: readonly Fault[], rules: Rules): Violation[] {
  const { lease } = rules
  const deploys = faults.filter(({ name }) => name === DEPLOY)
  const others = faults.filter(({ name }) => name !== DEPLOY)
  return operations
    .filter((operation) => {
      const { node, sent, over, status } = operation
      if (status !== undefined && status < 500) return false
      // A load balancer may be late: then nobody is there.
      if (status === undefined && deploys.some(({ nodes, from, to }) => nodes.includes(node) && from < over && sent < to)) return false
      if (deploys.length === 0 || others.some(({ from, to }) => from < over && sent < to + 3 * lease)) return false
      return !mayBeLookedFor(operation, operations, others, rules)
    })
    .map((operation) => violation('a restart of one node after the other fails no request', operation, `status ${operation.status ?? 'none'}: ${operation.said}`))
}

/** A session that has ended may be looked for in vain, for as long as the nodes do not take it from Redis that it is gone. */
function mayBeLookedFor ({ session, sent, over, status }: Operation, operations: readonly Operation[], faults: readonly Fault[], { lease }: Rules): boolean {
  // Within a lease they know that Redis began anew; from then on it is one more, and the time to connect to it again.
  if (status !== 503 || !faults.some(({ isDoubted, from, to }) => isDoubted && from < over && sent < to + 2 * lease + RECONNECT_TIME)) return false
  return operations.some((other) => other.session === session && other.kind === 'delete' && other.sent < over)
}

/** No count is given twice. */
function findRepeats (counted: readonly Counted[], faults: readonly Fault[], rules: Rules): Violation[] {
  return counted
    .filter((operation, i) => {
      const before = counted[i - 1]
      return before?.count === operation.count && !mayBeForgotten(before, faults, rules) && !mayBeForgotten(operation, faults, rules)
    })
    .map((operation) => violation('no count is given twice', operation, `${operation.count} once more`))
}

/** A call that was sent after another was answered has a higher count than that: what was acknowledged is never lost. */
function findDisorder (counted: readonly Counted[], faults: readonly Fault[], rules: Rules): Violation[] {
  const found: Violation[] = []
  let latest: Counted | undefined
  for (const operation of counted) {
    // Those with lower counts come first, so one of them that began after this one was over has lost it.
    if (latest !== undefined && latest.sent > operation.over && latest.count < operation.count && !mayBeForgotten(operation, faults, rules)) {
      found.push(violation('no acknowledged count is lost', latest, `${latest.count}, ${Math.round(latest.sent - operation.over)} ms after ${operation.count}`))
    }
    if (latest === undefined || operation.sent > latest.sent) latest = operation
  }
  return found
}

/** A failover of Redis may lose what was acknowledged just before it, and what was told to the old master meanwhile. */
function mayBeForgotten ({ over }: Operation, faults: readonly Fault[], { lease }: Rules): boolean {
  return faults.some(({ loses, from, to }) => loses === 'latest' && over > from - REPLICATION_LAG && over < to + lease)
}

/** No call is carried out twice: the counter never stands higher than calls were sent. */
function findSurplus (list: readonly Operation[], counted: readonly Counted[]): Violation[] {
  const sent = list.filter(({ kind }) => kind === 'count').map((operation) => operation.sent).sort((a, b) => a - b)
  return counted
    .filter(({ count, over }) => count > countUpTo(sent, over))
    .map((operation) => violation('no call is carried out twice', operation, `${operation.count} after ${countUpTo(sent, operation.over)} calls`))
}

function countUpTo (sorted: readonly number[], bound: number): number {
  const index = sorted.findIndex((value) => value > bound)
  return index === -1 ? sorted.length : index
}

/** Never two owners: once another copy has answered, one that had answered before it is silent. */
function findRivals (counted: readonly Counted[]): Violation[] {
  const found: Violation[] = []
  for (const own of groupBy(counted, ({ instance }) => instance).values()) {
    const since = Math.min(...own.map(({ over }) => over))
    const until = Math.max(...own.map(({ sent }) => sent))
    const rival = counted.find((other) => other.instance !== own[0]?.instance && other.sent > since && other.over < until)
    if (rival !== undefined) found.push(violation('a session never has two owners', rival, `node ${rival.node} answered ${rival.count} between answers of another copy`))
  }
  return found
}

/** A session that lives is never called unknown. */
function findFalseEnds (list: readonly Operation[], faults: readonly Fault[], { lease, ttl }: Rules): Violation[] {
  const lost = list.find((operation) => {
    if (operation.status !== 404 || operation.kind === 'open') return false
    const wasEnded = mayBeRepeated(operation, faults) || list.some((other) => other !== operation && other.kind === 'delete' && other.sent < operation.over)
    const used = Math.max(...list.filter(({ status, sent }) => status === 200 && sent < operation.over).map(({ sent }) => sent))
    return !wasEnded && operation.over - used < ttl && !mayBeGone(list, operation, faults, lease)
  })
  return lost === undefined ? [] : [violation('no session that lives is called unknown', lost, `${lost.kind} at node ${lost.node}`)]
}

/**
 * A node that sends the end of a session a second time, because the first answer did not come, can find that it has ended the
 * session itself. It does not happen with nodes that are told to stop, for those still give their answers.
 */
function mayBeRepeated ({ kind, sent, over }: Operation, faults: readonly Fault[]): boolean {
  return kind === 'delete' && faults.some(({ name, nodes, isBetweenNodes, from, to }) => {
    return (isBetweenNodes || (nodes.length > 0 && name !== DEPLOY)) && from < over && sent < to
  })
}

/** What only Redis knew is gone with its data: sessions of nodes that were down as it forgot, and new ones after a failover. */
function mayBeGone (list: readonly Operation[], operation: Operation, faults: readonly Fault[], lease: number): boolean {
  const opened = Math.min(...list.map(({ over }) => over))
  return faults.some((loss) => {
    if (loss.loses === 'nothing' || loss.from > operation.over) return false
    if (loss.loses === 'latest') return opened > loss.from - REPLICATION_LAG && opened < loss.to + lease
    // A node that has just come back has not written down again what it holds; one that is down never will.
    return faults.some(({ nodes, from, to }) => nodes.length > 0 && from < loss.to + lease && to + 2 * lease > loss.from)
  })
}

/** A session that has ended stays so. */
function findRevivals (list: readonly Operation[], faults: readonly Fault[], rules: Rules): Violation[] {
  const ended = list.find(({ kind, status }) => kind === 'delete' && status === 200)
  const revived = list.find((operation) => {
    if (operation.kind !== 'count' || operation.status !== 200) return false
    if (ended !== undefined && operation.sent > ended.over) return !mayBeForgotten(ended, faults, rules)
    const before = list.filter(({ sent }) => sent < operation.sent)
    const used = Math.max(...before.map(({ over }) => Math.min(over, operation.sent)))
    return before.length > 0 && operation.sent - used > rules.ttl * (1 + EXPIRY_SLACK)
  })
  return revived === undefined ? [] : [violation('a session that has ended stays so', revived, `${revived.count} at node ${revived.node}`)]
}

function groupBy<T> (values: readonly T[], keyOf: (value: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>()
  for (const value of values) {
    const group = groups.get(keyOf(value))
    if (group === undefined) groups.set(keyOf(value), [value])
    else group.push(value)
  }
  return groups
}

function isCounted (operation: Operation): operation is Counted {
  return operation.count !== undefined && operation.instance !== undefined
}

function violation (promise: string, { session, sent }: Operation, detail: string): Violation {
  return { promise, session, detail: `${detail} (sent at ${Math.round(sent)})` }
}
