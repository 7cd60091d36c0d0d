import { Contest, type Name } from './contest.js'
import { visit, withShop } from './shop.js'

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
    ['bare context'],
    ['HTTP spans']
  ]
  const names: Name[] = [NOTHING, ...pairs.flatMap(([name, bare]) => bare === undefined ? [name] : [name, bare]), 'HTTP spans, metrics and spans']
  const contest = await Contest.hold(names, {
    warmUp: 5000,
    count: 500,
    async prepare ({ load }) {
      const ids = await load.openMany(SESSIONS)
      return async (count) => load.callMany(ids, count)
    }
  })
  contest.print('tools/call with metrics and traces, CPU time of the server', names)
  for (const name of names.slice(1)) contest.compare(name, NOTHING, name === 'telemetry off' ? 1 : 1.1)
  for (const [name, bare] of pairs) if (bare !== undefined) contest.compare(name, bare)
  contest.compare('HTTP spans, metrics and spans', 'HTTP spans', 1.1)
  await withShop(measureShop)
}

// Tools as they are: each asks an HTTP service and Redis.
async function measureShop (args: readonly string[]): Promise<void> {
  const names = ['shop, telemetry off', 'shop, metrics and spans', 'shop, HTTP spans', 'shop, HTTP spans, metrics and spans'] as const
  const contest = await Contest.hold(names, {
    warmUp: 2000,
    count: 200,
    args,
    async prepare ({ load }) {
      const ids = await load.openMany(SESSIONS)
      return async (count) => load.callMany(ids, count, visit)
    }
  })
  contest.print('a tools/call of the public workload with metrics and traces, CPU time of the server', names)
  contest.compare('shop, metrics and spans', 'shop, telemetry off', 1.1)
  contest.compare('shop, HTTP spans, metrics and spans', 'shop, HTTP spans', 1.1)
}
