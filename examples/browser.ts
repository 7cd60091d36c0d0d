// A web page of another origin as a client: npm run example examples/browser.ts
import cors from '@fastify/cors'
import Fastify from 'fastify'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import mcpSessions, { mcpEndpoint } from 'fastify-mcp-sessions'

const port = Number(process.env['PORT'] ?? 3000)

const page = `<!doctype html>
<title>MCP from a page</title>
<pre id="log"></pre>
<script type="module">
  const endpoint = new URLSearchParams(location.search).get('endpoint')
  const headers = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' }
  const send = (body) => fetch(endpoint, { method: 'POST', headers, body: JSON.stringify({ jsonrpc: '2.0', ...body }) })
  const log = (text) => { document.querySelector('#log').textContent += text + '\\n' }

  const opened = await send({
    id: 1,
    method: 'initialize',
    params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'page', version: '1.0.0' } }
  })
  headers['mcp-session-id'] = opened.headers.get('mcp-session-id')
  log('Session ' + headers['mcp-session-id'])
  await send({ method: 'notifications/initialized' })
  const called = await send({ id: 2, method: 'tools/call', params: { name: 'hello', arguments: {} } })
  log((await called.json()).result.content[0].text)
</script>
`

function buildServer (): McpServer {
  const server = new McpServer({ name: 'browser', version: '1.0.0' })
  server.registerTool('hello', { description: 'Says hello' }, async () => {
    return { content: [{ type: 'text', text: 'Hello, browser' }] }
  })
  return server
}

// The page, on a port and so an origin of its own.
const site = Fastify()
site.get('/', async (_request, reply) => reply.type('text/html').send(page))
const pageUrl = await site.listen({ port: port === 0 ? 0 : port + 1, host: '127.0.0.1' })

const app = Fastify()
await app.register(cors, {
  origin: pageUrl,
  methods: ['GET', 'POST', 'DELETE'],
  // Without it, the page never learns the id of its session.
  exposedHeaders: ['mcp-session-id']
})
await app.register(mcpSessions)
await app.register(mcpEndpoint, { createServer: buildServer, allowedOrigins: [pageUrl] })
const url = await app.listen({ port, host: '127.0.0.1' })
console.log(`MCP endpoint: ${url}/mcp`)
console.log(`Page: ${pageUrl}/?${new URLSearchParams({ endpoint: `${url}/mcp` })}`)
