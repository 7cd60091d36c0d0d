import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { atMost } from '../base/at-most.js'
import type { SessionManager } from '../session/session-manager.js'
import type { Session } from '../session/session.js'
import { onResponseEnd } from './response-end.js'

/**
 * `request`: of a route of the app. `call`: of an endpoint, and ends by itself.
 * `stream`: of an endpoint, and stays open until the server or the client ends it.
 */
export type ReplyKind = 'request' | 'call' | 'stream'

/** One reply that is under way. */
export interface ReplyRecord {
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  readonly kind: ReplyKind
  /** The session that it holds. */
  readonly session: Session | undefined
  /** The session that it will hold when the body of its request is there. */
  readonly expected: Session | undefined
  /** Whether nobody waits for the response any more: it has been sent, or the client has gone. */
  readonly isResponseOver: boolean

  /** Until its body is there, a request does not hold its session: it may never come. */
  expect (session: Session): void
  /** Takes over from the caller, who has acquired the session: it is released when the record is over. */
  hold (session: Session): void
  /**
   * Keeps the record, and its hold on the session, past the end of the response: a call goes on though its
   * client's connection broke. The record is over when all functions that this returned have been called.
   */
  outlive (): () => void
  /** Says that the stream is open, and how to end it in good order. Until then nothing but its connection can be ended. */
  endWith (end: () => void): void
  /** Calls back once when the response is over; at once if it is. */
  onResponseEnd (callback: () => void): void
  /** Calls back once when the response is over, and all that outlives it; at once if they are. */
  onOver (callback: () => void): void
}

/** What a tracker needs of the session manager. */
export type HeldSessions = Pick<SessionManager, 'acquire' | 'holdStream' | 'release'>

const kRecord = Symbol('fastify-mcp-sessions.reply')

declare module 'fastify' {
  interface FastifyRequest {
    [kRecord]?: ReplyRecord | undefined
  }
}

/**
 * All replies of this process that matter to sessions, from their beginning: what kind each one is, which
 * session it holds, and when it is over. Everything that counts replies, waits for them or ends them asks here.
 */
export class ReplyTracker {
  readonly #sessions: HeldSessions
  readonly #running = new RunningRecords()

  constructor (sessions: HeldSessions) {
    this.#sessions = sessions
  }

