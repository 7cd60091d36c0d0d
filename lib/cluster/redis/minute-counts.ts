import { LocalMinuteCounts, type MinuteCounts } from '../../http/opening-rate.js'
import type { RedisCommands } from './commands.js'

/** Counts of all nodes of a cluster. While Redis does not answer, each node counts for itself. */
export class RedisMinuteCounts implements MinuteCounts {
  readonly #commands: RedisCommands
  readonly #local = new LocalMinuteCounts()

  constructor (commands: RedisCommands) {
    this.#commands = commands
  }

  async count (key: string): Promise<number> {
    const local = this.#local.count(key)
    try {
      return Number(await this.#commands.run('count', [this.#commands.countKey(key)], []))
    } catch {
      // The outage is logged by the lease.
      return local
    }
  }
}
