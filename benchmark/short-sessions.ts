import { Contest, ROUNDS, shopNames } from './contest.js'
import { USERS, visit, withShop } from './shop.js'

const BARE = 'bare Fastify with the shop'

/** Short sessions as a public benchmark has them: three tools, each of which asks an HTTP service and Redis. */
export async function measureShortSessions (): Promise<void> {
  await withShop(async (args) => {
    for (const sdk of ['SDK 1', 'SDK 2'] as const) await measureSdk(sdk, args)
  })
}

// Few long rounds: after a pause a process has to bring itself back into the caches of the processor, which a server that
// is used does not, and which takes some ten milliseconds.
async function measureSdk (sdk: 'SDK 1' | 'SDK 2', args: readonly string[]): Promise<void> {
  const names = shopNames.filter((name) => name === BARE || name.includes(sdk))
  const contest = await Contest.hold(names, {
    warmUp: 3000,
    count: 1500,
    rounds: Math.ceil(ROUNDS / 4),
    connections: USERS,
    args,
    prepare: async ({ load }) => (count) => load.liveMany(count, visit)
  })
  contest.print(`\na session of the public workload (initialize, initialized, tools/call, DELETE), CPU time of the server, ${sdk}`, names)
  contest.compare(`mcpEndpoint, ${sdk}, reused`, `server per request, ${sdk}`, 0.35)
  contest.compare(`mcpEndpoint, ${sdk}, reused`, `by hand, ${sdk}, made once`, 0.5)
  contest.compare(`mcpEndpoint, ${sdk}, made once`, `server per request, ${sdk}`, 0.35)
  contest.compare(`mcpEndpoint, ${sdk}`, `server per request, ${sdk}`)
  contest.compare(`mcpEndpoint, ${sdk}, made once`, `server per request, ${sdk}, made once`)
  contest.compare(`mcpEndpoint, ${sdk}, made once`, `by hand, ${sdk}`, 0.5)
  contest.compare(`mcpEndpoint, ${sdk}, made once`, `by hand, ${sdk}, made once`)
  contest.compare(`mcpEndpoint, ${sdk}`, `by hand, ${sdk}`)
  contest.compare(BARE, `server per request, ${sdk}`)
  contest.compare(BARE, `by hand, ${sdk}, made once`)
}
