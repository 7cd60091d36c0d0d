import { mock } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { channels } from '../../lib/observe/channels.js'
import { sessionClock } from '../../lib/testing/session-clock.js'
import { buildEndpoint, type EndpointApp, type EndpointSetup } from '../helpers/apps/endpoint-app.js'
import { call, HttpClient, openSession } from '../helpers/clients/http-client.js'
import { connectSdkClient } from '../helpers/clients/sdk-clients.js'
import { ToolServer } from '../helpers/mcp-servers/tool-server.js'
import { NOTE_URI } from '../helpers/mcp-servers/waiting-server.js'
import { ToolServer2 } from '../helpers/mcp-servers/tool-server-2.js'
import { until } from '../helpers/waiting/until.js'

const PARK_AFTER = 10_000

interface Lot extends EndpointApp {
  /** Lets all sessions be idle for so long that those which can be are parked. */
  park (): Promise<void>
}

async function buildLot (t: Test, { endpoint, ...setup }: EndpointSetup = {}): Promise<Lot> {
  mock.timers.enable({ apis: ['Date', 'setInterval'] })
  t.teardown(() => mock.timers.reset())
  const built = await buildEndpoint(t, { ...setup, endpoint: { parkAfter: PARK_AFTER, ...endpoint } })
  return {
    ...built,
    async park () {
      // A sweep comes twice in that time.
      mock.timers.tick(PARK_AFTER * 1.5)
      for (let turns = 0; turns < 5; turns++) await turn()
    }
  }
}

async function echo (client: HttpClient, text: string): Promise<string> {
  const answer = await (await client.post(call(2, 'echo', { text }))).end()
  return answer.status === 200 ? JSON.stringify(answer.messages[0]) : String(answer.status)
}

t.test('the server of an idle session is closed, and another one goes on for its client', async (t) => {
  const lot = await buildLot(t)
  const client = await openSession(t, await lot.listen())
  await client.post({ jsonrpc: '2.0', id: 2, method: 'logging/setLevel', params: { level: 'error' } })
  await client.post({ jsonrpc: '2.0', id: 3, method: 'resources/subscribe', params: { uri: NOTE_URI } })
  const parked: string[] = []
  const note = ({ session }: { session: { id: string } }): void => { parked.push(session.id) }
  channels['session.parked'].subscribe(note)
  t.teardown(() => channels['session.parked'].unsubscribe(note))
  mock.timers.tick(PARK_AFTER - 1)
  await turn()
  t.equal(lot.server().closed, 0, 'not yet')
  await lot.park()
  t.equal(lot.server().closed, 1)
  t.strictSame(parked, [client.sessionId])
  t.equal(lot.app.sessionManager.getActiveSessionCount(), 1)
  t.match(await echo(client, 'again'), 'again')
  t.equal(lot.servers.length, 2)
  t.strictSame(lot.server().subscriptions, [NOTE_URI], 'it has heard what the client had said')
  await lot.park()
  t.match(await echo(client, 'and again'), 'and again')
  t.strictSame(lot.servers.map(({ closed }) => closed), [1, 1, 0])
})

t.test('idle time is that of the clock of the sessions', async (t) => {
  const lot = await buildLot(t)
  await openSession(t, await lot.listen())
  sessionClock(lot.app).advance(PARK_AFTER)
  mock.timers.tick(PARK_AFTER / 2)
  await turn()
  t.equal(lot.server().closed, 1)
})

t.test('it is off by default', async (t) => {
  const lot = await buildLot(t, { endpoint: { parkAfter: undefined } })
  const client = await openSession(t, await lot.listen())
  await lot.park()
  t.match(await echo(client, 'still here'), 'still here')
  t.equal(lot.servers.length, 1)
})

