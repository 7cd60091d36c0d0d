import { Client as ModernClient, StreamableHTTPClientTransport as ModernTransport, type VersionNegotiationMode } from '@modelcontextprotocol/client'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import {
  CreateMessageRequestSchema, ElicitRequestSchema, LoggingMessageNotificationSchema, ResourceUpdatedNotificationSchema,
  ToolListChangedNotificationSchema
} from '@modelcontextprotocol/sdk/types.js'
import { createMcpHandler, McpServer as ModernServer } from '@modelcontextprotocol/server'
import t, { type Test } from 'tap'
import type { ModernHandler } from '../../lib/endpoint/modern/modern-handler.js'
import { activeRequests } from '../helpers/apps/app.js'
import { buildEndpoint } from '../helpers/apps/endpoint-app.js'
import { call, HttpClient, initialize, openSession } from '../helpers/clients/http-client.js'
import { ToolServer } from '../helpers/mcp-servers/tool-server.js'
import { NOTE_URI } from '../helpers/mcp-servers/waiting-server.js'
import { until } from '../helpers/waiting/until.js'
import { toHandler } from '../helpers/mcp-servers/modern-handler.js'

const INFO = { name: 'test', version: '1.0.0' }

interface Connected {
  readonly client: Client
  readonly sessionId: string
}

/** A client of SDK 1 whose GET stream is open. */
async function connect (t: Test, url: URL, activeOf: (id: string) => number): Promise<Connected> {
  const client = new Client(INFO, { capabilities: { elicitation: {}, sampling: {} } })
  const transport = new StreamableHTTPClientTransport(url)
  await client.connect(transport)
  t.teardown(() => client.close())
  const sessionId = String(transport.sessionId)
  await until(() => activeOf(sessionId) === 1, 'the GET stream is open, and nothing else')
  return { client, sessionId }
}

async function connectModern (t: Test, url: URL, mode?: VersionNegotiationMode): Promise<ModernClient> {
  const client = new ModernClient(INFO, mode === undefined ? {} : { versionNegotiation: { mode } })
  t.teardown(() => client.close())
  await client.connect(new ModernTransport(url))
  return client
}

function modernHandler (): ModernHandler {
  return createMcpHandler(() => {
    const server = new ModernServer({ name: 'modern', version: '1.0.0' })
    server.registerTool('era', {}, async ({ http }) => ({ content: [{ type: 'text', text: `modern ${http?.authInfo?.clientId ?? 'nobody'}` }] }))
    return server
  }, { legacy: 'reject' })
}

t.test('SDK 1: a session from its opening to its DELETE', async (t) => {
  const { app, listen } = await buildEndpoint(t)
  const { client, sessionId } = await connect(t, await listen(), (id) => activeRequests(app, id))
  const reasons: string[] = []
  app.sessionManager.on('closed', (_session, reason) => { reasons.push(reason) })
  t.match(app.sessionManager.get(sessionId), { clientInfo: INFO, protocolVersion: '2025-11-25', principal: undefined })
  t.match(await client.callTool({ name: 'echo', arguments: { text: 'hello' } }), { content: [{ text: 'hello' }] })
  await client.ping()
  t.match(await client.readResource({ uri: NOTE_URI }), { contents: [{ text: 'A note' }] })
  if (!(client.transport instanceof StreamableHTTPClientTransport)) throw new Error('Not connected')
  await client.transport.terminateSession()
  t.strictSame(reasons, ['deleted'])
  await t.rejects(client.ping())
})

t.test('a server is closed with its session, whatever it makes of the end of its transport', async (t) => {
  const ends: string[] = []
  const { listen } = await buildEndpoint(t, {
    endpoint: {
      createServer () {
        const { mcp } = new ToolServer()
        mcp.server.onclose = () => { ends.push('transport') }
        return {
          connect: (transport) => mcp.connect(transport),
          async close () { ends.push('server') }
        }
      }
    }
  })
  const client = await openSession(t, await listen())
  await client.delete()
  await until(() => ends.length === 2, 'both have ended')
  t.strictSame(ends, ['transport', 'server'])
})

