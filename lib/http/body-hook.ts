import type { FastifyReply, FastifyRequest, preValidationHookHandler } from 'fastify'
import type { IncomingMessage } from 'node:http'
import { SessionNotFoundError, ShuttingDownError, type SessionError } from '../base/errors.js'
import type { SessionManager } from '../session/session-manager.js'
import type { Session } from '../session/session.js'
import type { Reject } from './rejection.js'
import type { ReplyTracker } from './reply-tracker.js'
import type { SessionCluster } from './session-cluster.js'

export interface BodyHookOptions {
  readonly sessions: Pick<SessionManager, 'acquireFor'>
  readonly replies: ReplyTracker
  readonly reject: Reject
  readonly cluster: Pick<SessionCluster, 'barrier'> | undefined
  readonly shutdown: { readonly hasStarted: boolean }
}

/**
 * The `preValidation` hook: a request with a body holds its session from here on, when the body is there.
 * Otherwise clients that never end theirs would keep sessions in use, and so lock others out.
 */
export function createBodyHook ({ sessions, replies, reject, cluster, shutdown }: BodyHookOptions): preValidationHookHandler {
  return function holdSession (request, reply, done) {
    const record = request.mcpSession ? replies.get(reply) : undefined
    if (record?.expected === undefined) {
      done()
      return
    }
    const session = sessions.acquireFor(record.expected.id, record.expected.principal)
    if (session === undefined) {
      refuse(request, reply, record.expected)
      return
    }
    request.mcpSession = session
    record.hold(session)
    done()
  }

  // The session has gone while its body was on the way: for good, or to another node.
  function refuse (request: FastifyRequest, reply: FastifyReply, gone: Session): void {
    request.mcpSession = null
    if (shutdown.hasStarted) {
      reject(request, reply, new ShuttingDownError())
      return
    }
    Promise.resolve(cluster?.barrier(gone)).then(
      () => reject(request, reply, new SessionNotFoundError()),
      (error: SessionError) => reject(request, reply, error)
    )
  }
}

/** Whether a request says in its headers that a body follows. */
export function hasBodyToCome (raw: IncomingMessage): boolean {
  const { 'content-length': length, 'transfer-encoding': encoding } = raw.headers
  if (length !== undefined) return Number(length) > 0
  return raw.httpVersionMajor === 1 ? encoding !== undefined : !endsAfterHeaders(raw)
}

// HTTP/2 need not announce a body. Without one, the stream ends with the headers.
function endsAfterHeaders (raw: object): boolean {
  const stream: unknown = Reflect.get(raw, 'stream')
  return typeof stream === 'object' && stream !== null && Reflect.get(stream, 'endAfterHeaders') === true
}