t.test('a stream that is open stays open, is told of changes without a server, and of all else when there is one', async (t) => {
  const lot = await buildLot(t)
  const client = await openSession(t, await lot.listen())
  const stream = await client.get()
  await lot.park()
  t.equal(lot.server().closed, 1)
  lot.app.mcp.notify.resourcesChanged()
  await stream.see('resources/list_changed')
  t.equal(lot.servers.length, 1, 'nobody was woken')
  t.match(await echo(client, 'awake'), 'awake')
  t.equal(lot.servers.length, 2)
  await lot.server().say('from the second')
  await stream.see('from the second')
  await lot.park()
  t.equal(lot.server().closed, 1)
  stream.vanish()
  await until(() => lot.app.sessionManager.list()[0]?.openStreams === 0, 'the stream is over')
  await lot.park()
  t.match(await echo(client, 'third'), 'third')
  t.equal(lot.servers.length, 3)
})

t.test('two requests at once wake one server', async (t) => {
  for (const withStream of [false, true]) {
    const lot = await buildLot(t)
    const client = await openSession(t, await lot.listen())
    if (withStream) await client.get()
    await lot.park()
    const answers = await Promise.all([echo(client, 'one'), echo(client, 'two')])
    t.match(answers, [/one/, /two/])
    t.equal(lot.servers.length, 2)
    await lot.app.close()
    mock.timers.reset()
  }
})

t.test('a session in use is not parked', async (t) => {
  const lot = await buildLot(t)
  const client = await openSession(t, await lot.listen(), undefined, { sampling: {} })
  const waiting = client.post(call(2, 'wait'))
  await until(() => lot.server().waiting.length === 1, 'the tool has begun')
  await lot.park()
  t.equal(lot.server().closed, 0, 'a call is running')
  lot.server().answer('done')
  await (await waiting).end()
  const stream = await client.get()
  const sampled = lot.server().sample()
  await stream.see('sampling/createMessage')
  await lot.park()
  t.equal(lot.server().closed, 0, 'the client has been asked something')
  const id = stream.messages.at(-1)?.id
  await client.post({ jsonrpc: '2.0', id, result: { role: 'assistant', model: 'm', content: { type: 'text', text: 'hello' } } })
  t.equal(await sampled, 'hello')
  await lot.park()
  t.equal(lot.server().closed, 1)
})

t.test('a question that the server has given up does not keep its session from being parked', async (t) => {
  const lot = await buildLot(t)
  const client = await openSession(t, await lot.listen(), undefined, { sampling: {} })
  const stream = await client.get()
  const giveUp = new AbortController()
  const asked = lot.server().mcp.server.createMessage({ messages: [], maxTokens: 1 }, { signal: giveUp.signal })
  await stream.see('sampling/createMessage')
  giveUp.abort(new Error('given up'))
  await t.rejects(asked, { message: /given up/ })
  await stream.see('notifications/cancelled')
  await lot.park()
  t.equal(lot.server().closed, 1)
})

t.test('nor does one of a call that its client has cancelled', async (t) => {
  const lot = await buildLot(t)
  const client = await openSession(t, await lot.listen(), undefined, { sampling: {} })
  const giveUp = new AbortController()
  let outcome: unknown
  lot.server().mcp.registerTool('consult', {}, async ({ requestId }) => {
    outcome = await lot.server().mcp.server.createMessage({ messages: [], maxTokens: 1 }, { signal: giveUp.signal, relatedRequestId: requestId }).catch(String)
    return { content: [] }
  })
  const answer = await client.post(call(2, 'consult'))
  await answer.see('sampling/createMessage')
  await client.post({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 2 } })
  giveUp.abort(new Error('given up'))
  await until(() => outcome !== undefined, 'the tool has gone on')
  await lot.park()
  t.equal(lot.server().closed, 1)
})

t.test('when no server can be made the session stays parked, and the next request tries again', async (t) => {
  for (const withStream of [false, true]) {
    let fails = false
    const servers: ToolServer[] = []
    const lot = await buildLot(t, {
      endpoint: {
        createServer () {
          if (fails) throw new Error('no server today')
          servers.push(new ToolServer())
          const last = servers.at(-1)
          if (last === undefined) throw new Error('unreachable')
          return last.mcp
        }
      }
    })
    const client = await openSession(t, await lot.listen())
    if (withStream) await client.get()
    await lot.park()
    fails = true
    t.equal(await echo(client, 'one'), '500')
    fails = false
    t.match(await echo(client, 'two'), 'two')
    t.equal(servers.length, 2)
    await lot.app.close()
    mock.timers.reset()
  }
})

