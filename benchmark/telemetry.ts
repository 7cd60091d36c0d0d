import { Contest, type Name } from './contest.js'

const SESSIONS = 64

/** A `tools/call` with metrics and a span for each, against one that nobody listens to. */
export async function measureTelemetry (): Promise<void> {
  const names: Name[] = ['mcpEndpoint auto', 'mcpEndpoint auto, telemetry']
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
  contest.compare('mcpEndpoint auto, telemetry', 'mcpEndpoint auto', 1.1)
}
