import { channels, type ObservedSession } from './channels.js'
import { listen, type Stop } from './listen.js'

/** The sessions of one app that have no MCP server until their next request. */
export class ParkedSet {
  // In the order in which they were parked.
  readonly #sessions = new Set<ObservedSession>()

  /**
   * Hears what happens from now on.
   *
   * @param onChange called with the change in their number: 1 or -1
   */
  listen (sessions: object, onChange?: (difference: number) => void): Stop {
    const forget = ({ session }: { session: ObservedSession }): void => {
      if (this.#sessions.delete(session)) onChange?.(-1)
    }
    const stops = [
      listen(channels['session.parked'], sessions, ({ session }) => {
        // A session whose new server could not be made is still parked, and can be parked a second time.
        if (!this.#sessions.has(session)) onChange?.(1)
        this.#sessions.add(session)
      }),
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

  /** The ids of those that were parked last, `most` of them at most. */
  lastIds (most: number): string[] {
    return Array.from(this.#sessions).slice(-most).map(({ id }) => id)
  }
}
