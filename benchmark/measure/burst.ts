// One process, one kind of sessions: how long the event loop stands still while
// many sessions expire together. Real clock, real timers.
import { built } from '../built.js'
import { PlainSessions } from '../plain-sessions.js'
import { report } from '../report.js'
import { SessionIds } from '../session-ids.js'

interface Bursting {
  register (id: string): void
  readonly left: number
}

const TTL = 1000
// All have expired by then, and those that came first have not been swept before.
const INTERVAL = 3000

const [kind, count = ''] = process.argv.slice(2)
const ids = new SessionIds(Number(count))
let expired = 0
const sessions = kind === 'plain' ? startPlain() : startManaged()
for (let index = 0; index < ids.count; index++) sessions.register(ids.at(index))
globalThis.gc?.()

// The longest turn of the event loop in which sessions went, on the wall and in CPU
// time, and the longest in which nothing happened: what other processes took from this one.
let longest = 0
let longestCpu = 0
let longestIdle = 0
let start = 0
let left = ids.count
let turn = performance.now()
let cpu = process.cpuUsage()
watch()

function watch (): void {
  const now = performance.now()
  const used = process.cpuUsage(cpu)
  if (sessions.left < left) {
    start ||= turn
    longest = Math.max(longest, now - turn)
    longestCpu = Math.max(longestCpu, (used.user + used.system) / 1000)
  } else {
    longestIdle = Math.max(longestIdle, now - turn)
  }
  left = sessions.left
  turn = now
  cpu = process.cpuUsage()
  if (left > 0) {
    setImmediate(watch)
    return
  }
  if (expired !== ids.count) throw new Error(`${expired} of ${ids.count} sessions have expired`)
  report({ longest, longestCpu, longestIdle, total: now - start })
  process.exit()
}

function countExpired (): void {
  expired++
}

function startPlain (): Bursting {
  const plain = new PlainSessions(TTL, countExpired)
  setInterval(() => plain.sweep(), INTERVAL)
  return {
    register: (id) => plain.register(id),
    get left () { return plain.size }
  }
}

function startManaged (): Bursting {
  const managed = new built.SessionManager({ ttl: TTL, cleanupInterval: INTERVAL })
  managed.setExpirationHandler(countExpired)
  managed.startTTLCleanup()
  return {
    register: (id) => managed.register(id),
    get left () { return managed.getActiveSessionCount() }
  }
}
