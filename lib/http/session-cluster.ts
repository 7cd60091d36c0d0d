import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Readable } from 'node:stream'
import type { SessionError } from '../base/errors.js'
import type { Session } from '../session/session.js'
import type { EventLog, EventLogBounds } from './event-log.js'

/*
 * What a cluster gives to the rest of the package. A session has one owner at a time, and only the owner may answer for
 * it. Each user asks for the contract that it needs.
 */

/** Where sessions are. */
export interface SessionRouter {
  /** Whether this process may answer for the session now. Costs no round trip. */
  isCurrent (session: Session): boolean

  /**
   * Finds the session, wherever it lives. A `Session`: it lives here now.
   * `'answered'`: the owner has answered the request, and the reply is sent.
   */
  locate (
    request: FastifyRequest,
    reply: FastifyReply,
    id: string,
    principal: string | undefined
  ): Promise<Session | SessionError | 'answered'>

  /**
   * Looks at a request before anybody else does. One that another node has passed on says from here on who is calling
   * as it did there.
   *
   * @returns what is wrong: it was meant for another node
   */
  receive (request: FastifyRequest, reply: FastifyReply): SessionError | undefined

  /** The body of a request that was sent to another node in vain, from its beginning; undefined: it is as it was. */
  replay (request: FastifyRequest): Readable | undefined

  /** Whether another node has passed the request on, which checked it as this one would. */
  isForwarded (request: FastifyRequest): boolean
}

/** Whether an answer may go out. */
export interface Durability {
  /**
   * What an answer has to wait for: `undefined` for nothing, which costs no
   * round trip. Resolves when all that the session has become is where the
   * next owner would find it, so that nothing that a client has seen is lost.
   * Rejects with a `SessionError` when this process may not answer any more.
   */
  barrier (session: Session): Promise<void> | undefined
}

/** What it takes to bring a session back in another process; it must survive JSON. */
export type SessionState = Readonly<Record<string, unknown>>

/** What a session needs to live on in another process. */
export interface SessionStore {
  /** Keeps what it takes to bring the session back; written before the next answer. */
  saveState (session: Session, state: SessionState): void
  readState (session: Session): SessionState | undefined

  /** Where the last events of the session are kept for whichever node the client comes back to. */
  createEventLog (session: Session, bounds: EventLogBounds): EventLog
}

/** What a session has under way. */
export interface SessionUse {
  /** Requests that wait for their answer. */
  readonly inFlight: number
  /** Streams that have no end of their own. */
  readonly streams: number
}

/** What sessions of other nodes have under way, and whether they are parked: only those nodes know. */
export interface SessionUses {
  /** Changes with each answer that says something new. */
  readonly version: number
  /** Asks these nodes from now on, and no others. They answer within two renewals of a lease. Never rejects. */
  ask (nodes: readonly string[]): Promise<void>
  /** As its node has last said. Undefined: it is not known. */
  useOf (node: string, id: string): SessionUse | undefined
  /** Whether it has no MCP server until its next request, as its node has last said. Undefined: it is not known. */
  isParked (node: string, id: string): boolean | undefined
  /** Nobody wants to know any more. */
  forget (): void
}

export interface SessionCluster extends SessionRouter, Durability, SessionStore {
  readonly uses: SessionUses
}
