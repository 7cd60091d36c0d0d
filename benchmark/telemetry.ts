import { Contest, type Name } from './contest.js'

const SESSIONS = 64
const NOTHING = 'mcpEndpoint auto'

/** A `tools/call` with metrics and a span for each, and with the same calls of OpenTelemetry alone, against one that nobody listens to. */
export async function measureTelemetry (): Promise<void> {
  const pairs: Array<[Name, Name?]> = [
    ['telemetry off'],
    ['metrics', 'bare histogram'],
    ['spans dropped', 'bare spans dropped'],
    ['spans batched', 'bare spans batched'],
    ['metrics and spans', 'bare metrics and spans'],
    ['bare context']
  ]
  const names: Name[] = [NOTHING, ...pairs.flatMap(([name, bare]) => bare === undefined ? [name] : [name, bare])]
  const contest = await Contest.hold(names, {
    warmUp: 5000,
    count: 500,
    async prepare ({ load }) {
      const ids = await load.openMany(SESSIONS)
      return async (count) => load.callMany(ids, count)
    }
  })
  console.log('tools/call with metrics and traces, CPU time of the server')
  for (const name of names) contest.print(name)
  console.log('of each other, in the same round')
  for (const name of names.slice(1)) contest.compare(name, NOTHING, name === 'telemetry off' ? 1 : 1.1)
  for (const [name, bare] of pairs) if (bare !== undefined) contest.compare(name, bare)
}