t.test('SDK 1: the server asks the client, on the stream of the call and on the GET stream', async (t) => {
  const { app, listen } = await buildEndpoint(t)
  const { client } = await connect(t, await listen(), (id) => activeRequests(app, id))
  client.setRequestHandler(ElicitRequestSchema, async ({ params }) => ({ action: 'accept', content: { name: `${params.message} Ada` } }))
  client.setRequestHandler(CreateMessageRequestSchema, async () => ({
    model: 'test', role: 'assistant', content: { type: 'text', text: 'Hello!' }
  }))
  t.match(await client.callTool({ name: 'ask' }), { content: [{ text: 'accept Your name? Ada' }] })
  t.match(await client.callTool({ name: 'sample' }), { content: [{ text: 'Hello!' }] })
})

t.test('SDK 1: progress and logging come before the answer', async (t) => {
  const { app, listen } = await buildEndpoint(t)
  const { client } = await connect(t, await listen(), (id) => activeRequests(app, id))
  const heard: unknown[] = []
  client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => { heard.push(params.data) })
  const result = await client.callTool({ name: 'report' }, undefined, { onprogress: ({ progress }) => { heard.push(progress) } })
  heard.push(result)
  t.match(heard, [1, 2, 'reported', { content: [{ text: 'done' }] }])
})

t.test('SDK 1: a list of tools that changes is announced on the GET stream', async (t) => {
  const { app, listen } = await buildEndpoint(t)
  const { client } = await connect(t, await listen(), (id) => activeRequests(app, id))
  let announced = 0
  client.setNotificationHandler(ToolListChangedNotificationSchema, () => { announced++ })
  const names = async (): Promise<string[]> => (await client.listTools()).tools.map(({ name }) => name)
  t.notOk((await names()).includes('grown'))
  await client.callTool({ name: 'grow' })
  await until(() => announced === 1, 'it is announced')
  t.ok((await names()).includes('grown'))
  t.match(await client.callTool({ name: 'grown' }), { content: [{ text: 'grown' }] })
})

t.test('SDK 1: subscribed resources announce their changes, to their own session', async (t) => {
  const { app, listen, servers } = await buildEndpoint(t)
  const url = await listen()
  const one = await connect(t, url, (id) => activeRequests(app, id))
  const two = await connect(t, url, (id) => activeRequests(app, id))
  const heard: string[] = []
  one.client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => { heard.push(`one ${params.uri}`) })
  two.client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => { heard.push(`two ${params.uri}`) })
  await one.client.subscribeResource({ uri: NOTE_URI })
  await servers[0]?.noteHasChanged()
  await until(() => heard.length > 0, 'it is announced')
  await one.client.unsubscribeResource({ uri: NOTE_URI })
  await two.client.ping()
  t.strictSame(heard, [`one ${NOTE_URI}`])
})

t.test('SDK 1: a call that the client cancels is cancelled', async (t) => {
  const { app, listen, server } = await buildEndpoint(t)
  const { client, sessionId } = await connect(t, await listen(), (id) => activeRequests(app, id))
  const abort = new AbortController()
  const result = client.callTool({ name: 'wait' }, undefined, { signal: abort.signal })
  await until(() => server().waiting.length === 1, 'the call has come')
  abort.abort()
  await t.rejects(result)
  await until(() => server().aborted === 1, 'the tool knows')
  await until(() => activeRequests(app, sessionId) === 1, 'its stream is closed, and the GET stream is open')
  await client.ping()
})

t.test('SDK 1: a session that has expired is 404, and the client can open another one', async (t) => {
  const { app, listen } = await buildEndpoint(t)
  const url = await listen()
  const { client, sessionId } = await connect(t, url, (id) => activeRequests(app, id))
  app.sessionManager.cleanup(sessionId, 'expired')
  await t.rejects(client.ping(), { code: 404 })
  const again = await connect(t, url, (id) => activeRequests(app, id))
  await again.client.ping()
})

t.test('SDK 2 without modern: every mode but the pinned one keeps a session', async (t) => {
  const { app, listen } = await buildEndpoint(t)
  const url = await listen()
  for (const mode of [undefined, 'legacy', 'auto'] as const) {
    const client = await connectModern(t, url, mode)
    t.match(await client.callTool({ name: 'echo', arguments: { text: 'hello' } }), { content: [{ text: 'hello' }] })
    t.equal(client.getServerVersion()?.name, 'tools')
  }
  t.equal(app.sessionManager.getActiveSessionCount(), 3)
})