t.test('a parked session ends as any other: deleted, expired, with the app', async (t) => {
  const lot = await buildLot(t, { sessions: { ttl: 60_000 } })
  const url = await lot.listen()
  const [deleted, expired] = [await openSession(t, url), await openSession(t, url)]
  await lot.park()
  t.equal((await deleted.delete()).status, 200)
  t.equal(await echo(deleted, 'gone'), '404')
  mock.timers.tick(60_001)
  t.equal(await echo(expired, 'gone'), '404')
  const last = await openSession(t, url)
  await last.get()
  await lot.park()
  await lot.app.close()
  t.equal(lot.servers.every(({ closed }) => closed === 1), true)
})

t.test('a client ends a parked session without a server, and where none could be made', async (t) => {
  let fails = false
  let made = 0
  const lot = await buildLot(t, {
    endpoint: {
      createServer () {
        if (fails) throw new Error('no server today')
        made++
        return new ToolServer().mcp
      }
    }
  })
  const url = await lot.listen()
  const client = await openSession(t, url)
  await lot.park()
  fails = true
  const strange = await client.send('DELETE', { 'mcp-protocol-version': '2025-01-01' })
  t.equal(strange.status, 400, 'of a revision that there is not')
  t.equal((await client.delete()).status, 200)
  t.equal(made, 1)
  t.equal(lot.app.sessionManager.getActiveSessionCount(), 0)
  t.equal((await client.delete()).status, 404)
})

t.test('one that ends while its server is being made leaves nothing', async (t) => {
  for (const withStream of [false, true]) {
    let release: (() => void) | undefined
    let isSlow = false
    const servers: ToolServer[] = []
    const lot = await buildLot(t, {
      endpoint: {
        async createServer () {
          if (isSlow) await new Promise<void>((resolve) => { release = resolve })
          const server = new ToolServer()
          servers.push(server)
          return server.mcp
        }
      }
    })
    const client = await openSession(t, await lot.listen())
    if (withStream) await client.get()
    await lot.park()
    isSlow = true
    const answer = echo(client, 'late')
    await until(() => release !== undefined, 'the server is being made')
    lot.app.sessionManager.cleanup(client.sessionId)
    t.equal(await answer, '404', 'at once')
    release?.()
    await until(() => servers.length === 2 && servers.every(({ mcp }) => !mcp.isConnected()), 'no server is connected')
    await lot.app.close()
    mock.timers.reset()
  }
})

t.test('what the old server says late does not reach the client', async (t) => {
  const lot = await buildLot(t)
  const client = await openSession(t, await lot.listen())
  const stream = await client.get()
  const [old] = lot.servers
  const transport = old?.mcp.server.transport
  if (transport === undefined) throw new Error('It is not connected')
  await lot.park()
  await t.rejects(transport.send({ jsonrpc: '2.0', method: 'notifications/message', params: { level: 'info', data: 'late' } }), /The session has ended, or is parked/)
  await transport.close()
  t.match(await echo(client, 'two'), 'two')
  await lot.server().say('alive')
  await stream.see('alive')
  t.notMatch(stream.text, 'late')
})

t.test('a client can come back for what it has missed before the session was parked, and since', async (t) => {
  const lot = await buildLot(t, { endpoint: { resumable: {} } })
  const client = await openSession(t, await lot.listen())
  const stream = await client.get()
  await until(() => stream.events.length > 0, 'it is primed')
  const { id } = stream.events[0] ?? {}
  stream.vanish()
  await until(() => lot.app.sessionManager.list()[0]?.openStreams === 0, 'the stream is over')
  await lot.server().say('missed')
  await lot.park()
  t.equal(lot.server().closed, 1)
  lot.app.mcp.notify.resourcesChanged()
  t.equal(lot.servers.length, 1, 'nobody was woken')
  const again = await client.get({ 'last-event-id': String(id) })
  await again.see('missed')
  await again.see('resources/list_changed')
})

