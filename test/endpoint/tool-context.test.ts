// What tools are given beside their arguments: the same as by each SDK's own transport, under node:http.
import { McpServer as McpServer1 } from '@modelcontextprotocol/sdk/server/mcp.js'
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js'
import { createMcpHandler, McpServer as McpServer2, WebStandardStreamableHTTPServerTransport } from '@modelcontextprotocol/server'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { z } from 'zod'
import type { DualEndpointOptions, SessionEndpointOptions } from '../../index.js'
import { buildEndpoint } from '../helpers/apps/endpoint-app.js'
import { call, HttpClient } from '../helpers/clients/http-client.js'
import { modernRequest } from '../helpers/mcp-servers/modern-handler.js'

const AUTH = { token: 'secret', clientId: 'ada', scopes: ['read'] }
const META = { 'example.com/trace': 'one' }
const EVENTS = { storeEvent: async () => randomUUID(), replayEventsAfter: async () => 'none' }

/** Says what it was given, into `given`. */
type Given = Array<Record<string, unknown>>

function createServer1 (given: Given): McpServer1 {
  const server = new McpServer1({ name: 'one', version: '1' })
  server.registerTool('look', { inputSchema: { value: z.string() } }, async ({ value }, extra) => {
    const { requestInfo, authInfo, sessionId, requestId, _meta, signal } = extra
    given.push({
      value,
      sessionId: sessionId === requestInfo?.headers['mcp-session-id'] ? 'that of the request' : sessionId,
      requestId,
      _meta,
      authInfo,
      header: requestInfo?.headers['x-custom'],
      path: requestInfo?.url?.pathname,
      isUrl: requestInfo?.url instanceof URL,
      isAborted: signal.aborted,
      functions: Object.entries(extra).filter(([, member]) => typeof member === 'function').map(([name]) => name).sort()
    })
    extra.closeStandaloneSSEStream?.()
    return { content: [] }
  })
  return server
}

function createServer2 (given: Given): McpServer2 {
  const server = new McpServer2({ name: 'two', version: '1' })
  server.registerTool('look', { inputSchema: z.object({ value: z.string() }) }, async ({ value }, { sessionId, http, mcpReq }) => {
    const { id, method, _meta, signal } = mcpReq
    const { req } = http ?? {}
    given.push({
      value,
      sessionId: sessionId === (req?.headers.get('mcp-session-id') ?? undefined) ? 'that of the request' : sessionId,
      id,
      method,
      _meta,
      authInfo: http?.authInfo,
      header: req?.headers.get('x-custom'),
      path: req && new URL(req.url).pathname,
      httpMethod: req?.method,
      isRequest: req instanceof Request,
      isAborted: signal.aborted,
      functions: [...Object.entries(http ?? {}), ...Object.entries(mcpReq)].filter(([, member]) => typeof member === 'function').map(([name]) => name).sort()
    })
    http?.closeStandaloneSSE?.()
    return { content: [] }
  })
  return server
}

interface Kind {
  readonly sdk: 1 | 2
  readonly era: 'session' | 'stateless' | 'modern'
  readonly resumable: boolean
}

const KINDS: readonly Kind[] = [
  ...([1, 2] as const).flatMap((sdk) => [true, false].map((resumable) => ({ sdk, era: 'session' as const, resumable }))),
  ...([1, 2] as const).map((sdk) => ({ sdk, era: 'stateless' as const, resumable: false })),
  { sdk: 2, era: 'modern', resumable: false }
]

for (const kind of KINDS) {
  t.test(`SDK ${kind.sdk}, ${kind.era}${kind.resumable ? ', resumable' : ''}`, async (t) => {
    const ours = await look(t, kind, await serveOurs(t, kind))
    const theirs = await look(t, kind, await serveTheirs(t, kind))
    t.strictSame(ours, theirs)
    t.match(ours, [{
      value: 'x',
      sessionId: 'that of the request',
      authInfo: AUTH,
      header: 'custom',
      path: '/mcp'
    }], 'and it is all there')
    const closers = kind.sdk === 1 ? ['closeSSEStream', 'closeStandaloneSSEStream'] : ['closeSSE', 'closeStandaloneSSE']
    const [{ functions = [] } = {}] = ours
    t.strictSame([functions].flat().filter((name) => closers.includes(String(name))), kind.resumable ? closers : [])
  })
}

