import { channels, type ObservedSession } from './channels.js'
import { listen, type Stop } from './listen.js'

/** The sessions of one app that have no MCP server until their next request. */
export class ParkedSet {
  // By their order: those that were parked last come last.
  readonly #sessions = new Set<ObservedSession>()

  /** Hears what happens from now on. */
  listen (sessions: object): Stop {
    const forget = ({ session }: { session: ObservedSession }): void => { this.#sessions.delete(session) }
    const stops = [
      // One whose server cannot be made stays parked, and is parked again.
      listen(channels['session.parked'], sessions, ({ session }) => { this.#sessions.add(session) }),
      listen(channels['session.restored'], sessions, forget),
      listen(channels['session.closed'], sessions, forget)
    ]
    return () => { for (const stop of stops) stop() }
  }

  get size (): number {
    return this.#sessions.size
  }

  has (session: ObservedSession): boolean {
    return this.#sessions.has(session)
  }

  /** The ids of those that were parked last. */
  lastIds (most: number): string[] {
    return Array.from(this.#sessions).slice(-most).map(({ id }) => id)
  }
}
