import { startPatience } from '../../base/patience.js'
import { duplicate, type OwnRedisClient, type RedisClient } from './connection.js'

export interface SubscriptionOptions {
  redis: RedisClient
  channel: string
  /** Milliseconds that an answer of Redis may take. Redis is asked for one every three times as many. */
  patience: number
  /** Called for each message, and when some may have been missed. */
  wake: () => void
}

// The time between two questions, in multiples of the patience.
const PAUSE = 3

/** Listens to a channel on a connection of its own, made like the injected client, and made anew when it is silent. */
export class Subscription {
  readonly #options: SubscriptionOptions
  readonly #timer: NodeJS.Timeout
  #client: OwnRedisClient
  #endPatience: () => void = () => {}

  constructor (options: SubscriptionOptions) {
    this.#options = options
    this.#client = this.#connect()
    this.#timer = setInterval(() => this.#check(), PAUSE * options.patience)
    this.#timer.unref()
  }

  close (): void {
    clearInterval(this.#timer)
    this.#endPatience()
    this.#client.disconnect()
  }

  #connect (): OwnRedisClient {
    const { redis, wake } = this.#options
    const client = duplicate(redis)
    client.on('ready', () => this.#subscribe(client))
    client.on('message', wake)
    this.#subscribe(client)
    return client
  }

  #subscribe (client: OwnRedisClient): void {
    client.subscribe(this.#options.channel).then(this.#options.wake, () => {})
  }

  // Subscribes again, which changes nothing and is answered, to see whether the connection is alive.
  #check (): void {
    const client = this.#client
    this.#endPatience = startPatience(this.#options.patience, () => {
      client.disconnect()
      this.#client = this.#connect()
    })
    client.subscribe(this.#options.channel).then(this.#endPatience, () => {})
  }
}