t.test('SDK 2 without modern: pinned fails, says why, and leaves nothing', async (t) => {
  const { app, listen, servers } = await buildEndpoint(t)
  await t.rejects(connectModern(t, await listen(), { pin: '2026-07-28' }), /protocol version|2026-07-28/i)
  t.equal(app.sessionManager.getActiveSessionCount(), 0)
  t.equal(servers.length, 0)
})

t.test('SDK 2 with modern: the same URL serves both kinds', async (t) => {
  const { app, listen } = await buildEndpoint(t, { endpoint: { modern: modernHandler() } })
  const url = await listen()
  for (const mode of ['auto', { pin: '2026-07-28' }] as const) {
    const client = await connectModern(t, url, mode)
    t.match(await client.callTool({ name: 'era' }), { content: [{ text: 'modern nobody' }] })
  }
  t.equal(app.sessionManager.getActiveSessionCount(), 0, 'without a session')
  const legacy = await connectModern(t, url, 'legacy')
  t.match(await legacy.callTool({ name: 'echo', arguments: { text: 'hello' } }), { content: [{ text: 'hello' }] })
  t.equal(app.sessionManager.getActiveSessionCount(), 1)
})

t.test('enabled: false serves both kinds without sessions', async (t) => {
  for (const modern of [undefined, modernHandler()]) {
    const { app, listen, servers } = await buildEndpoint(t, { sessions: { enabled: false }, endpoint: { modern } })
    const url = await listen()
    const client = new Client(INFO)
    const transport = new StreamableHTTPClientTransport(url)
    await client.connect(transport)
    t.equal(transport.sessionId, undefined)
    t.match(await client.callTool({ name: 'echo', arguments: { text: 'hello' } }), { content: [{ text: 'hello' }] })
    const auto = await connectModern(t, url, 'auto')
    const tool = modern === undefined ? { name: 'echo', arguments: { text: 'modern nobody' } } : { name: 'era' }
    t.match(await auto.callTool(tool), { content: [{ text: 'modern nobody' }] })
    t.equal(app.sessionManager.getActiveSessionCount(), 0)
    await client.close()
    await until(() => servers.every(({ closed }) => closed === 1), 'a server lives as long as its request')
  }
})

t.test('auth information reaches the tools of both kinds', async (t) => {
  const { listen } = await buildEndpoint(t, {
    endpoint: { modern: modernHandler() },
    before (app) {
      app.decorateRequest('auth', null)
      app.addHook('onRequest', async (request) => {
        Reflect.set(request, 'auth', { token: 't', clientId: 'ada', scopes: [] })
      })
    }
  })
  const url = await listen()
  const legacy = await connectModern(t, url, 'legacy')
  t.match(await legacy.callTool({ name: 'who' }), { content: [{ text: 'ada' }] })
  const modern = await connectModern(t, url, 'auto')
  t.match(await modern.callTool({ name: 'era' }), { content: [{ text: 'modern ada' }] })
})

