import { Contest, type Name } from './contest.js'

/** `tools/list` of clients of 2026-07-28, with and without `memoiseSchema`. */
export async function measureSchemas (): Promise<void> {
  const calls: Name[] = ['100 tools', '100 tools, memoiseSchema']
  const contest = await Contest.hold(calls, {
    warmUp: 100,
    count: 20,
    async prepare ({ load }) {
      return (count) => load.listModern(count, 'tool99')
    }
  })
  contest.print('tools/list of 100 tools, of 2026-07-28, CPU time of the server', calls)
  contest.compare('100 tools, memoiseSchema', '100 tools')
}
