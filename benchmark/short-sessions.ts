import { Contest, shopNames } from './contest.js'
import { USERS, visit, withShop } from './shop.js'

/** Short sessions as a public benchmark has them: three tools, each of which asks an HTTP service and Redis. */
export async function measureShortSessions (): Promise<void> {
  await withShop(async (args) => {
    const contest = await Contest.hold(shopNames, {
      warmUp: 900,
      count: 150,
      connections: USERS,
      args,
      prepare: async ({ load }) => (count) => load.liveMany(count, visit)
    })
    print(contest)
  })
}

function print (contest: Contest): void {
  console.log('\na session of the public workload (initialize, initialized, tools/call, DELETE), CPU time of the server')
  for (const name of shopNames) contest.print(name)
  console.log('of each other, in the same round')
  for (const sdk of ['SDK 1', 'SDK 2'] as const) {
    contest.compare(`mcpEndpoint, ${sdk}, reused`, `server per request, ${sdk}`, 0.35)
    contest.compare(`mcpEndpoint, ${sdk}, reused`, `by hand, ${sdk}, made once`, 0.5)
    contest.compare(`mcpEndpoint, ${sdk}, made once`, `server per request, ${sdk}`, 0.35)
    contest.compare(`mcpEndpoint, ${sdk}`, `server per request, ${sdk}`)
    contest.compare(`mcpEndpoint, ${sdk}, made once`, `server per request, ${sdk}, made once`)
    contest.compare(`mcpEndpoint, ${sdk}, made once`, `by hand, ${sdk}`, 0.5)
    contest.compare(`mcpEndpoint, ${sdk}, made once`, `by hand, ${sdk}, made once`)
    contest.compare(`mcpEndpoint, ${sdk}`, `by hand, ${sdk}`)
  }
}