t.test('the session header of a modern request is ignored', async (t) => {
  const modern = { 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/call', 'mcp-name': 'era' }
  const body = modernCall('era')
  for (const withModern of [true, false]) {
    const { app, listen } = await buildEndpoint(t, { endpoint: { modern: withModern ? modernHandler() : undefined } })
    const client = await openSession(t, await listen())
    await until(() => activeRequests(app, client.sessionId) === 0, 'initialize is over')
    const before = app.sessionManager.get(client.sessionId)?.lastAccessedAt
    for (const id of [client.sessionId, 'unknown', 'two words', '__proto__']) {
      const answer = await (await client.post(body, { ...modern, 'mcp-session-id': id })).end()
      t.equal(answer.status, withModern ? 200 : 400)
      t.match(answer.text, withModern ? 'modern nobody' : '-32000')
      t.equal(answer.headers['mcp-session-id'], undefined)
    }
    t.equal(app.sessionManager.get(client.sessionId)?.lastAccessedAt, before, 'nor does it keep the session alive')
  }
})

t.test('without modern, a modern client is told what is supported, as a server of older revisions does it', async (t) => {
  const { listen } = await buildEndpoint(t)
  const client = new HttpClient(t, await listen())
  const answer = await (await client.post(modernCall('era'))).end()
  t.equal(answer.status, 400)
  t.match(JSON.parse(answer.text), {
    jsonrpc: '2.0', id: null, error: { code: -32000, message: /Unsupported protocol version: 2026-07-28 \(supported versions: 2025-11-25, 2025-06-18, 2025-03-26, 2024-11-05/ }
  })
  for (const body of [[], 'text', 7, null, { id: { nested: true } }, { params: { _meta: null } }]) {
    const other = await (await client.post(body, { 'mcp-protocol-version': '2027-01-01' })).end()
    t.equal(other.status, 400)
    t.match(JSON.parse(other.text), { id: null, error: { code: -32000, message: /: 2027-01-01 / } })
  }
  const get = await (await client.get({ 'mcp-protocol-version': '2026-07-28' })).end()
  t.equal(get.status, 400)
})

t.test('modern sees a request as it came, and its signal when the client goes', async (t) => {
  const requests: Request[] = []
  const { listen } = await buildEndpoint(t, {
    endpoint: {
      modern: toHandler(async (request, options) => {
        requests.push(request)
        if (requests.length === 1) return Response.json({ body: options?.parsedBody, test: request.headers.get('x-test') }, { status: 201, headers: { 'x-mine': 'yes' } })
        return new Promise((_resolve, reject) => {
          request.signal.addEventListener('abort', () => reject(request.signal.reason))
        })
      })
    }
  })
  const client = new HttpClient(t, await listen())
  client.headers = { 'mcp-protocol-version': '2026-07-28', 'x-test': 'here' }
  const answer = await (await client.post({ any: 'body' })).end()
  t.equal(answer.status, 201)
  t.equal(answer.headers['x-mine'], 'yes')
  t.strictSame(JSON.parse(answer.text), { body: { any: 'body' }, test: 'here' })
  t.match(requests[0], { method: 'POST', url: client.url.href })
  t.equal(requests[0]?.signal.aborted, false, 'an answer that was given is no abort')
  const pending = client.post({ any: 'other' })
  await until(() => requests.length === 2, 'the request has come')
  client.agent.destroy()
  await t.rejects(pending)
  await until(() => requests[1]?.signal.aborted === true, 'it is told')
})

t.test('a modern stream that fails is not ended as if it were whole', async (t) => {
  let fail: (() => void) | undefined
  const { listen } = await buildEndpoint(t, {
    endpoint: {
      modern: toHandler(async () => {
        const stream = new ReadableStream<Uint8Array>({
          start (controller) {
            controller.enqueue(Buffer.from('data: {}\n\n'))
            fail = () => controller.error(new Error('broken'))
          }
        })
        return new Response(stream, { headers: { 'content-type': 'text/event-stream' } })
      })
    }
  })
  const client = new HttpClient(t, await listen())
  const answer = await client.post({}, { 'mcp-protocol-version': '2026-07-28' })
  await answer.see('data: {}')
  fail?.()
  await answer.end()
  t.ok(answer.broken)
})

t.test('raw HTTP: an id that opens no session, and one that did', async (t) => {
  const { listen } = await buildEndpoint(t)
  const url = await listen()
  const client = new HttpClient(t, url)
  t.equal((await client.post(call(1, 'echo'))).status, 400)
  const opened = await client.open()
  t.match(opened.messages, [{ id: 1, result: { protocolVersion: '2025-11-25' } }])
  t.match((await (await client.post(call(2, 'echo', { text: 'x' }))).end()).messages, [{ id: 2 }])
  t.equal((await client.delete()).status, 200)
  for (const send of [() => client.post(call(3, 'echo')), () => client.get(), () => client.delete(), () => client.post(initialize())]) {
    const gone = await (await send()).end()
    t.equal(gone.status, 404)
    t.match(JSON.parse(gone.text), { error: { code: -32001 } })
  }
})

function modernCall (name: string): object {
  return {
    ...call(7, name),
    params: {
      name,
      arguments: {},
      _meta: {
        'io.modelcontextprotocol/protocolVersion': '2026-07-28',
        'io.modelcontextprotocol/clientInfo': INFO,
        'io.modelcontextprotocol/clientCapabilities': {}
      }
    }
  }
}
