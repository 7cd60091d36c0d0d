// Each small example: started by its one command, and used by a client of the SDK.
import { Client as Client2, StreamableHTTPClientTransport as Transport2 } from '@modelcontextprotocol/client'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import t, { type Test } from 'tap'
import { readScript, start, type Child } from '../helpers/processes/child.js'

// Starting TypeScript takes seconds on a small machine.
t.setTimeout(120_000)

interface Example {
  readonly server: Child
  readonly endpoint: URL
}

async function startExample (t: Test, name: string, env: NodeJS.ProcessEnv = {}): Promise<Example> {
  const [command, args] = readScript('example')
  const server = start(t, command, [...args, `examples/${name}.ts`], { PORT: '0', ...env })
  await server.says('/mcp\n')
  return { server, endpoint: new URL(/^MCP endpoint: (\S+)$/m.exec(server.stdout)?.[1] ?? '') }
}

async function connect (t: Test, url: URL, headers: Record<string, string> = {}, sessionId?: string): Promise<{ client: Client, sessionId: string }> {
  const transport = new StreamableHTTPClientTransport(url, { requestInit: { headers }, ...(sessionId !== undefined && { sessionId }) })
  const client = new Client({ name: 'test', version: '1.0.0' })
  t.teardown(() => client.close())
  await client.connect(transport)
  return { client, sessionId: String(transport.sessionId) }
}

async function call (client: Client, name: string): Promise<unknown> {
  return (await client.callTool({ name })).content
}

const text = (text: string): object => [{ type: 'text', text }]

async function tokenOf (server: Child, name: string): Promise<{ authorization: string }> {
  await server.says(`Token of ${name}: `)
  return { authorization: `Bearer ${new RegExp(`^Token of ${name}: (\\S+)$`, 'm').exec(server.stdout)?.[1]}` }
}

t.test('minimal', async (t) => {
  const { endpoint } = await startExample(t, 'minimal')
  t.strictSame(await call((await connect(t, endpoint)).client, 'hello'), text('Hello'))
})

t.test('jwt: a session is its user\'s, on the endpoint and on a route of the app', async (t) => {
  const { server, endpoint } = await startExample(t, 'jwt')
  const [ann, bob] = [await tokenOf(server, 'ann'), await tokenOf(server, 'bob')]
  await t.rejects(connect(t, endpoint), { code: 401 })
  const { client, sessionId } = await connect(t, endpoint, ann)
  t.strictSame(await call(client, 'who_am_i'), text('ann'))
  await t.rejects(call((await connect(t, endpoint, bob, sessionId)).client, 'who_am_i'), { code: 404 })
  const headers = { 'mcp-session-id': sessionId }
  const mine = await fetch(new URL('/session', endpoint), { headers: { ...headers, ...ann } })
  t.match(await mine.json(), { user: 'ann', client: { name: 'test' } })
  t.equal((await fetch(new URL('/session', endpoint), { headers: { ...headers, ...bob } })).status, 404)
})

t.test('oauth: a client finds its way to the authorization server, and a token says what it is good for', async (t) => {
  const { server, endpoint } = await startExample(t, 'oauth', { RESOURCE: 'https://notes.example.com/mcp', ISSUER: 'https://login.example.com' })
  const refused = await fetch(endpoint, { method: 'POST' })
  t.equal(refused.status, 401)
  const [, metadata = ''] = /resource_metadata="([^"]+)"/.exec(refused.headers.get('www-authenticate') ?? '') ?? []
  t.equal(metadata, 'https://notes.example.com/.well-known/oauth-protected-resource/mcp')
  const found = await fetch(new URL(new URL(metadata).pathname, endpoint))
  t.match(await found.json(), { resource: 'https://notes.example.com/mcp', authorization_servers: ['https://login.example.com'] })
  const { client } = await connect(t, endpoint, await tokenOf(server, 'ann'))
  t.strictSame(await call(client, 'scopes'), text('notes:read'))
  await t.rejects(connect(t, endpoint, { authorization: 'Bearer made-up' }), { code: 401 })
})

t.test('browser: a page of another origin learns the id of its session, and one of a third does not get in', async (t) => {
  const { server, endpoint } = await startExample(t, 'browser')
  await server.says('Page: ')
  const page = new URL(/^Page: (\S+)$/m.exec(server.stdout)?.[1] ?? '')
  t.match(await (await fetch(page)).text(), "headers['mcp-session-id']")
  t.equal(page.searchParams.get('endpoint'), endpoint.href)
  const preflight = await fetch(endpoint, { method: 'OPTIONS', headers: { origin: page.origin, 'access-control-request-method': 'DELETE', 'access-control-request-headers': 'mcp-session-id' } })
  t.equal(preflight.status, 204)
  t.equal(preflight.headers.get('access-control-allow-origin'), page.origin)
  t.match(preflight.headers.get('access-control-allow-methods'), 'DELETE')
  t.match(preflight.headers.get('access-control-allow-headers'), 'mcp-session-id')
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'initialize', params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'page', version: '1' } } })
  const headers = { 'content-type': 'application/json', accept: 'application/json, text/event-stream', origin: page.origin }
  const opened = await fetch(endpoint, { method: 'POST', headers, body })
  t.equal(opened.headers.get('access-control-expose-headers'), 'mcp-session-id')
  t.strictSame(await call((await connect(t, endpoint, { origin: page.origin })).client, 'hello'), text('Hello, browser'))
  await t.rejects(connect(t, endpoint, { origin: 'http://evil.example.com' }), { code: 403 })
})

t.test('both-eras: one tool asks clients of either era, and only one of them has a session', async (t) => {
  const { endpoint } = await startExample(t, 'both-eras')
  for (const [mode, era] of [['legacy', 'legacy'], ['auto', 'modern']] as const) {
    const client = new Client2({ name: 'test', version: '1.0.0' }, { capabilities: { elicitation: {} }, versionNegotiation: { mode } })
    client.setRequestHandler('elicitation/create', async () => ({ action: 'accept', content: { name: 'Ada' } }))
    const transport = new Transport2(endpoint)
    t.teardown(() => client.close())
    await client.connect(transport)
    t.strictSame((await client.callTool({ name: 'greet' })).content, text(`Hello Ada of the ${era} era`))
    t.equal(transport.sessionId === undefined, era === 'modern')
  }
})

t.test('rate-limit: sessions are not opened too often, and those that are there are not held up', async (t) => {
  const { endpoint } = await startExample(t, 'rate-limit', { MAX: '2' })
  const { client } = await connect(t, endpoint)
  await connect(t, endpoint)
  await t.rejects(connect(t, endpoint), { code: 429 })
  for (let i = 0; i < 5; i++) t.strictSame(await call(client, 'hello'), text('Hello'))
})

t.test('without-a-port: its tests pass', async (t) => {
  const [command, args] = readScript('example')
  const tests = start(t, command, [...args, '--test', 'examples/without-a-port.ts'])
  t.equal(await tests.ended, 0, tests.stdout)
  t.match(tests.stdout, /pass 3/)
})
