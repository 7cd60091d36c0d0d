// Every response mode with the servers and the clients of both SDKs.
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import type { CreateServer, SessionEndpointOptions } from '../../lib/endpoint/options.js'
import { activeRequests } from '../helpers/apps/app.js'
import { buildEndpoint } from '../helpers/apps/endpoint-app.js'
import { connectSdkClient, type SdkClient, type SdkKind } from '../helpers/clients/sdk-clients.js'
import { ToolServer2 } from '../helpers/mcp-servers/tool-server-2.js'
import { ToolServer } from '../helpers/mcp-servers/tool-server.js'
import { NOTE_URI } from '../helpers/mcp-servers/waiting-server.js'
import { until } from '../helpers/waiting/until.js'

t.setTimeout(120_000)

const MODES = ['auto', 'sse', 'json'] as const
const CLIENTS: readonly SdkKind[] = ['SDK 1', 'SDK 2, legacy', 'SDK 2, auto']
const SERVERS = { 'SDK 1': ToolServer, 'SDK 2': ToolServer2 } as const

interface Scene {
  readonly app: FastifyInstance
  readonly server: ToolServer | ToolServer2
  readonly client: SdkClient
  /** Resolves when the session has so many requests in flight. */
  whenActive (count: number, what: string): Promise<void>
}

async function stage (t: Test, serverKind: keyof typeof SERVERS, clientKind: SdkKind, endpoint: Partial<SessionEndpointOptions>): Promise<Scene> {
  const servers: Array<ToolServer | ToolServer2> = []
  const createServer: CreateServer = () => {
    const server = new SERVERS[serverKind]()
    servers.push(server)
    return server.mcp
  }
  const { app, listen } = await buildEndpoint(t, { endpoint: { ...endpoint, createServer } })
  const client = await connectSdkClient(t, clientKind, await listen())
  const whenActive = (count: number, what: string): Promise<void> => until(() => activeRequests(app, client.sessionId) === count, what)
  await whenActive(1, 'the GET stream is open')
  const [server] = servers
  if (server === undefined || servers.length > 1) throw new Error(`${servers.length} servers have been made`)
  return { app, server, client, whenActive }
}

for (const responseMode of MODES) {
  for (const serverKind of ['SDK 1', 'SDK 2'] as const) {
    for (const clientKind of CLIENTS) {
      const who = `responseMode ${responseMode}, server of ${serverKind}, client of ${clientKind}`

      t.test(`a whole session: ${who}`, async (t) => {
        const { app, server, client, whenActive } = await stage(t, serverKind, clientKind, { responseMode })
        t.match(app.sessionManager.get(client.sessionId), { clientInfo: { name: 'test', version: '1.0.0' }, protocolVersion: '2025-11-25' })
        t.ok((await client.listTools()).includes('echo'))
        t.equal(await client.callTool('echo', { text: 'hello' }), 'hello')
        await onTheWay(t, server, client)
        await questions(t, server, client)
        await announcements(t, server, client)
        await cancelling(t, server, client)
        await whenActive(1, 'nothing but the GET stream is left')
        const reasons: string[] = []
        app.sessionManager.on('closed', (_session, reason) => { reasons.push(reason) })
        await client.terminate()
        t.strictSame(reasons, ['deleted'])
        await until(() => server.closed === 1, 'its server is closed')
        await t.rejects(client.callTool('echo', { text: 'hello' }))
      })

      t.test(`resuming: ${who}`, async (t) => {
        const scene = await stage(t, serverKind, clientKind, { responseMode, resumable: { retryInterval: 20 } })
        await poll(t, scene)
        await breakGetStream(t, scene)
        if (responseMode === 'json') await loseCall(t, scene)
        else await breakCall(t, scene)
        await scene.whenActive(1, 'nothing but the GET stream is left')
      })
    }
  }
}

// With JSON it goes to the GET stream, and could come after the answer: the tool waits until it is heard.
async function onTheWay (t: Test, server: Scene['server'], client: SdkClient): Promise<void> {
  client.heard.length = 0
  const result = client.callTool('steps')
  await until(() => client.heard.length === 2, 'both are heard while the call runs')
  t.strictSame(client.heard, ['progress 1', 'log working'])
  server.answer('done')
  t.equal(await result, 'done')
}

async function questions (t: Test, server: Scene['server'], client: SdkClient): Promise<void> {
  t.equal(await client.callTool('ask'), 'accept Ada')
  t.equal(await client.callTool('roots'), 'file:///home')
  t.equal(await server.sample(), 'Hello!', 'outside of a call')
}

async function announcements (t: Test, server: Scene['server'], client: SdkClient): Promise<void> {
  client.heard.length = 0
  await client.callTool('grow')
  await until(() => client.heard.includes('tools changed'), 'it is announced')
  t.ok((await client.listTools()).includes('grown'))
  await client.subscribe(NOTE_URI)
  await server.noteHasChanged()
  await until(() => client.heard.includes(`updated ${NOTE_URI}`), 'the change is announced')
}

async function cancelling (t: Test, server: Scene['server'], client: SdkClient): Promise<void> {
  const abort = new AbortController()
  const result = client.callTool('wait', {}, abort.signal)
  await until(() => server.waiting.length === 1, 'the call has come')
  abort.abort()
  await t.rejects(result)
  await until(() => server.aborted === 1, 'the tool knows')
  server.answer('nobody listens')
}

// A tool that lets go of its stream; with JSON it has none, and the client waits for its answer.
async function poll (t: Test, { server, client }: Scene): Promise<void> {
  const result = client.callTool('poll')
  await until(() => server.waiting.length === 1, 'the call has come')
  server.answer('polled')
  t.equal(await result, 'polled')
}

async function breakGetStream (t: Test, { app, server, client, whenActive }: Scene): Promise<void> {
  await whenActive(1, 'there is nothing but the GET stream')
  client.heard.length = 0
  app.server.closeAllConnections()
  await whenActive(0, 'its connection has gone')
  await server.say('missed')
  await until(() => client.heard.length === 1, 'the client has come back')
  await server.say('live')
  await until(() => client.heard.length === 2, 'and stays')
  t.strictSame(client.heard, ['log missed', 'log live'])
}

async function breakCall (t: Test, { app, server, client }: Scene): Promise<void> {
  client.heard.length = 0
  const result = client.callTool('steps')
  await until(() => client.heard.length === 2, 'the stream of the call is open')
  app.server.closeAllConnections()
  server.answer('kept')
  t.equal(await result, 'kept')
  t.equal(server.aborted, 0)
}

// There is nothing to come back for. The call itself runs to its end.
async function loseCall (t: Test, { app, server, client, whenActive }: Scene): Promise<void> {
  const result = client.callTool('wait')
  result.catch(() => {})
  await until(() => server.waiting.length === 1, 'the call has come')
  app.server.closeAllConnections()
  await t.rejects(result)
  await whenActive(2, 'the GET stream has come back, and the call runs')
  t.equal(server.aborted, 0)
  server.answer('for nobody')
}