  /** Starts the record of a reply. One whose client has gone already is over at once. */
  begin (request: FastifyRequest, reply: FastifyReply, kind: ReplyKind): ReplyRecord {
    const record = new TrackedReply(request, reply, kind, this.#sessions, this.#running)
    request[kRecord] = record
    onResponseEnd(request, reply, () => record.endResponse())
    return record
  }

  /** The record of a reply, also when it is over. Undefined: it has none. */
  get ({ request }: FastifyReply): ReplyRecord | undefined {
    return request[kRecord]
  }

  /** Sessions that a request is on its way to, whose body is not there yet. */
  expected (): ReadonlySet<Session> {
    const sessions = new Set<Session>()
    for (const { expected } of this.#running) if (expected !== undefined) sessions.add(expected)
    return sessions
  }

  /** Resolves when no call is under way, not even one that has come meanwhile, or after `timeout` milliseconds. */
  async whenAnswered (timeout: number): Promise<void> {
    const end = performance.now() + timeout
    // In a loop, because a timer can be early, and the caller goes by the clock.
    while (this.#running.calls > 0 && performance.now() < end) await atMost(end - performance.now(), this.#running.whenNoCalls())
  }

  /** Resolves when the calls and streams that are under way now are over, or after `timeout` milliseconds. */
  async whenOver (timeout: number): Promise<void> {
    const records = Array.from(this.#running).filter(({ kind }) => kind !== 'request')
    await atMost(timeout, Promise.all(records.map((record) => record.whenOver())))
  }

  /** Ends the streams that are open, or those for which `which` says so. One that is about to open ends when this is called again. */
  endStreams (which: (record: ReplyRecord) => boolean = () => true): void {
    for (const record of this.#running) if (record.kind === 'stream' && which(record)) record.end()
  }

  /** Cuts off the streams that are left. */
  destroyStreams (): void {
    for (const record of this.#running) if (record.kind === 'stream') record.reply.raw.destroy()
  }
}

/** Gives requests room for their record, so that all of them have one shape. */
export function decorateWithRecord (fastify: FastifyInstance): void {
  fastify.decorateRequest(kRecord)
}

class TrackedReply implements ReplyRecord {
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  readonly kind: ReplyKind
  session: Session | undefined
  expected: Session | undefined
  isResponseOver = false
  readonly #sessions: HeldSessions
  readonly #running: RunningRecords
  // How many things keep the record from being over: the response is one, and each call of outlive() another.
  #open = 1
  #end: (() => void) | undefined
  #hasEnded = false
  #releaseStream: (() => void) | undefined
  #onResponseEnd: Array<() => void> | undefined
  #onOver: Array<() => void> | undefined

  constructor (request: FastifyRequest, reply: FastifyReply, kind: ReplyKind, sessions: HeldSessions, running: RunningRecords) {
    this.request = request
    this.reply = reply
    this.kind = kind
    this.#sessions = sessions
    this.#running = running
    // Replies of the app's own routes are of interest only while they expect a session: see expect().
    if (kind !== 'request') running.add(this)
  }

  expect (session: Session): void {
    if (this.#open === 0) return
    this.expected = session
    if (this.kind === 'request') this.#running.add(this)
  }

  hold (session: Session): void {
    if (this.kind === 'request' && this.expected !== undefined) this.#running.delete(this)
    this.expected = undefined
    this.session = session
    if (this.#open === 0) this.#sessions.release(session)
    else this.#countStream()
  }

  outlive (): () => void {
    if (this.#open++ === 0) this.#resume()
    let isOver = false
    return () => {
      if (isOver) return
      isOver = true
      this.#close()
    }
  }

  endWith (end: () => void): void {
    this.#end = end
    this.#countStream()
  }

  onResponseEnd (callback: () => void): void {
    if (this.isResponseOver) callback()
    else (this.#onResponseEnd ??= []).push(callback)
  }

  /** Ends the stream, once. Does nothing before its head has been sent. */
  end (): void {
    if (this.#end === undefined) {
      if (this.reply.raw.headersSent) this.reply.raw.destroy()
    } else if (!this.#hasEnded) {
      this.#hasEnded = true
      this.#end()
    }
  }

  endResponse (): void {
    this.isResponseOver = true
    this.#onResponseEnd?.forEach(call)
    this.#close()
  }

  onOver (callback: () => void): void {
    if (this.#open === 0) callback()
    else (this.#onOver ??= []).push(callback)
  }

  whenOver (): Promise<void> {
    return new Promise((resolve) => this.onOver(resolve))
  }

  // Only when it is open: until then a stream is a request like any other, and its session must not be evicted.
  #countStream (): void {
    if (this.#end === undefined || this.session === undefined || this.#open === 0) return
    this.#releaseStream ??= this.#sessions.holdStream(this.session)
  }

  // The client was gone, and its session released, before the work began.
  #resume (): void {
    if (this.kind !== 'request') this.#running.add(this)
    if (this.session !== undefined) this.session = this.#sessions.acquire(this.session.id)
  }

  #close (): void {
    if (--this.#open > 0) return
    if (this.kind !== 'request' || this.expected !== undefined) this.#running.delete(this)
    this.expected = undefined
    this.#releaseStream?.()
    this.#releaseStream = undefined
    if (this.session !== undefined) this.#sessions.release(this.session)
    this.#onOver?.forEach(call)
  }
}

function call (callback: () => void): void {
  callback()
}

/** The records that are not over, and how many of them are calls. */
class RunningRecords {
  readonly #records = new Set<TrackedReply>()
  calls = 0
  #onNoCalls: Array<() => void> = []

  add (record: TrackedReply): void {
    this.#records.add(record)
    if (record.kind === 'call') this.calls++
  }

  delete (record: TrackedReply): void {
    this.#records.delete(record)
    if (record.kind !== 'call' || --this.calls > 0) return
    for (const callback of this.#onNoCalls) callback()
    this.#onNoCalls = []
  }

  async whenNoCalls (): Promise<void> {
    await new Promise<void>((resolve) => { this.#onNoCalls.push(resolve) })
  }

  [Symbol.iterator] (): Iterator<TrackedReply> {
    return this.#records[Symbol.iterator]()
  }
}
