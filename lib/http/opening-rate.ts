import type { FastifyRequest } from 'fastify'
import { OpeningRateError } from '../base/errors.js'
import { readNetwork } from './caller-network.js'

/** Counts in windows of a minute, each of which begins with the first time that something is counted. */
export interface MinuteCounts {
  /** How often the key was counted in its minute, this time included. */
  count (key: string): number | Promise<number>
}

const MINUTE = 60_000
const MOST_KEYS = 100_000

/** Those of one process. Of more than 100,000 keys in a minute the oldest are forgotten. */
export class LocalMinuteCounts implements MinuteCounts {
  // In the order in which their minutes began.
  readonly #windows = new Map<string, { readonly start: number, count: number }>()

  count (key: string): number {
    const now = performance.now()
    for (const [oldest, { start }] of this.#windows) {
      if (now - start < MINUTE && this.#windows.size <= MOST_KEYS) break
      this.#windows.delete(oldest)
    }
    const window = this.#windows.get(key) ?? { start: now, count: 0 }
    this.#windows.set(key, window)
    return ++window.count
  }
}

/** How many sessions may be opened in a minute by one principal; of the anonymous, by one address or /64 of IPv6. */
export class OpeningRate {
  readonly #max: number
  readonly #counts: MinuteCounts

  constructor (max: number, counts: MinuteCounts) {
    this.#max = max
    this.#counts = counts
  }

  /** Rejects with an `OpeningRateError` when it is once too often. */
  async admit ({ ip }: FastifyRequest, principal: string | undefined): Promise<void> {
    // Neither can be taken for the other.
    const key = principal === undefined ? `ip ${readNetwork(ip)}` : `principal ${principal}`
    if (await this.#counts.count(key) > this.#max) throw new OpeningRateError()
  }
}
