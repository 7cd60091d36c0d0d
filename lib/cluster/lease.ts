import { randomUUID } from 'node:crypto'
import { EventEmitter } from 'node:events'
import { performance } from 'node:perf_hooks'
import { DirectoryUnavailableError, type Directory, type JsonObject } from './directory.js'
import { startPatience } from '../base/patience.js'

export interface NodeLeaseOptions {
  directory: Directory
  /** Where the other nodes reach this one. Asked when a lease starts: a port is known only then. */
  url: () => string
  /**
   * Milliseconds for which the others take this node for alive after its last renewal.
   *
   * @default 5000
   */
  lease?: number
  /**
   * Milliseconds on a clock that never goes back.
   *
   * @default performance.now
   */
  now?: () => number
}

export interface NodeLeaseEvents {
  /** The first lease, or a new one after the last was lost: every session held as `previous` must be claimed again. */
  joined: [incarnation: string, previous: string | undefined]
  /** The lease may be over: nothing may be served until `resumed` or `joined`. */
  lapsed: [incarnation: string]
  /** The lease was extended after all, and never interrupted: nobody can have taken anything. */
  resumed: [incarnation: string]
  /** The directory has just confirmed the lease, whichever it is. */
  renewed: []
  /** What other nodes have sent to this one. */
  mail: [messages: JsonObject[]]
  /** The directory has answered all that it was asked for the lease. */
  answered: []
  /** The directory did not answer. It is asked again. */
  unavailable: [error: unknown]
}

// How much later than this node others may notice that the directory is back, in milliseconds: by default ioredis 6
// waits for up to 5.2 seconds between two attempts to connect.
export const RECONNECT_TIME = 6000

/**
 * This node's lease. While it runs, this node may serve its sessions, and the others leave them alone.
 *
 * The others see the lease end when the directory says so. This node takes it for over a little earlier, and
 * counts it on its own clock from before each renewal was sent. So when the network or this process stands
 * still, this node stops before the others may begin.
 */
export class NodeLease extends EventEmitter<NodeLeaseEvents> {
  readonly lease: number
  readonly #directory: Directory
  readonly #url: () => string
  readonly #now: () => number
  readonly #margin: number
  #incarnation: string | undefined
  // The URL at which that incarnation was announced. Undefined: a new one has to be announced.
  #announced: string | undefined
  #secret = ''
  #former = { secret: '', until: -Infinity }
  #history = ''
  // When that history began, on this node's clock.
  #historyBegan = -Infinity
  #isFresh = true
  #rebuiltUntil = -Infinity
  #validUntil = -Infinity
  // When the lease would have ended, even if the directory has lost it before.
  #ranUntil = -Infinity
  // The incarnation whose sessions nobody can have taken yet: see isCertain().
  #certain: { readonly incarnation: string, readonly until: number } | undefined
  // The incarnation at whose end this process stood still: see hasSlept().
  #asleep: string | undefined
  #lapsed = true
  #timer: NodeJS.Timeout | undefined
  #lapseTimer: NodeJS.Timeout | undefined
  #beat: Promise<void> | undefined
  #left = false

  constructor ({ directory, url, lease = 5000, now = () => performance.now() }: NodeLeaseOptions) {
    super()
    // Every request that waits for a lease listens for a moment.
    this.setMaxListeners(0)
    this.#url = url
    this.lease = lease
    this.#directory = directory
    this.#now = now
    this.#margin = lease / 10
  }

  /** The incarnation that this node owns sessions as; `undefined` before the first lease. */
  get incarnation (): string | undefined {
    return this.#incarnation
  }

  /** The secret of the cluster as of the last renewal; empty before the first lease. */
  get secret (): string {
    return this.#secret
  }

  /** The secret that the directory has lost, for as long as other nodes may not have heard of the new one: a lease. Else empty. */
  get formerSecret (): string {
    return this.#now() < this.#former.until ? this.#former.secret : ''
  }

