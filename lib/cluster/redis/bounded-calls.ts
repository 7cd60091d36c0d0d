import { DirectoryUnavailableError } from '../directory.js'
import { startPatience } from '../../base/patience.js'
import type { RedisConnection } from './connection.js'
import { withoutArguments } from './redis-error.js'

export interface BoundedCallsOptions {
  /** The connection for the next call. @throws Error when there is none any more */
  connection: () => RedisConnection
  /** Called with a connection on which a call has waited in vain. */
  onSilent?: ((connection: RedisConnection) => void) | undefined
  /** Milliseconds after which a call has failed, even though ioredis may still be trying. */
  timeout: number
}

/** Calls of Redis that settle in time. They reject with a `DirectoryUnavailableError`. */
export class BoundedCalls {
  readonly #connection: BoundedCallsOptions['connection']
  readonly #onSilent: BoundedCallsOptions['onSilent']
  readonly #timeout: number

  constructor ({ connection, onSilent, timeout }: BoundedCallsOptions) {
    this.#connection = connection
    this.#onSilent = onSilent
    this.#timeout = timeout
  }

  /**
   * Makes a call. `late` is called with a reply that came after the caller had been told that there is none: ioredis cannot
   * take a command back, so what it did may have to be undone.
   */
  call<T> (send: (connection: RedisConnection) => Promise<T>, late?: (reply: T) => void): Promise<T> {
    return new Promise((resolve, reject) => {
      let expired = false
      let used: RedisConnection | undefined
      const endPatience = startPatience(this.#timeout, () => {
        expired = true
        if (used !== undefined) this.#onSilent?.(used)
        const trouble = used?.trouble
        reject(new DirectoryUnavailableError(`Redis did not answer within ${this.#timeout} ms`, trouble && withoutArguments(trouble)))
      })
      const run = async (): Promise<void> => {
        try {
          used = this.#connection()
          await used.whenReady()
          // Nobody waits for it any more, so it must not be sent.
          if (expired) return
          const reply = await send(used)
          if (expired) late?.(reply)
          else resolve(reply)
        } catch (error) {
          reject(new DirectoryUnavailableError('Redis failed', withoutArguments(error)))
        } finally {
          endPatience()
        }
      }
      run()
    })
  }
}
