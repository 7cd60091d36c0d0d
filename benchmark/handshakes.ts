import { Contest, type Name } from './contest.js'

/** A session from `initialize` to DELETE, with one `tools/call` of a tool that does next to nothing. */
export async function measureHandshakes (): Promise<void> {
  const names: Name[] = [
    'mcpEndpoint sse', 'by hand sse', 'mcpEndpoint auto', 'fastify-mcp', '@platformatic/mcp', 'bare Fastify, server',
    'mcpEndpoint auto, shared validator', 'by hand sse, shared validator', 'bare Fastify, server, shared validator'
  ]
  const contest = await Contest.hold(names, {
    warmUp: 1500,
    count: 150,
    prepare: async ({ load }) => (count) => load.liveMany(count)
  })
  contest.print('\na session with next to nothing in it (initialize, initialized, tools/call, DELETE), CPU time of the server', names)
  contest.compare('mcpEndpoint sse', 'by hand sse', 0.6)
  contest.compare('mcpEndpoint auto', 'by hand sse', 0.6)
  contest.compare('mcpEndpoint auto', 'fastify-mcp')
  contest.compare('mcpEndpoint auto', '@platformatic/mcp')
  contest.compare('bare Fastify, server', 'by hand sse')
  contest.compare('mcpEndpoint auto, shared validator', 'by hand sse, shared validator', 0.6)
  contest.compare('bare Fastify, server, shared validator', 'by hand sse, shared validator')
}