  /** Whether the lease runs. Costs a look at the clock: ask before every request. */
  isValid (): boolean {
    return this.#now() < this.#validUntil
  }

  /** The history of the directory as of the last renewal: another one means that it may have lost what it was told. */
  get history (): string {
    return this.#history
  }

  /** Whether the directory has lost data so recently that other nodes may not have brought their sessions back yet. */
  isRebuilding (): boolean {
    return this.#now() < this.#rebuiltUntil
  }

  /**
   * Whether to believe the directory that nobody serves a session. For a lease after it has lost what it was told last,
   * that session may have an owner who has not noticed yet.
   */
  isTrustworthy (): boolean {
    return this.#isFresh || this.isHistorySettled()
  }

  /** Whether the history is older than a lease. Then every node that held sessions before it has noticed, or has no lease. */
  isHistorySettled (): boolean {
    return this.#now() >= this.#historyBegan + this.lease
  }

  /** Whether nobody can have taken a session that this incarnation of this node held when the directory lost its data. */
  isCertain (incarnation: string): boolean {
    return this.#certain?.incarnation === incarnation && this.#now() < this.#certain.until
  }

  /** Whether this process stood still until after the lease of that incarnation. */
  hasSlept (incarnation: string): boolean {
    return this.#asleep === incarnation
  }

