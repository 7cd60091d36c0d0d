import { Contest, type Name } from './contest.js'

/** Requests of clients of 2026-07-28, for each of which there is a server of SDK 2. */
export async function measureModern (): Promise<void> {
  const calls: Name[] = [
    'mcpEndpoint, modern', 'SDK 2 under node:http', 'mcpEndpoint, modern, made once', 'SDK 2 under node:http, made once'
  ]
  const types = new Map<Name, string>()
  const contest = await Contest.hold(calls, {
    warmUp: 3000,
    count: 300,
    async prepare ({ name, load }) {
      return async (count) => types.set(name, await load.callModern(count))
    }
  })
  contest.print('tools/call of 2026-07-28, CPU time of the server', calls, (name) => `, ${types.get(name)}`)
  contest.compare('mcpEndpoint, modern', 'SDK 2 under node:http', 1.1)
  contest.compare('mcpEndpoint, modern, made once', 'SDK 2 under node:http, made once', 1.1)
}
