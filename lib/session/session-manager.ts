import { randomUUID } from 'node:crypto'
import { EventEmitter } from 'node:events'
import { describeValue } from '../base/describe-value.js'
import { SessionLimitError } from '../base/errors.js'
import type { ILogger, LogLevel } from '../base/logger.js'
import {
  checkBoolean, checkCount, checkFunction, checkMethod, checkMilliseconds, checkNames, checkTimer, clampToTimer
} from '../base/option-checks.js'
import { fail, succeed, type Result } from '../base/result.js'
import { asError, runGuarded } from '../base/safe-call.js'
import { channels, type CloseReason } from '../observe/channels.js'
import { EvictionPolicy } from './eviction-policy.js'
import { copyMetadata, describeKeys } from './metadata.js'
import { isSessionId } from './session-id.js'
import { SessionRecord } from './session-record.js'
import type { RestoredOrigin, Session, SessionMetadata, SessionOrigin } from './session.js'

/** All times are milliseconds. */
export interface SessionManagerOptions {
  /**
   * Has no effect here: a manager works whatever it says. It is accepted so
   * that a configuration shared with the plugin can be passed on as it is.
   *
   * @default true
   */
  enabled?: boolean | undefined
  /**
   * Idle time after which a session expires; 0: never.
   *
   * @default 3_600_000
   */
  ttl?: number | undefined
  /**
   * Time between two sweeps for expired sessions; 0: ttl / 2. At most 2_147_483_647.
   *
   * @default 300_000
   */
  cleanupInterval?: number | undefined
  /**
   * How many sessions there may be. Past it one is closed (`evicted`) to make
   * room: an anonymous one, or else one of the principal that has the most. Of
   * these the longest-idle one goes; if none is idle, of those that hold nothing
   * but open streams the one that was used longest ago. One with a request
   * running stays.
   *
   * @default no limit
   */
  maxSessions?: number | undefined
  /**
   * How many sessions one principal may have. Past it one of the same principal
   * is closed. Sessions without a principal do not count.
   *
   * @default no limit
   */
  maxSessionsPerPrincipal?: number | undefined
  /**
   * Where log entries go, unless the second argument of the constructor says.
   *
   * @default nowhere
   */
  logger?: ILogger | undefined
  /**
   * How a session id is written in log entries.
   *
   * @default as it is
   */
  formatId?: ((id: string) => string) | undefined
}

/** Called with the id of a session that expires, before the session is removed. */
export type ExpirationHandler = (sessionId: string) => void | Promise<void>

/** The events of a `SessionManager`, with what their listeners get. */
export interface SessionEvents {
  /** A session was opened, by a client or by the app. */
  created: [session: Session]
  /** The metadata of a session has changed. */
  updated: [session: Session]
  /** A session has ended, for whatever reason. */
  closed: [session: Session, reason: CloseReason]
}

/** A search for expired sessions, which may take several slices. */
interface Sweep {
  readonly startedAt: number
  /** The first few that were removed. */
  readonly ids: string[]
  removed: number
}

const NAMES = ['enabled', 'ttl', 'cleanupInterval', 'maxSessions', 'maxSessionsPerPrincipal', 'logger', 'formatId']
const DEFAULT_TTL = 3_600_000
const DEFAULT_CLEANUP_INTERVAL = 300_000
// Small enough that a slice whose listeners take 30 µs a session stays below 10 ms.
const VISITS_PER_SLICE = 256
const IDS_PER_LOG_ENTRY = 10

/** Moves the clock of a manager forward and closes what has expired by then: for the test kit. */
export let moveClock: (sessions: SessionManager, milliseconds: number) => void
/** The time by which a manager goes, in milliseconds since the epoch: a test may have moved it. */
export let readClock: (sessions: SessionManager) => number

/**
 * Keeps the sessions of one process: creates, finds, touches, expires and
 * closes them. Every method is synchronous, and none throws but those that say so.
 */
