// One process: what it costs to make room for one more session, when all that are there were opened together.
import { built } from '../built.js'
import { report } from '../report.js'

const NEWCOMERS = 300

const [limit, amount = ''] = process.argv.slice(2)
const count = Number(amount)
const managed = new built.SessionManager({
  ttl: 3_600_000,
  ...(limit === 'principal' ? { maxSessionsPerPrincipal: count } : { maxSessions: count })
})
let evicted = 0
managed.on('closed', () => { evicted++ })
for (let index = 0; index < count; index++) open()
globalThis.gc?.()

let longest = 0
const before = process.cpuUsage()
for (let newcomer = 0; newcomer < NEWCOMERS; newcomer++) {
  const start = performance.now()
  open()
  longest = Math.max(longest, performance.now() - start)
}
const { user, system } = process.cpuUsage(before)

if (evicted !== NEWCOMERS) throw new Error(`${evicted} of ${NEWCOMERS} have been evicted`)
report({ cpu: (user + system) / NEWCOMERS, longest: longest * 1000 })

function open (): void {
  managed.create(undefined, { principal: 'somebody' })
}
