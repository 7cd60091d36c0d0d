import { Redis } from 'ioredis'

/** Counts what a Redis is asked, by what it is about. */
export class CommandCounter {
  readonly #monitor: Redis
  #counts = new Map<string, number>()

  private constructor (monitor: Redis) {
    this.#monitor = monitor
    monitor.on('monitor', (_time: string, args: string[], source: string) => {
      // A script is one command, whatever it calls.
      if (source !== 'lua') this.#count(args)
    })
  }

  static async start (url: string): Promise<CommandCounter> {
    const client = new Redis(url)
    const counter = new CommandCounter(await client.monitor())
    client.disconnect()
    return counter
  }

  reset (): void {
    this.#counts = new Map()
  }

  /** Commands since the last reset that keep the leases of nodes with this prefix. */
  heartbeats (prefix: string): number {
    return this.#sum((topic) => ['node:', 'history', 'history:', 'loads'].some((name) => topic === `${prefix}${name}`))
  }

  /** All others since the last reset. */
  others (prefix: string): number {
    return this.#sum((topic) => topic.startsWith(prefix)) - this.heartbeats(prefix)
  }

  stop (): void {
    this.#monitor.disconnect()
  }

  // EVALSHA hash number key …; the name of a key goes up to its hash tag.
  #count ([name = '', , , key = '']: string[]): void {
    const [topic = name] = key.split('{')
    this.#counts.set(topic, (this.#counts.get(topic) ?? 0) + 1)
  }

  #sum (matches: (topic: string) => boolean): number {
    let sum = 0
    for (const [topic, count] of this.#counts) if (matches(topic)) sum += count
    return sum
  }
}
