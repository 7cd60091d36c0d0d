// An app tested without a port and without waiting: npm run example -- --test examples/without-a-port.ts
import Fastify, { type FastifyInstance } from 'fastify'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import assert from 'node:assert/strict'
import { test } from 'node:test'
import mcpSessions, { mcpEndpoint } from 'fastify-mcp-sessions'
import { connect, serveSession, sessionClock } from 'fastify-mcp-sessions/testing'

// Your own app lies in a file of its own.
async function buildApp (): Promise<FastifyInstance> {
  const app = Fastify()
  await app.register(mcpSessions, { ttl: 60_000, identify: ({ headers }) => headers['x-user']?.toString() })
  app.get('/cart', { config: { mcpSession: 'required' } }, async ({ mcpSession }) => mcpSession.metadata?.['cart'])
  await app.register(mcpEndpoint, {
    createServer ({ session }) {
      const server = new McpServer({ name: 'shop', version: '1.0.0' })
      server.registerTool('cart', { description: 'What is in the cart' }, async () => {
        return { content: [{ type: 'text', text: JSON.stringify(session.metadata?.['cart'] ?? []) }] }
      })
      return server
    }
  })
  return app
}

test('a tool answers', async (t) => {
  const app = await buildApp()
  t.after(() => app.close())
  const client = await connect(app, { principal: 'ann' })
  assert.deepEqual((await client.callTool({ name: 'cart' }))['content'], [{ type: 'text', text: '[]' }])
})

test('a session made here is one for the routes of the app and for MCP, and for its owner alone', async (t) => {
  const app = await buildApp()
  t.after(() => app.close())
  const id = app.sessionManager.create({ cart: ['tea'] }, { principal: 'ann' })
  serveSession(app, id)
  const headers = { 'mcp-session-id': id }
  assert.deepEqual((await app.inject({ url: '/cart', headers: { ...headers, 'x-user': 'ann' } })).json(), ['tea'])
  assert.equal((await app.inject({ url: '/cart', headers: { ...headers, 'x-user': 'bob' } })).statusCode, 404)
  const client = await connect(app, { sessionId: id, principal: 'ann' })
  assert.deepEqual((await client.callTool({ name: 'cart' }))['content'], [{ type: 'text', text: '["tea"]' }])
})

test('an idle session expires', async (t) => {
  const app = await buildApp()
  t.after(() => app.close())
  const id = app.sessionManager.create()
  sessionClock(app).advance(60_001)
  assert.equal(app.sessionManager.get(id), undefined)
})