interface Served {
  readonly url: URL
  readonly given: Given
}

async function look (t: Test, { era }: Kind, { url, given }: Served): Promise<Given> {
  const client = new HttpClient(t, url)
  const params = { name: 'look', arguments: { value: 'x' }, _meta: META }
  const modern = modernRequest(7, 'tools/call', params)
  if (era === 'session') await client.open()
  Object.assign(modern.body, era === 'modern' ? {} : { ...call(7, 'look'), params })
  const answer = await client.post(modern.body, { ...(era === 'modern' && modern.headers), 'x-custom': 'custom' })
  t.equal((await answer.end()).status, 200)
  return given
}

async function serveOurs (t: Test, { sdk, era, resumable }: Kind): Promise<Served> {
  const given: Given = []
  const endpoint: Partial<SessionEndpointOptions> | DualEndpointOptions = era === 'modern'
    ? { createServer: () => createServer2(given), modern: true }
    : { createServer: () => sdk === 1 ? createServer1(given) : createServer2(given), resumable: resumable && {} }
  const { listen } = await buildEndpoint(t, {
    sessions: { enabled: era !== 'stateless' },
    endpoint,
    before (app) {
      app.addHook('onRequest', async (request) => { Object.assign(request, { auth: AUTH }) })
    }
  })
  return { url: await listen(), given }
}

async function serveTheirs (t: Test, kind: Kind): Promise<Served> {
  const given: Given = []
  const server = createServer(await createListener(kind, given)).listen(0, '127.0.0.1')
  t.teardown(() => { server.close().closeAllConnections() })
  await once(server, 'listening')
  const { port }: AddressInfo = Object(server.address())
  return { url: new URL(`http://127.0.0.1:${port}/mcp`), given }
}

async function createListener ({ sdk, era, resumable }: Kind, given: Given): Promise<(incoming: IncomingMessage, outgoing: ServerResponse) => void> {
  const options = { ...(era === 'session' && { sessionIdGenerator: () => randomUUID() }), ...(resumable && { eventStore: EVENTS }) }
  if (sdk === 1) {
    const transport = new StreamableHTTPServerTransport(options)
    await createServer1(given).connect(transport)
    return (incoming, outgoing) => { transport.handleRequest(Object.assign(incoming, { auth: AUTH }), outgoing) }
  }
  if (era === 'modern') {
    const handler = createMcpHandler(() => createServer2(given))
    return (incoming, outgoing) => { answer(incoming, outgoing, (request) => handler.fetch(request, { authInfo: AUTH })) }
  }
  const transport = new WebStandardStreamableHTTPServerTransport(options)
  await createServer2(given).connect(transport)
  return (incoming, outgoing) => { answer(incoming, outgoing, (request) => transport.handleRequest(request, { authInfo: AUTH })) }
}

async function answer (incoming: IncomingMessage, outgoing: ServerResponse, serve: (request: Request) => Promise<Response>): Promise<void> {
  const chunks: Buffer[] = []
  for await (const chunk of incoming) chunks.push(chunk)
  const headers = new Headers()
  for (const [name, value] of Object.entries(incoming.headers)) headers.append(name, String(value))
  const url = `http://${String(incoming.headers.host)}${String(incoming.url)}`
  const response = await serve(new Request(url, { method: 'POST', headers, body: Buffer.concat(chunks) }))
  outgoing.writeHead(response.status, Object.fromEntries(response.headers))
  for await (const chunk of response.body ?? []) outgoing.write(chunk)
  outgoing.end()
}
