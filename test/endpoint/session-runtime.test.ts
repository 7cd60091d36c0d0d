import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js'
import { mock } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { ClientSetup } from '../../lib/endpoint/client-setup.js'
import { SessionRuntime } from '../../lib/endpoint/session-runtime.js'
import type { JSONRPCMessage } from '../../lib/endpoint/transport/json-rpc.js'
import { SessionRecord } from '../../lib/session/session-record.js'
import { INITIALIZE_PARAMS } from '../helpers/apps/endpoint-stage.js'
import { serveRequest, type ServedRequest } from '../helpers/apps/served-request.js'

/** A server that answers what it is told to. */
class Server {
  readonly heard: string[] = []
  readonly steps: string[]
  readonly silent: ReadonlySet<string>
  #transport: Transport | undefined

  constructor (steps: string[] = [], silent: string[] = []) {
    this.steps = steps
    this.silent = new Set(silent)
  }

  async connect (transport: Transport): Promise<void> {
    this.#transport = transport
    transport.onmessage = (message: JSONRPCMessage) => this.#hear(message)
    await transport.start()
  }

  async close (): Promise<void> {
    this.steps.push('the server closes')
    await this.#transport?.close()
  }

  #hear (message: JSONRPCMessage): void {
    if (!('method' in message)) return
    this.heard.push(message.method)
    if ('id' in message && !this.silent.has(message.method)) setImmediate(() => this.#transport?.send({ jsonrpc: '2.0', id: message.id, result: {} }))
  }
}

function createRuntime (path = '/mcp', onClosed = (): void => {}, setup = createSetup()): SessionRuntime {
  return new SessionRuntime({
    session: new SessionRecord('one', 0, undefined, {}),
    path,
    transport: { sessionId: 'one', responseMode: 'auto', heartbeatInterval: 0, maxBuffered: 1000, cancelOnDisconnect: false, retryInterval: 0 },
    setup,
    canPark: false,
    onClosed
  })
}

const SAID = ['initialize', 'notifications/initialized', 'logging/setLevel', 'resources/subscribe', 'resources/subscribe']

function createSetup (): ClientSetup {
  return new ClientSetup('/mcp', { maxBytes: 65_536, onForget () {} }, {
    initialize: INITIALIZE_PARAMS, initialized: true, logLevel: 'debug', subscriptions: ['a:1', 'a:2']
  })
}

async function serve (t: Test): Promise<ServedRequest> {
  const served = await serveRequest(t)
  t.teardown(() => { served.reply.send() })
  return served
}

t.test('serves the path at which its session was opened, and no other', async (t) => {
  const { request } = await serve(t)
  const serves = (path: string, url: string): boolean => {
    request.raw.url = url
    return createRuntime(path).serves(request)
  }
  for (const url of ['/t/red/mcp', '/t/red/mcp?a=1', '/t/red/mcp?']) t.ok(serves('/t/red/mcp', url), url)
  for (const url of ['/t/blue/mcp', '/t/red/mcp/', '/t/red/mcpx', '/t/red/mc', '/T/red/mcp', '/x?/t/red/mcp', '/t/red/mcp#', '/t/r%65d/mcp']) t.notOk(serves('/t/red/mcp', url), url)
})

t.test('connects its server, and closes it after its transport', async (t) => {
  const steps: string[] = []
  const runtime = createRuntime('/mcp', () => { steps.push('the session ends') })
  t.equal(runtime.session.id, 'one')
  t.equal(runtime.transport.sessionId, 'one')
  await runtime.connect(new Server(steps))
  await runtime.close()
  t.strictSame(steps, ['the session ends', 'the server closes'])
})

t.test('a server that ends its session does so for all', async (t) => {
  const steps: string[] = []
  const runtime = createRuntime('/mcp', () => { steps.push('the session ends') })
  const server = new Server(steps)
  await runtime.connect(server)
  await server.close()
  t.strictSame(steps, ['the server closes', 'the session ends'])
})

t.test('closes without a server', async (t) => {
  let ends = 0
  await createRuntime('/mcp', () => { ends++ }).close()
  t.equal(ends, 1)
})

t.test('says again what the client had said, in its order', async (t) => {
  const { request } = await serve(t)
  const [runtime, server] = [createRuntime(), new Server()]
  await runtime.connect(server)
  t.strictSame(await runtime.replay(request), [])
  t.strictSame(server.heard, SAID)
})

t.test('each when the one before is answered, and the rest when the time is over', async (t) => {
  const { request } = await serve(t)
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  const [runtime, server] = [createRuntime(), new Server([], ['logging/setLevel', 'resources/subscribe'])]
  await runtime.connect(server)
  const replayed = runtime.replay(request)
  for (let i = 0; i < 10; i++) await turn()
  t.strictSame(server.heard, SAID.slice(0, 3))
  mock.timers.tick(999)
  await turn()
  t.equal(server.heard.length, 3)
  mock.timers.tick(1)
  t.strictSame(await replayed, ['logging/setLevel', 'resources/subscribe', 'resources/subscribe'])
  t.strictSame(server.heard, SAID)
})

t.test('a server that fails at what it hears fails the replay', async (t) => {
  const { request } = await serve(t)
  const runtime = createRuntime()
  runtime.transport.onmessage = () => { throw new Error('cannot hear') }
  await t.rejects(runtime.replay(request), { message: 'cannot hear' })
})