t.test('a server that can be parked learns, too, that its client was not told of a list', async (t) => {
  const lot = await buildLot(t)
  const client = await openSession(t, await lot.listen())
  const { mcp } = lot.server()
  const errors: string[] = []
  mcp.server.onerror = (error) => errors.push(error.message)
  let tell = async (): Promise<void> => {}
  mcp.registerTool('keep', {}, async ({ sendNotification }) => {
    tell = () => sendNotification({ method: 'notifications/tools/list_changed' })
    return { content: [] }
  })
  await (await client.post(call(2, 'keep'))).end()
  await tell()
  t.match(errors, [/Request 2 has been answered/])
})

t.test('a server that cannot be closed is logged, and the session goes on', async (t) => {
  const lines: string[] = []
  const lot = await buildLot(t, { server: { logger: { level: 'error', stream: { write: (line: string) => { lines.push(line) } } } } })
  const client = await openSession(t, await lot.listen())
  lot.server().mcp.close = async () => { throw new Error('cannot close') }
  await lot.park()
  t.match(JSON.parse(lines[0] ?? '{}'), { msg: 'Closing the MCP server of a session failed', err: { message: 'cannot close' } })
  t.match(await echo(client, 'on'), 'on')
})

t.test('a failure in the sweep is logged', async (t) => {
  const lines: string[] = []
  const lot = await buildLot(t, { server: { logger: { level: 'error', stream: { write: (line: string) => { lines.push(line) } } } } })
  await openSession(t, await lot.listen())
  const [session] = lot.app.sessionManager.list()
  Object.defineProperty(session, 'openStreams', { get () { throw new Error('unreadable') } })
  await lot.park()
  t.match(JSON.parse(lines[0] ?? '{}'), { msg: 'Parking a session failed', err: { message: 'unreadable' } })
  Object.defineProperty(session, 'openStreams', { value: 0, writable: true })
})

t.test('while servers that take long to close are parked, the event loop goes on', async (t) => {
  const lot = await buildLot(t)
  const url = await lot.listen()
  let turns = 0
  const closedIn: number[] = []
  for (let count = 0; count < 4; count++) {
    await openSession(t, url)
    const { mcp } = lot.server()
    const close = mcp.close.bind(mcp)
    mcp.close = () => {
      closedIn.push(turns)
      const end = performance.now() + 3
      while (performance.now() < end);
      return close()
    }
  }
  // Twice: one sweep is not begun before the last one is over.
  mock.timers.tick(PARK_AFTER * 1.5)
  while (closedIn.length < 4) {
    await turn()
    turns++
  }
  t.strictSame(closedIn, [0, 0, 1, 2], 'the first at once, then one in each turn')
  await until(() => lot.servers.every(({ closed }) => closed === 1), 'all are parked')
})

t.test('servers and clients of SDK 2 do not notice', async (t) => {
  const servers: ToolServer2[] = []
  const lot = await buildLot(t, {
    endpoint: {
      createServer () {
        const server = new ToolServer2()
        servers.push(server)
        return server.mcp
      }
    }
  })
  const client = await connectSdkClient(t, 'SDK 2, legacy', await lot.listen())
  await client.subscribe(NOTE_URI)
  await until(() => lot.app.sessionManager.list().every(({ activeRequests, openStreams }) => activeRequests === openStreams && openStreams === 1), 'the client is at rest')
  await lot.park()
  t.equal(servers[0]?.closed, 1)
  t.equal(await client.callTool('echo', { text: 'hello' }), 'hello')
  await servers[1]?.noteHasChanged()
  await until(() => client.heard.includes(`updated ${NOTE_URI}`), 'the second server is heard')
})
