// Run in a project that has installed the package: an app with an endpoint, and a client of the SDK.
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import Fastify from 'fastify'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import mcpSessions, { mcpEndpoint } from 'fastify-mcp-sessions'
import { connect, sessionClock } from 'fastify-mcp-sessions/testing'

const app = Fastify()
await app.register(mcpSessions, { identify: () => 'ann', ttl: 60_000 })
app.get('/me', { config: { mcpSession: 'required' } }, async (request) => request.mcpSession.principal)
await app.register(mcpEndpoint, {
  createServer () {
    const server = new McpServer({ name: 'smoke', version: '1.0.0' })
    server.registerTool('hello', {}, () => ({ content: [{ type: 'text', text: 'Hello' }] }))
    return server
  }
})
await app.listen({ port: 0, host: '127.0.0.1' })

const client = await connect(app)
const { content: [{ text }] } = await client.callTool({ name: 'hello' })
assert.equal(text, 'Hello')
const [{ id }] = app.sessionManager.list()
const [{ port }] = app.addresses()
const found = await fetch(`http://127.0.0.1:${port}/me`, { headers: { 'mcp-session-id': id } })
assert.equal(await found.text(), 'ann')
assert.equal((await fetch(`http://127.0.0.1:${port}/me`, { headers: { 'mcp-session-id': 'nobody' } })).status, 404)
await client.close()
while (app.sessionManager.get(id)?.activeRequests > 0) await new Promise(setImmediate)
sessionClock(app).advance(60_001)
assert.equal(app.sessionManager.getActiveSessionCount(), 0)
await connect(app)
await app.close()

const required = createRequire(import.meta.url)('fastify-mcp-sessions')
assert.equal(typeof required, 'function')
assert.equal(required, mcpSessions)
assert.equal(typeof required.SessionManager, 'function')
console.log('works')
