// One process, one kind of sessions: bytes of heap per session without metadata.
import { randomUUID } from 'node:crypto'
import { built } from '../built.js'
import { PlainSessions } from '../plain-sessions.js'
import { report } from '../report.js'
import { SessionIds } from '../session-ids.js'

const TTL = 3_600_000

const [kind, amount = ''] = process.argv.slice(2)
const count = Number(amount)
const ids = new SessionIds(kind === 'plain' ? count : 0)
const plain = new PlainSessions(TTL)
const managed = new built.SessionManager({ ttl: TTL })

const before = usedHeap()
for (let index = 0; index < count; index++) {
  if (kind === 'plain') plain.register(ids.at(index))
  else if (kind === 'plain with randomUUID()') plain.register(randomUUID())
  else managed.create()
}
const after = usedHeap()
if (plain.size + managed.getActiveSessionCount() !== count) throw new Error('Sessions have been lost')
report({ bytes: (after - before) / count })

function usedHeap (): number {
  if (globalThis.gc === undefined) throw new Error('Needs --expose-gc')
  globalThis.gc()
  globalThis.gc()
  return process.memoryUsage().heapUsed
}
