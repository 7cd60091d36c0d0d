import { mock } from 'node:test'
import type { LogEntry } from '../../../lib/base/logger.js'
import { SessionManager, type SessionManagerOptions } from '../../../lib/session/session-manager.js'

export interface RecordedManager {
  readonly manager: SessionManager
  readonly entries: LogEntry[]
  /** `<event> <id>`, and the reason for `closed`. */
  readonly events: string[]
  /** What has been logged since the last call. */
  takeLog (): unknown[]
}

/** A manager whose log and events are kept. */
export function recordManager (options: SessionManagerOptions = {}): RecordedManager {
  const entries: LogEntry[] = []
  const events: string[] = []
  let taken = 0
  const manager = new SessionManager({ logger: { sendLog: (entry) => { entries.push(entry) } }, ...options })
  manager.on('created', ({ id }) => { events.push(`created ${id}`) })
  manager.on('closed', ({ id }, reason) => { events.push(`closed ${id} ${reason}`) })
  return {
    manager,
    entries,
    events,
    takeLog () {
      const fresh = entries.slice(taken).map(({ data }) => data)
      taken = entries.length
      return fresh
    }
  }
}

interface Teardown {
  teardown (reset: () => void): void
}

const START = 1_700_000_000_000

/** The clock and the intervals stand still until they are told to move; slices of a sweep run for real. */
export function stopTime (t: Teardown, now = START): typeof mock.timers {
  mock.timers.enable({ apis: ['Date', 'setInterval'], now })
  t.teardown(() => mock.timers.reset())
  return mock.timers
}

/** Resolves when the immediates that are due now have run. */
export function nextTurn (): Promise<void> {
  return new Promise((resolve) => { setImmediate(resolve) })
}
