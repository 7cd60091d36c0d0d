import type { EventStore } from '@modelcontextprotocol/sdk/server/webStandardStreamableHttp.js'
import type { RequestId } from '@modelcontextprotocol/sdk/types.js'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { SessionError } from '../base/errors.js'
import type { Session } from '../session/session.js'

/** What it takes to bring a session back in another process; it must survive JSON. */
export type SessionState = Readonly<Record<string, unknown>>

/** What is known of the stream that a client wants to resume. */
export interface ResumePoint {
  /** All its responses have been stored: nothing more will come after a replay. */
  readonly complete: boolean
  /** Requests of the stream that no process is working on any more. */
  readonly lost: readonly RequestId[]
}

/** The SSE events of a session, for clients that come back with `Last-Event-ID`. */
export interface ResumableEvents extends EventStore {
  /** Runs the handling of a message, so that its events are known to belong to these requests. */
  during<T> (requests: readonly RequestId[], handle: () => T): T
  /** Undefined: the event is not known, or not any more. */
  find (lastEventId: string): Promise<ResumePoint | undefined>
}

/**
 * What the session context asks of a cluster. A session has one owner at a time,
 * and only the owner may answer for it.
 */
export interface SessionCluster {
  /** Whether this process may answer for the session now. Costs no round trip. */
  isCurrent (session: Session): boolean

  /**
   * Finds the session, wherever it lives. A `Session`: it lives here now.
   * `'answered'`: the owner has answered the request, and the reply is sent.
   */
  locate (request: FastifyRequest, reply: FastifyReply, id: string, principal: string | undefined): Promise<Session | SessionError | 'answered'>

  /** Whether another node has passed the request on, which checked it as this one would. */
  isForwarded (request: FastifyRequest): boolean

  /**
   * What an answer has to wait for: `undefined` for nothing, which costs no
   * round trip. Resolves when all that the session has become is where the
   * next owner would find it, so that nothing that a client has seen is lost.
   * Rejects with a `SessionError` when this process may not answer any more.
   */
  barrier (session: Session): Promise<void> | undefined

  /** Where the last `maxEvents` events of the session are kept for whichever node the client comes back to. */
  createEvents (session: Session, maxEvents: number): ResumableEvents

  /** Keeps what it takes to bring the session back; written before the next answer. */
  saveState (session: Session, state: SessionState): void
  readState (session: Session): SessionState | undefined
}
