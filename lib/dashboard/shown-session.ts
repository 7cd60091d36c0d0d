import type { SessionUse, SessionUses } from '../http/session-cluster.js'
import type { ListedSession } from '../http/session-directory.js'
import { hashSessionId } from '../session/session-id.js'
import type { Session, SessionOrigin } from '../session/session.js'

/** What is shown of a session, wherever it lives. It is live: what changes is read when it is asked for. */
export interface ShownSession {
  readonly hash: string
  readonly createdAt: number
  readonly lastAccessedAt: number
  readonly client: { readonly name: string, readonly version: string } | null
  readonly revision: string | null
  readonly principal: string | null
  readonly node: string
  /** Requests that wait for their answer. Null: it is not known. */
  readonly inFlight: number | null
  /** Streams that have no end of their own. Null: it is not known. */
  readonly streams: number | null
  /** Null: it is not known. */
  readonly parked: boolean | null
  /** What a search looks through, in lower case. */
  readonly text: string
}

// Clients and callers name themselves, at any length.
const LONGEST_NAME = 200
const UNUSED: SessionUse = { inFlight: 0, streams: 0 }
// A first half of a character (a high surrogate) at the end, where the second was cut off.
const HALF = /[\ud800-\udbff]$/

// What does not change of a session. It is made when it is asked for, because of most sessions nothing is shown.
abstract class Facts {
  readonly #id: string
  readonly #origin: SessionOrigin
  #hash: string | undefined
  #text: string | undefined
  #client: ShownSession['client'] | undefined

  constructor (id: string, origin: SessionOrigin) {
    this.#id = id
    this.#origin = origin
  }

  get hash (): string {
    this.#hash ??= hashSessionId(this.#id)
    return this.#hash
  }

  get client (): ShownSession['client'] {
    if (this.#client === undefined) this.#client = toClient(this.#origin)
    return this.#client
  }

  get revision (): string | null {
    return orNull(this.#origin.protocolVersion)
  }

  get principal (): string | null {
    return orNull(this.#origin.principal)
  }

  get text (): string {
    const { hash, client, principal } = this
    this.#text ??= [hash, client && `${client.name} ${client.version}`, principal].join('\n').toLowerCase()
    return this.#text
  }
}

/** A session of this process. */
export class OwnSession extends Facts implements ShownSession {
  readonly session: Session
  readonly #place: Place

  constructor (session: Session, place: Place) {
    super(session.id, session)
    this.session = session
    this.#place = place
  }

  get id (): string { return this.session.id }
  get createdAt (): number { return this.session.createdAt }
  get lastAccessedAt (): number { return this.session.lastAccessedAt }
  get streams (): number { return this.session.openStreams }
  get inFlight (): number { return this.session.activeRequests - this.session.openStreams }
  get node (): string { return this.#place.node }
  get parked (): boolean { return this.#place.isParked(this.session) }
}

/** What is known of a session outside of it. */
export interface Place {
  readonly node: string
  isParked (session: Session): boolean
}

/**
 * A session of another node, or of none, as the directory has it. What it has under way, and whether it is parked, is known
 * from its node.
 */
export class DistantSession extends Facts implements ShownSession {
  readonly id: string
  readonly createdAt: number
  readonly lastAccessedAt: number
  readonly node: string
  readonly #uses: Pick<SessionUses, 'useOf' | 'isParked'>

  constructor (session: ListedSession, uses: Pick<SessionUses, 'useOf' | 'isParked'>) {
    const { id, createdAt, lastAccessedAt, node = '', principal, clientInfo, protocolVersion } = session
    // Without the metadata, which can be large.
    super(id, { principal, clientInfo, protocolVersion })
    this.id = id
    this.createdAt = createdAt
    this.lastAccessedAt = lastAccessedAt
    this.node = node
    this.#uses = uses
  }

  get inFlight (): number | null { return this.#use?.inFlight ?? null }
  get streams (): number | null { return this.#use?.streams ?? null }
  // Only a node that serves a session can park it.
  get parked (): boolean | null { return this.node === '' ? false : this.#uses.isParked(this.node, this.id) ?? null }

  get #use (): SessionUse | undefined {
    return this.node === '' ? UNUSED : this.#uses.useOf(this.node, this.id)
  }
}

function toClient ({ clientInfo }: SessionOrigin): ShownSession['client'] {
  return clientInfo === undefined ? null : { name: cut(clientInfo.name), version: cut(clientInfo.version) }
}

function orNull (text: string | undefined): string | null {
  return text === undefined ? null : cut(text)
}

function cut (text: string): string {
  return text.length > LONGEST_NAME ? text.slice(0, LONGEST_NAME - 1).replace(HALF, '') + '…' : text
}
