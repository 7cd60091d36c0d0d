import { Contest, type Name } from './contest.js'

const SESSIONS = 64

/** A `tools/call` in a session that is there. */
export async function measureCalls (): Promise<void> {
  const names: Name[] = [
    'mcpEndpoint sse', 'by hand sse', 'mcpEndpoint auto', 'by hand json', 'fastify-mcp',
    '@platformatic/mcp', 'mcpEndpoint auto, stub', 'bare Fastify, server', 'bare Fastify'
  ]
  const types = new Map<Name, string>()
  const contest = await Contest.hold(names, {
    warmUp: 5000,
    count: 500,
    async prepare ({ name, load }) {
      const ids = await load.openMany(SESSIONS)
      return async (count) => types.set(name, await load.callMany(ids, count))
    }
  })
  contest.print('tools/call, CPU time of the server', names, (name) => `, ${types.get(name)}`)
  contest.compare('mcpEndpoint sse', 'by hand sse', 0.65)
  contest.compare('mcpEndpoint auto', 'by hand sse', 0.6)
  contest.compare('mcpEndpoint auto', 'by hand json')
  contest.compare('mcpEndpoint sse', 'fastify-mcp')
  contest.compare('mcpEndpoint auto', 'fastify-mcp')
  contest.compare('mcpEndpoint auto', '@platformatic/mcp')
  contest.compare('mcpEndpoint auto, stub', '@platformatic/mcp', 0.8)
  contest.compare('bare Fastify, server', 'by hand sse')
}