export class SessionManager extends EventEmitter<SessionEvents> {
  /** Milliseconds; Infinity when sessions never expire. */
  readonly #ttl: number
  readonly #cleanupInterval: number
  readonly #logger: ILogger | undefined
  readonly #formatId: (id: string) => string
  readonly #sessions = new Map<string, SessionRecord>()
  readonly #maxSessions: number
  readonly #eviction: EvictionPolicy
  // Sessions whose expiration handler is running: they are not found, and expire only once.
  readonly #expiring = new Set<SessionRecord>()
  #expirationHandler: ExpirationHandler | undefined
  #timer: NodeJS.Timeout | undefined
  #sweep: Sweep | undefined
  // The next slice of the sweep; none while one runs.
  #slice: NodeJS.Immediate | undefined
  // Milliseconds by which a test has moved the clock forward.
  #ahead = 0

  static {
    moveClock = (sessions, milliseconds) => {
      sessions.#ahead += milliseconds
      for (const id of Array.from(sessions.#sessions.keys())) sessions.#find(id)
    }
    readClock = (sessions) => sessions.#now()
  }

  /**
   * @param logger where log entries go, instead of `options.logger`
   * @throws TypeError for an option that does not exist, is of the wrong type or out of range
   */
  constructor (options: SessionManagerOptions = {}, logger: ILogger | undefined = options.logger) {
    super()
    checkNames(options, NAMES)
    const { enabled = true, ttl = DEFAULT_TTL, cleanupInterval = DEFAULT_CLEANUP_INTERVAL } = options
    checkBoolean('enabled', enabled)
    this.#ttl = checkMilliseconds('ttl', ttl, 'sessions never expire') || Infinity
    const interval = checkTimer('cleanupInterval', cleanupInterval, 'half of the ttl')
    this.#cleanupInterval = interval === 0 ? clampToTimer(this.#ttl / 2) : interval
    this.#logger = checkMethod('logger', logger, 'sendLog', '({ level, data, logger })')
    this.#formatId = checkFunction('formatId', options.formatId, '(id) => string') ?? String
    this.#maxSessions = checkCount('maxSessions', options.maxSessions) ?? Infinity
    this.#eviction = new EvictionPolicy(this.#ttl, checkCount('maxSessionsPerPrincipal', options.maxSessionsPerPrincipal) ?? Infinity)
  }

  /**
   * Opens a session under a new UUID v4.
   *
   * @throws TypeError when `metadata` is not an object
   * @throws SessionLimitError when a limit is reached and all sessions have a request running
   */
  create (metadata?: SessionMetadata, origin?: SessionOrigin): string {
    const id = flatten(randomUUID())
    this.#open('created', id, metadata, origin)
    return id
  }

  /**
   * Opens a session under an id made elsewhere, such as the one that the SDK
   * hands to `onsessioninitialized`. A session that has the id already is
   * closed with the reason `replaced`.
   *
   * @throws TypeError when `id` is not 1 to 256 visible ASCII characters, or `metadata` is not an object
   * @throws SessionLimitError when a limit is reached and all sessions have a request running
   */
  register (id: string, metadata?: SessionMetadata, origin?: RestoredOrigin): void {
    if (!isSessionId(id)) throw new TypeError('A session id must be a string of 1 to 256 visible ASCII characters')
    this.#open('registered', id, metadata, origin)
  }

  /** The session, unless it is unknown or past its ttl. Does not touch it. */
  get (id: string): Session | undefined {
    return this.#find(id)
  }

  /** Restarts the idle time of the session. */
  touch (id: string): Result<void> {
    const now = this.#now()
    const session = this.#find(id, now)
    if (session === undefined) return fail(new Error(`Session not found: ${describeValue(id)}`))
    this.#restartIdleTime(session, now)
    return succeed()
  }

  /** Merges `metadata` into that of the session, key by key. Does not touch it. */
  update (id: string, metadata: SessionMetadata): Result<void> {
    const session = this.#find(id)
    if (session === undefined) return fail(new Error(`Session not found: ${describeValue(id)}`))
    try {
      session.metadata = copyMetadata(metadata, session.metadata)
    } catch (error) {
      return fail(asError(error))
    }
    this.#emit('updated', session)
    return succeed()
  }

  /** Closes the session. */
  cleanup (id: string, reason: CloseReason = 'deleted'): Result<void> {
    const session = this.#sessions.get(id)
    if (session === undefined) return fail(new Error(`Session not found for cleanup: ${describeValue(id)}`))
    this.#close(session, reason)
    this.#log('info', () => `Session cleaned up: ${this.#formatId(id)}`)
    return succeed()
  }

  /**
   * Counts a request in, so that the session does not age until `release()`.
   * `undefined` for a session that is unknown or past its ttl.
   */
  acquire (id: string): Session | undefined {
    const now = this.#now()
    return this.#hold(this.#find(id, now), now)
  }

  /** The same for a request of `principal`: to anyone else the session does not exist. */
  acquireFor (id: string, principal: string | undefined): Session | undefined {
    const now = this.#now()
    const session = this.#find(id, now)
    return session?.principal === principal ? this.#hold(session, now) : undefined
  }

  /**
   * Counts a request out that `acquire()` counted in; the idle time starts at
   * the end of the last one. Nothing happens for a session that has been closed.
   */
  release (session: Session): void {
    const tracked = this.#sessions.get(session.id)
    if (tracked !== session || tracked.activeRequests === 0) return
    tracked.activeRequests--
    this.#restartIdleTime(tracked, this.#now())
    if (!tracked.isLinked) this.#requeue(tracked)
  }

  /**
   * Says that one of the requests that `acquire()` counted in is a stream with
   * no end of its own: a session that holds nothing else makes room when none
   * is idle. Call what it returns when the stream is over, before `release()`.
   */
  holdStream (session: Session): () => void {
    const tracked = this.#sessions.get(session.id)
    if (tracked !== session) return () => {}
    tracked.openStreams++
    if (!tracked.isLinked) this.#requeue(tracked)
    let isOpen = true
    return () => {
      if (!isOpen) return
      isOpen = false
      tracked.openStreams--
      // It may be in the line of those that hold nothing but streams, where it would be overlooked once it is idle.
      if (this.#isTracked(tracked)) this.#requeue(tracked)
    }
  }

  /** How many more sessions may be opened before one has to go. Infinity: without limit. */
  get room (): number {
    return this.#maxSessions - this.#sessions.size
  }

  /**
   * Which session would have to go if another one of `principal` were opened now. `undefined`: none has to; `null`: one
   * has to, and none can.
   */
  nextToEvict (principal?: string): Session | undefined | null {
    if (this.#eviction.isFull(principal)) return this.#eviction.nextOf(principal) ?? null
    if (this.room > 0) return undefined
    const now = this.#now()
    return this.#eviction.next((session) => this.#isExpired(session, now)) ?? null
  }

  /** All sessions that are tracked. Among them may be some that have expired and were not removed yet. */
  list (): Session[] {
    return Array.from(this.#sessions.values())
  }

  /** How many sessions `list()` would return. */
  getActiveSessionCount (): number {
    return this.#sessions.size
  }

  /**
   * Sets the one handler that is called with the id of every session that
   * expires. What it throws, or rejects with, is logged.
   *
   * @throws TypeError when `handler` is neither a function nor undefined
   */
  setExpirationHandler (handler: ExpirationHandler | undefined): void {
    this.#expirationHandler = checkFunction('handler', handler, '(sessionId) => void | Promise<void>')
  }

  /** Starts the timer that removes expired sessions; it does not keep the process alive. */
  startTTLCleanup (): void {
    if (this.#timer !== undefined || this.#ttl === Infinity) return
    this.#timer = setInterval(() => this.#startSweep(), this.#cleanupInterval)
    this.#timer.unref()
    this.#log('info', () => `Starting TTL cleanup (interval: ${this.#cleanupInterval}ms, TTL: ${this.#ttl}ms)`)
  }

  /** Ends what `startTTLCleanup()` has begun. Sessions expire all the same: whoever asks for one that is too old does not get it. */
  stopTTLCleanup (): void {
    if (this.#timer === undefined) return
    clearInterval(this.#timer)
    this.#timer = undefined
    this.#stopSweep()
    this.#log('info', () => 'Stopped TTL cleanup')
  }

  /** Closes all sessions, or those for which `which` says so, in one go. */
  clearAll (reason: CloseReason = 'cleared', which?: (session: Session) => boolean): void {
    let removed = 0
    for (const session of Array.from(this.#sessions.values())) {
      if (which?.(session) !== false && this.#close(session, reason)) removed++
    }
    if (which !== undefined && removed === 0) return
    this.#log('info', () => `All sessions cleared: ${removed} session(s) removed`)
  }

  #open (verb: 'created' | 'registered', id: string, metadata: SessionMetadata | undefined, origin: RestoredOrigin | undefined): void {
    const copy = metadata === undefined ? undefined : copyMetadata(metadata)
    const replaced = this.#sessions.get(id)
    // The new one takes the place of the one that had its id.
    if (replaced === undefined) this.#makeRoom(origin?.principal)
    else this.#forget(replaced)
    const session = new SessionRecord(id, this.#now(), copy, origin)
    this.#sessions.set(id, session)
    this.#eviction.add(session)
    this.#log('info', () => `Session ${verb}: ${this.#formatId(id)}${describeKeys(copy)}`)
    // Ahead of the events, whose listeners can close the session: on the channels it is created before it is closed.
    if (replaced !== undefined) this.#publishEnd(replaced, 'replaced')
    const created = channels['session.created']
    if (created.hasSubscribers) created.publish({ sessions: this, session, how: origin?.createdAt === undefined ? verb : 'adopted' })
    if (replaced !== undefined) this.#emit('closed', replaced, 'replaced')
    // A listener of `closed` of the one that was replaced may have closed the new one already.
    if (this.#isTracked(session)) this.#emit('created', session)
  }

  #makeRoom (principal: string | undefined): void {
    if (this.#eviction.isFull(principal)) this.#evict(this.#eviction.nextOf(principal))
    if (this.#sessions.size < this.#maxSessions) return
    const now = this.#now()
    this.#evict(this.#eviction.next((session) => this.#isExpired(session, now)))
  }

  #evict (session: SessionRecord | undefined): void {
    if (session === undefined) throw new SessionLimitError()
    if (this.#isExpired(session, this.#now())) {
      if (this.#expire(session)) this.#logExpired([session.id])
      return
    }
    this.#close(session, 'evicted')
    this.#log('info', () => `Session evicted: ${this.#formatId(session.id)}`)
  }

  #find (id: string, now = this.#now()): SessionRecord | undefined {
    const session = this.#sessions.get(id)
    if (session === undefined || !this.#isExpired(session, now)) return session
    if (this.#expire(session)) this.#logExpired([id])
    return undefined
  }

  #hold (session: SessionRecord | undefined, now: number): SessionRecord | undefined {
    if (session === undefined) return undefined
    session.activeRequests++
    this.#restartIdleTime(session, now)
    return session
  }

  #restartIdleTime (session: SessionRecord, now: number): void {
    const clockWentBack = now < session.lastAccessedAt
    session.lastAccessedAt = now
    // The queue looks for a session in the slot of its time or an earlier one, and not in a later one.
    if (clockWentBack) this.#requeue(session)
  }

  #requeue (session: SessionRecord): void {
    this.#eviction.requeue(session)
  }

  #now (): number {
    return Date.now() + this.#ahead
  }

  #isTracked (session: SessionRecord): boolean {
    return this.#sessions.get(session.id) === session
  }

  #isExpired (session: SessionRecord, now: number): boolean {
    return now - session.lastAccessedAt > this.#ttl && session.activeRequests === 0
  }

  // False when it is expiring already: its handler, or a listener, has asked for it.
  #expire (session: SessionRecord): boolean {
    if (this.#expiring.has(session)) return false
    this.#expiring.add(session)
    const handler = this.#expirationHandler
    if (handler !== undefined) {
      runGuarded(() => handler(session.id), (error) => {
        this.#log('error', () => `Expiration handler failed for session ${this.#formatId(session.id)}: ${this.#describe(error, session)}`)
      })
    }
    this.#expiring.delete(session)
    return this.#close(session, 'expired')
  }

  // The listeners come last, so that they find everything else in order.
  #close (session: SessionRecord, reason: CloseReason): boolean {
    if (!this.#isTracked(session)) return false
    this.#forget(session)
    this.#publishEnd(session, reason)
    this.#emit('closed', session, reason)
    return true
  }

  #publishEnd (session: SessionRecord, reason: CloseReason): void {
    const closed = channels['session.closed']
    if (closed.hasSubscribers) closed.publish({ sessions: this, session, reason, age: this.#now() - session.createdAt })
  }

  #forget (session: SessionRecord): void {
    this.#sessions.delete(session.id)
    this.#eviction.delete(session)
  }

  // Each listener on its own: one that throws must not keep the next from freeing its memory.
  #emit<E extends keyof SessionEvents> (event: E, ...args: SessionEvents[E]): void {
    for (const listener of this.rawListeners(event)) {
      runGuarded(() => Reflect.apply(listener, this, args), (error) => {
        this.#log('error', () => `A listener of "${event}" failed: ${this.#describe(error, args[0])}`)
      })
    }
  }

  #startSweep (): void {
    // One that takes longer than the interval goes on instead.
    if (this.#sweep !== undefined) return
    this.#guardSweep(() => {
      this.#sweep = { startedAt: this.#now(), ids: [], removed: 0 }
      this.#runSlice(this.#sweep)
    })
  }

  #guardSweep (work: () => void): void {
    runGuarded(work, (error) => {
      this.#sweep = undefined
      this.#log('error', () => `TTL cleanup failed: ${error.message}`)
    })
  }

  // In slices, so that many sessions that expire together do not hold up the event loop.
  #runSlice (sweep: Sweep): void {
    this.#slice = undefined
    const { sessions, more } = this.#eviction.takeIdleBefore(sweep.startedAt - this.#ttl, VISITS_PER_SLICE)
    for (const session of sessions) this.#sweepSession(session, sweep)
    if (more && this.#sweep === sweep) {
      this.#slice = setImmediate(() => this.#guardSweep(() => this.#runSlice(sweep)))
      this.#slice.unref()
    } else {
      this.#endSweep(sweep)
    }
  }

  // A handler or a listener of an earlier session may have closed this one, stopped the sweep or, with the clock set back,
  // brought this one into use.
  #sweepSession (session: SessionRecord, sweep: Sweep): void {
    if (!this.#isTracked(session)) return
    if (this.#sweep === sweep && this.#isExpired(session, sweep.startedAt)) {
      if (this.#expire(session) && sweep.removed++ < IDS_PER_LOG_ENTRY) sweep.ids.push(session.id)
    } else if (!session.isLinked) {
      this.#requeue(session)
    }
  }

  // From within a slice the sweep is only told to stop; the slice ends it.
  #stopSweep (): void {
    const sweep = this.#sweep
    this.#sweep = undefined
    if (sweep === undefined || this.#slice === undefined) return
    clearImmediate(this.#slice)
    this.#endSweep(sweep)
  }

  #endSweep (sweep: Sweep): void {
    this.#sweep = undefined
    if (sweep.removed > 0) this.#logExpired(sweep.ids, sweep.removed)
  }

  #logExpired (ids: string[], removed = ids.length): void {
    this.#log('info', () => {
      const shown = ids.map((id) => this.#formatId(id)).join(', ') + (removed > ids.length ? ', …' : '')
      return `Cleanup completed: removed ${removed} expired session(s): ${shown}`
    })
  }

  // What the app throws may name the session, as the errors of touch() and cleanup() do.
  #describe (error: Error, { id }: Session): string {
    return error.message.replaceAll(id, () => this.#formatId(id))
  }

  // The text is made in here: not at all without a logger, and a `formatId` that throws breaks nothing.
  #log (level: LogLevel, describe: () => string): void {
    const logger = this.#logger
    if (logger === undefined) return
    // A logger that fails has nobody left to tell.
    runGuarded(() => logger.sendLog({ level, data: describe(), logger: 'SessionManager' }), () => {})
  }
}

// randomUUID() joins 20 pieces that all stay in memory as long as the id does:
// about 400 bytes a session, and slower look-ups.
function flatten (id: string): string {
  return Buffer.from(id, 'latin1').toString('latin1')
}
