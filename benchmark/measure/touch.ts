// One process, both kinds of sessions: the ratio of their touch times, block by block.
import { built } from '../built.js'
import { PlainSessions } from '../plain-sessions.js'
import { report } from '../report.js'
import { SessionIds } from '../session-ids.js'
import { median } from '../statistics.js'

const TTL = 3_600_000
const BLOCK = 10_000

interface Touchable {
  register (id: string): void
}

const [count = '', first] = process.argv.slice(2)
const ids = new SessionIds(Number(count))
const plain = new PlainSessions(TTL)
const managed = new built.SessionManager({ ttl: TTL })
for (const sessions of first === 'plain' ? [plain, managed] : [managed, plain]) fill(sessions)

const ratios: number[] = []
const plainTimes: number[] = []
for (const timed of [false, true]) {
  const order = ids.shuffledIndexes()
  for (let start = 0; start + BLOCK <= order.length; start += BLOCK) {
    const block = order.subarray(start, start + BLOCK)
    const plainFirst = start / BLOCK % 2 === 0
    const before = plainFirst ? timePlain(block) : 0
    const managedTime = timeManaged(block)
    const plainTime = plainFirst ? before : timePlain(block)
    if (!timed) continue
    ratios.push(plainTime / managedTime)
    plainTimes.push(plainTime / BLOCK * 1e6)
  }
}
report({ ratio: median(ratios), plainNanoseconds: median(plainTimes) })

function fill (sessions: Touchable): void {
  for (let index = 0; index < ids.count; index++) sessions.register(ids.at(index))
}

function readHeaders (block: Uint32Array): string[] {
  return Array.from(block, (index) => ids.at(index))
}

function timePlain (block: Uint32Array): number {
  const headers = readHeaders(block)
  const start = performance.now()
  for (const id of headers) plain.touch(id)
  return performance.now() - start
}

function timeManaged (block: Uint32Array): number {
  const headers = readHeaders(block)
  const start = performance.now()
  for (const id of headers) managed.touch(id)
  return performance.now() - start
}
