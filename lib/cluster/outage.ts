import type { FastifyBaseLogger } from 'fastify'
import { channels } from '../observe/channels.js'
import type { NodeLease } from './lease.js'

/** Knows whether the directory answers. Logs the beginning and the end of an outage, and not every attempt. */
export class Outage {
  readonly #log: FastifyBaseLogger
  readonly #sessions: object
  #since: number | undefined

  constructor (nodeLease: NodeLease, log: FastifyBaseLogger, sessions: object) {
    this.#log = log
    this.#sessions = sessions
    nodeLease.on('unavailable', (error) => this.#begin(error))
    nodeLease.on('answered', () => this.#end())
  }

  get isOn (): boolean {
    return this.#since !== undefined
  }

  #begin (error: unknown): void {
    if (this.#since !== undefined) return
    this.#since = performance.now()
    this.#log.error(error, 'The session directory does not answer. Sessions of this node are served while its lease can be valid')
    const unavailable = channels['redis.unavailable']
    if (unavailable.hasSubscribers) unavailable.publish({ sessions: this.#sessions, error })
  }

  #end (): void {
    if (this.#since === undefined) return
    const after = performance.now() - this.#since
    this.#since = undefined
    this.#log.info({ after: Math.round(after) }, 'The session directory answers again')
    const available = channels['redis.available']
    if (available.hasSubscribers) available.publish({ sessions: this.#sessions, after })
  }
}
