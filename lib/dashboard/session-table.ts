import type { SortColumn, TableQuery } from './query.js'
import type { ShownSession } from './shown-session.js'

/** A session, as it is shown. */
export interface SessionRow {
  /** The hash of its id, which is itself a secret. */
  readonly hash: string
  /** Milliseconds since it was opened. */
  readonly age: number
  /** Milliseconds since it was last used; 0 while a request waits for its answer. */
  readonly idle: number
  /** What the client calls itself, which nobody has checked. Null: it has not said. */
  readonly client: { readonly name: string, readonly version: string } | null
  /** Always `session`: clients of 2026-07-28 have none, and are not shown. */
  readonly era: 'session'
  /** The revision of MCP. Null: it is not known. */
  readonly revision: string | null
  /** Requests that wait for their answer. Null: it lives on another node, which has not said it. */
  readonly inFlight: number | null
  /** Streams that have no end of their own. Null: as above. */
  readonly streams: number | null
  /** The principal that it belongs to. Null: it is anonymous. */
  readonly principal: string | null
  /** The id of the node that serves it. Empty without a cluster, and where no node does now. */
  readonly node: string
  /** Whether it has no MCP server until its next request. Null: it lives on another node, which has not said it. */
  readonly parked: boolean | null
  /** Whether it can be ended from the page. */
  readonly endable: boolean
}

/** The first sessions that a query has found. */
export interface SessionTable {
  /** How many sessions there are. */
  readonly total: number
  /** How many of them the search has found. */
  readonly matching: number
  /** The first of those, in the order that was asked for. */
  readonly rows: readonly SessionRow[]
}

type Key = string | number | null

const keys: { readonly [column in SortColumn]: (session: ShownSession, now: number) => Key } = {
  hash: ({ hash }) => hash,
  age: ({ createdAt }, now) => now - createdAt,
  idle: idleTime,
  client: ({ client }) => client && `${client.name}\n${client.version}`.toLowerCase(),
  revision: ({ revision }) => revision,
  inFlight: ({ inFlight }) => inFlight,
  streams: ({ streams }) => streams,
  principal: ({ principal }) => principal && principal.toLowerCase(),
  node: ({ node }) => node || null
}

/** The rows that a query asks for, in one walk through all sessions that sorts only as many as there are rows. */
export function tabulate (sessions: Iterable<ShownSession>, { search, sort, order, limit }: TableQuery, now: number): SessionTable {
  const first = new First(limit, order)
  let total = 0
  let matching = 0
  for (const session of sessions) {
    total++
    if (search !== '' && !matches(session, search)) continue
    matching++
    first.add(session, keys[sort](session, now))
  }
  return { total, matching, rows: first.sessions.map((session) => toRow(session, now)) }
}

function matches (session: ShownSession, search: string): boolean {
  return session.text.includes(search) || session.node.toLowerCase().includes(search)
}

function toRow (session: ShownSession, now: number): SessionRow {
  const { hash, createdAt, client, revision, inFlight, streams, principal, node, parked } = session
  return {
    hash,
    age: Math.max(0, now - createdAt),
    idle: idleTime(session, now),
    client,
    era: 'session',
    revision,
    inFlight,
    streams,
    principal,
    node,
    parked,
    endable: true
  }
}

function idleTime ({ inFlight, lastAccessedAt }: ShownSession, now: number): number {
  return inFlight !== null && inFlight > 0 ? 0 : Math.max(0, now - lastAccessedAt)
}

/** The first of many sessions, in order. Of equal ones the one that came first goes first. */
class First {
  readonly sessions: ShownSession[] = []
  readonly #keys: Key[] = []
  readonly #limit: number
  readonly #sign: number

  constructor (limit: number, order: 'asc' | 'desc') {
    this.#limit = limit
    this.#sign = order === 'asc' ? 1 : -1
  }

  add (session: ShownSession, key: Key): void {
    const { sessions } = this
    const isFull = sessions.length === this.#limit
    if (isFull && !this.#isBefore(key, this.#keyAt(sessions.length - 1))) return
    const index = this.#findPlace(key)
    if (isFull) {
      sessions.pop()
      this.#keys.pop()
    }
    sessions.splice(index, 0, session)
    this.#keys.splice(index, 0, key)
  }

  #findPlace (key: Key): number {
    let low = 0
    let high = this.sessions.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.#isBefore(key, this.#keyAt(middle))) high = middle
      else low = middle + 1
    }
    return low
  }

  #keyAt (index: number): Key {
    return this.#keys[index] ?? null
  }

  // What is not known comes last in either order.
  #isBefore (one: Key, other: Key): boolean {
    if (one === null || other === null) return one !== null && other === null
    if (one === other) return false
    return (one < other) === (this.#sign > 0)
  }
}
