// What the page of the sessions costs the server while it is open. See README.md.
import { setTimeout as wait } from 'node:timers/promises'
import { ServerProcess, useCpu } from './server-process.js'
import { choose, setting } from './settings.js'
import { alternate, describe, median } from './statistics.js'

const SESSIONS = setting('SESSIONS', 10_000, 10_000)
const ROUNDS = setting('ROUNDS', 10, 3)
const SECONDS = 5

const queries = {
  page: '?search=&sort=idle&order=asc',
  search: '?search=client%2012&sort=principal&order=desc'
}

/** How many of the sessions are used each second, and how many come and go. */
const loads = { quiet: [0, 0], busy: [2000, 50] }

for (const [used = 0, opened = 0] of choose(loads)) await measure(used, opened)

async function measure (used: number, opened: number): Promise<void> {
  const server = await ServerProcess.start('dashboard-server', `${SESSIONS}`, `${used}`, `${opened}`)
  console.log(`${SESSIONS} sessions, of which ${used} are used and ${opened} come and go each second, CPU time of the server`)
  const looks = [undefined, ...Object.values(queries)]
  for (const query of looks) await look(server, query)
  const rows = await alternate(ROUNDS, looks.map((query) => async () => (await useCpu([server], () => look(server, query))).cpu / (SECONDS * 10_000)))
  console.log(`  closed            ${describe(rows.map(([closed = NaN]) => closed), 2, ' % of a core')}`)
  for (const [index, name] of Object.keys(queries).entries()) {
    const added = rows.map(([closed = NaN, ...open]) => (open[index] ?? NaN) - closed)
    console.log(`  open, ${name.padEnd(10)}  adds ${describe(added, 2, ' % of a core')}, wanted <= 2: ${median(added) <= 2 ? 'yes' : 'no'}`)
  }
  await server.stop()
}

/** Some seconds, with the page open or not. What opening it costs is in it. */
async function look (server: ServerProcess, query: string | undefined): Promise<void> {
  if (query === undefined) {
    await wait(SECONDS * 1000)
    return
  }
  const page = new AbortController()
  const { body, status } = await fetch(`${server.url}events${query}`, { signal: page.signal })
  if (status !== 200 || body === null) throw new Error(`Answered ${status}`)
  const reading = read(body)
  await wait(SECONDS * 1000)
  page.abort()
  if (await reading === 0) throw new Error('Nothing was said')
}

async function read (body: AsyncIterable<Uint8Array>): Promise<number> {
  let bytes = 0
  try {
    for await (const chunk of body) bytes += chunk.length
  } catch {
    // It was closed.
  }
  return bytes
}
