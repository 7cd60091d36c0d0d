import { Connection } from './connection.js'

const CONNECTIONS = 16

/** Keeps some connections to a server busy. */
export class Load {
  readonly #connections: readonly Connection[]

  private constructor (connections: readonly Connection[]) {
    this.#connections = connections
  }

  static async open (url: string, connections = CONNECTIONS): Promise<Load> {
    return new Load(await Promise.all(Array.from({ length: connections }, () => Connection.open(url))))
  }

  /** Does some work so many times, on all connections, one after the other on each. */
  async run (count: number, work: (connection: Connection, index: number) => Promise<void>): Promise<void> {
    let next = 0
    await Promise.all(this.#connections.map(async (connection) => {
      while (next < count) await work(connection, next++)
    }))
  }

  /** The milliseconds that some work takes each time, one after the other. */
  async time (count: number, work: (connection: Connection, index: number) => Promise<void>): Promise<number[]> {
    const [connection] = this.#connections
    const times: number[] = []
    if (connection === undefined) return times
    for (let index = 0; index < count; index++) {
      const start = performance.now()
      await work(connection, index)
      times.push(performance.now() - start)
    }
    return times
  }

  close (): void {
    for (const connection of this.#connections) connection.close()
  }
}
