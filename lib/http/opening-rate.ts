import type { FastifyRequest } from 'fastify'
import { OpeningRateError } from '../base/errors.js'
import { readNetwork } from './caller-network.js'

/** Counts by key, in windows of a minute: that of a key begins when it is first counted. */
export interface MinuteCounts {
  /** How often the key was counted in its minute, this time included. */
  count (key: string): number | Promise<number>
}

const MINUTE = 60_000
const MOST_KEYS = 100_000

/** The counts of one process. Of more than 100,000 keys in a minute the oldest are forgotten. */
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

/** Bounds how many sessions one principal opens in a minute; of the anonymous, one address, or one /64 of IPv6. */
export class OpeningRate {
  readonly #max: number
  readonly #counts: MinuteCounts

  constructor (max: number, counts: MinuteCounts) {
    this.#max = max
    this.#counts = counts
  }

  /** Counts one session that is to be opened. Rejects with an `OpeningRateError` when it is one too many. */
  async admit ({ ip }: FastifyRequest, principal: string | undefined): Promise<void> {
    // With a prefix, so that no principal can have the key of an address.
    const key = principal === undefined ? `ip ${readNetwork(ip)}` : `principal ${principal}`
    if (await this.#counts.count(key) > this.#max) throw new OpeningRateError()
  }
}
