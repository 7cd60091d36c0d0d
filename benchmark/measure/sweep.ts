// One process, both kinds of sessions: the time of one sweep that finds nothing
// expired. The clock and the timers are mocked, so that a sweep, slices and
// all, is one synchronous call; what is timed is real.
import { mock } from 'node:test'
import { built } from '../built.js'
import { PlainSessions } from '../plain-sessions.js'
import { report } from '../report.js'
import { SessionIds } from '../session-ids.js'
import { median } from '../statistics.js'

const TTL = 3_600_000
const INTERVAL = 300_000
const SWEEPS = 7

const ids = new SessionIds(Number(process.argv[2]))
mock.timers.enable({ apis: ['Date', 'setInterval', 'setImmediate'], now: Date.now() })
const plain = new PlainSessions(TTL)
const managed = new built.SessionManager({ ttl: TTL, cleanupInterval: INTERVAL })
for (let index = 0; index < ids.count; index++) {
  plain.register(ids.at(index))
  managed.register(ids.at(index))
}
managed.startTTLCleanup()

const scans: number[] = []
const sweeps: number[] = []
for (let sweep = 0; sweep < SWEEPS; sweep++) {
  scans.push(time(() => plain.sweep()))
  sweeps.push(time(() => mock.timers.tick(INTERVAL)))
}

// Everyone calls after the first half of the ttl. One of the sweeps until the end of it finds all
// slots due, and nobody in them who has to go.
for (let index = 0; index < ids.count; index++) {
  plain.touch(ids.at(index))
  managed.touch(ids.at(index))
}
const worstScan = time(() => plain.sweep())
const worstSweep = Math.max(...Array.from({ length: TTL / INTERVAL }, () => time(() => mock.timers.tick(INTERVAL / 2))))

if (plain.size !== ids.count || managed.getActiveSessionCount() !== ids.count) {
  throw new Error('A session has expired in a sweep that was meant to find none')
}
report({
  scan: median(scans),
  sweep: median(sweeps),
  worstScan,
  worstSweep
})

function time (work: () => void): number {
  const start = performance.now()
  work()
  return performance.now() - start
}
