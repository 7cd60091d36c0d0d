// A server process with users who have said who they are, and room for a thousand sessions.
import { built } from '../built.js'
import { createApp, serve } from './serve.js'
import { createLeanServer } from './tools.js'

const [, , maxOpensPerMinute] = process.argv
const app = createApp()
await app.register(built.mcpSessions, {
  maxSessions: 1000,
  identify: ({ headers }) => headers.authorization,
  ...(maxOpensPerMinute !== undefined && { maxOpensPerMinute: Number(maxOpensPerMinute) })
})
await app.register(built.mcpEndpoint, { createServer: createLeanServer })
await serve([app], '/mcp')