  /**
   * Asks whether the directory may have lost data since it had the history `known`, by default that of the last renewal.
   * Resolves to true when it may have, and this node has a new lease for that. Rejects with a `DirectoryUnavailableError`.
   */
  async hasForgotten (known = this.#history): Promise<boolean> {
    const { id } = await this.#directory.history()
    if (id === known) return false
    await this.#renew()
    if (this.#history === known) throw new DirectoryUnavailableError('The directory has lost its data, and does not answer')
    return true
  }

  /**
   * Asks for a lease, and goes on asking in the background whatever the answer. One that was announced at
   * another URL, such as before the app listened, is given up for a new one. Never rejects: resolves to
   * whether there is a lease now.
   */
  async join (): Promise<boolean> {
    await this.#renew()
    if (!this.#left && this.#announced !== undefined && this.#announced !== this.#url()) {
      this.#announced = undefined
      await this.#renew()
    }
    return this.isValid()
  }

  /**
   * Resolves to whether the lease runs, as soon as it does or after `timeout` milliseconds. Asks for a first lease, if nobody
   * has.
   */
  whenValid (timeout: number): Promise<boolean> {
    if (this.isValid() || this.#left) return Promise.resolve(this.isValid())
    if (this.#timer === undefined) this.#renew()
    return new Promise((resolve) => {
      const settle = (): void => {
        endPatience()
        this.off('joined', settle)
        this.off('resumed', settle)
        resolve(this.isValid())
      }
      const endPatience = startPatience(timeout, settle)
      this.on('joined', settle)
      this.on('resumed', settle)
    })
  }

  /** The incarnation, when its lease runs. Rejects with a `DirectoryUnavailableError` after `timeout` milliseconds. */
  async whenIncarnated (timeout: number): Promise<string> {
    const isValid = await this.whenValid(timeout)
    if (!isValid || this.#incarnation === undefined) throw new DirectoryUnavailableError('This node has no lease')
    return this.#incarnation
  }

  /** Gives the lease back. The sessions must have been released before. Never rejects. */
  async leave (): Promise<void> {
    this.#left = true
    clearTimeout(this.#timer)
    await this.#beat
    clearTimeout(this.#lapseTimer)
    this.#validUntil = -Infinity
    const incarnation = this.#incarnation
    if (incarnation === undefined) return
    await this.#attempt(() => this.#directory.withdraw(incarnation))
  }

  #renew (): Promise<void> {
    this.#beat ??= this.#heartbeat().then(renewed => {
      this.#beat = undefined
      this.#schedule(renewed)
    })
    return this.#beat
  }

  // Extends the lease, or starts a new one, and returns whether that was possible.
  async #heartbeat (): Promise<boolean> {
    // First of all, so that a process that stood still sees that its lease is over.
    this.#noticeLapse()
    const incarnation = this.#incarnation
    const starts = incarnation === undefined || this.#announced === undefined
    const renewed = await this.#attempt(() => starts ? this.#start() : this.#extend(incarnation))
    if (renewed) this.emit('answered')
    return renewed
  }

  async #extend (incarnation: string): Promise<void> {
    const sent = this.#now()
    const [renewal, history] = await Promise.allSettled([this.#directory.renew(incarnation, this.lease), this.#learnHistory()])
    if (renewal.status === 'rejected') throw renewal.reason
    const messages = renewal.value
    if (messages !== undefined && messages.length > 0) this.emit('mail', messages)
    // Whether the directory has lost data must be known: if it has, the lease is worth nothing.
    if (history.status === 'rejected') throw history.reason
    if (messages === undefined || this.#announced === undefined) return this.#start()
    const wasLapsed = this.#lapsed
    this.#runs(sent)
    if (wasLapsed) this.emit('resumed', incarnation)
    this.emit('renewed')
  }

  async #start (): Promise<void> {
    // The directory does not have the lease any more, even if it still runs by this node's clock.
    this.#stop()
    await this.#learnHistory()
    // Every attempt has a new id: one that seems to have failed may still be carried out.
    const incarnation = randomUUID()
    const url = this.#url()
    const sent = this.#now()
    await this.#directory.announce({ node: incarnation, url }, this.lease)
    const previous = this.#incarnation
    this.#incarnation = incarnation
    this.#announced = url
    this.#runs(sent)
    this.emit('joined', incarnation, previous)
    this.emit('renewed')
  }

  // Asked with every renewal: a store that has lost data has another history.
  async #learnHistory (): Promise<void> {
    const { id, age, isFresh, secret } = await this.#directory.history()
    const isKnown = this.#history === '' || this.#history === id
    this.#historyBegan = this.#now() - age
    this.#history = id
    this.#isFresh = isFresh
    if (secret !== this.#secret) this.#former = { secret: this.#secret, until: this.#now() + this.lease }
    this.#secret = secret
    if (!isKnown) this.#forget()
  }

  // The directory has lost data: this node needs another lease, with which it claims its sessions anew.
  #forget (): void {
    const incarnation = this.#incarnation
    if (incarnation !== undefined && this.#now() < this.#ranUntil) this.#certain = { incarnation, until: this.#ranUntil }
    this.#rebuiltUntil = this.#now() + this.lease + RECONNECT_TIME
    this.#announced = undefined
    this.#stop()
  }

  #stop (): void {
    this.#validUntil = -Infinity
    this.#noticeLapse()
  }

  #runs (sent: number): void {
    this.#validUntil = this.#ranUntil = sent + this.lease - this.#margin
    this.#lapsed = false
    clearTimeout(this.#lapseTimer)
    this.#lapseTimer = setTimeout(() => this.#noticeLapse(), Math.max(1, this.#validUntil - this.#now()))
    this.#lapseTimer.unref()
  }

  #noticeLapse (): void {
    if (this.#lapsed || this.isValid()) return
    this.#lapsed = true
    if (this.#validUntil !== -Infinity && this.#now() > this.#validUntil + this.lease / 2) this.#asleep = this.#incarnation
    this.emit('lapsed', String(this.#incarnation))
  }

  // After a third of the lease there is time for more attempts, and those come faster.
  #schedule (renewed: boolean): void {
    if (this.#left) return
    // join() may have come between two renewals.
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => { this.#renew() }, renewed ? this.lease / 3 : this.lease / 10)
    this.#timer.unref()
  }

  async #attempt (action: () => Promise<void>): Promise<boolean> {
    try {
      await action()
      return true
    } catch (error) {
      this.emit('unavailable', error)
      return false
    }
  }
}
