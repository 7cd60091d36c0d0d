// With `reuseServers`, the server of a session that is over serves another one.
import { EventEmitter } from 'node:events'
import { mock } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { buildEndpoint, type EndpointApp, type EndpointSetup } from '../helpers/apps/endpoint-app.js'
import { call, HttpClient, initialize, openSession } from '../helpers/clients/http-client.js'
import { ToolServer } from '../helpers/mcp-servers/tool-server.js'
import { NOTE_URI } from '../helpers/mcp-servers/waiting-server.js'
import { ToolServer2 } from '../helpers/mcp-servers/tool-server-2.js'
import { createDeferred } from '../helpers/waiting/deferred.js'
import { until } from '../helpers/waiting/until.js'

async function buildShared (t: Test, { shared, ...setup }: EndpointSetup = {}): Promise<EndpointApp> {
  return buildEndpoint(t, { ...setup, shared: { ...shared } })
}

async function ask (client: HttpClient, name: string, args: object = {}): Promise<string> {
  return JSON.stringify((await (await client.post(call(7, name, args))).end()).messages.at(-1))
}

async function end (client: HttpClient, { app }: EndpointApp): Promise<void> {
  await client.delete()
  await until(() => app.sessionManager.get(client.sessionId ?? '') === undefined, 'the session is over')
  for (let turns = 0; turns < 5; turns++) await turn()
}

t.test('the next session has the server of the last one, and nothing of it', async (t) => {
  const lot = await buildShared(t)
  const url = await lot.listen()
  const first = await openSession(t, url, undefined, { elicitation: {}, sampling: {} })
  t.match(await ask(first, 'echo', { text: 'one' }), 'one')
  t.strictSame(lot.server().mcp.server.getClientCapabilities()?.sampling, {})
  await end(first, lot)
  t.equal(lot.server().closed, 1, 'it has been closed like the others')
  const second = await openSession(t, url)
  t.match(await ask(second, 'echo', { text: 'two' }), 'two')
  t.equal(lot.servers.length, 1)
  t.equal(lot.server().mcp.server.getClientCapabilities()?.sampling, undefined)
  t.match(await ask(second, 'ask'), 'elicitation', 'this client cannot be asked')
  const third = await openSession(t, url)
  t.match(await ask(third, 'echo', { text: 'three' }), 'three')
  t.equal(lot.servers.length, 2, 'two sessions at once have two servers')
})

t.test('a server of SDK 2 is reused, too', async (t) => {
  const servers: ToolServer2[] = []
  const lot = await buildShared(t, {
    shared: {
      createServer () {
        const server = new ToolServer2()
        servers.push(server)
        return server.mcp
      }
    }
  })
  const url = await lot.listen()
  for (const text of ['one', 'two', 'three']) {
    const client = await openSession(t, url, undefined, text === 'one' ? { sampling: {} } : {})
    t.match(await ask(client, 'echo', { text }), text)
    t.strictSame(servers[0]?.mcp.server.getClientCapabilities()?.sampling, text === 'one' ? {} : undefined)
    await end(client, lot)
  }
  t.equal(servers.length, 1)
  const client = await openSession(t, url)
  await client.post({ jsonrpc: '2.0', id: 2, method: 'logging/setLevel', params: { level: 'error' } })
  await end(client, lot)
  const other = await openSession(t, url)
  t.match(await ask(other, 'echo', { text: 'four' }), 'four')
  t.equal(servers.length, 2, 'one that has been told a log level is not')
})

const leftovers: ReadonlyArray<readonly [what: string, leave: (client: HttpClient, lot: EndpointApp) => Promise<void>]> = [
  ['a log level', async (client) => { await client.post({ jsonrpc: '2.0', id: 2, method: 'logging/setLevel', params: { level: 'error' } }) }],
  ['a subscription', async (client) => { await client.post({ jsonrpc: '2.0', id: 2, method: 'resources/subscribe', params: { uri: NOTE_URI } }) }],
  ['a task', async (client) => { await client.post({ jsonrpc: '2.0', id: 2, method: 'tools/call', params: { name: 'echo', arguments: { text: '' }, task: {} } }) }],
  ['a tool that it has registered', async (client) => { await ask(client, 'grow') }],
  ['a call that runs', async (client, lot) => {
    client.post(call(2, 'wait')).catch(() => {})
    await until(() => lot.server().waiting.length === 1, 'the tool has begun')
  }],
  ['a call that was cancelled, and runs on', async (client, lot) => {
    client.post(call(2, 'wait')).catch(() => {})
    await until(() => lot.server().waiting.length === 1, 'the tool has begun')
    await client.post({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 2 } })
  }],
  ['a question to its client', async (client, lot) => {
    const stream = await client.get()
    lot.server().sample().catch(() => {})
    await stream.see('sampling/createMessage')
  }]
]

for (const [what, leave] of leftovers) {
  t.test(`a server in which a session has left ${what} serves no other`, async (t) => {
    const lot = await buildShared(t)
    const url = await lot.listen()
    const first = await openSession(t, url, undefined, { sampling: {} })
    await leave(first, lot)
    await end(first, lot)
    const second = await openSession(t, url)
    t.match(await ask(second, 'echo', { text: 'clean' }), 'clean')
    t.equal(lot.servers.length, 2)
    t.equal(lot.servers[0]?.closed, 1)
    for (const { resolve } of lot.servers[0]?.waiting ?? []) resolve('late')
    await turn()
    t.match(await ask(second, 'echo', { text: 'still' }), 'still')
  })
}

t.test('a question that was answered, and progress, leave nothing', async (t) => {
  const lot = await buildShared(t)
  const url = await lot.listen()
  const first = await openSession(t, url, undefined, { sampling: {} })
  const stream = await first.get()
  const sampled = lot.server().sample()
  await stream.see('sampling/createMessage')
  const id = stream.messages.at(-1)?.id
  await first.post({ jsonrpc: '2.0', id, result: { role: 'assistant', model: 'm', content: { type: 'text', text: 'hello' } } })
  t.equal(await sampled, 'hello')
  t.match(await ask(first, 'report'), 'done')
  await end(first, lot)
  await openSession(t, url)
  t.equal(lot.servers.length, 1)
})

t.test('what a call has left behind cannot speak in the session that has its server', async (t) => {
  const said: Array<Promise<unknown>> = []
  const server = new ToolServer()
  let speak = (): void => {}
  // Bound to the call, as a timer or a promise would be.
  server.mcp.registerTool('leave', {}, async () => {
    const pending = new Promise<void>((resolve) => { speak = resolve })
    said.push(pending.then(() => server.mcp.server.sendLoggingMessage({ level: 'error', data: 'of the first' })))
    return { content: [] }
  })
  const lot = await buildShared(t, { shared: { createServer: () => server.mcp } })
  const url = await lot.listen()
  const first = await openSession(t, url)
  await ask(first, 'leave')
  await end(first, lot)
  const second = await openSession(t, url)
  const stream = await second.get()
  speak()
  await t.rejects(Promise.all(said), /is that of another one by now/)
  await server.say('of nobody in particular')
  await stream.see('of nobody in particular')
  t.notMatch(stream.text, 'of the first')
})

t.test('what a call has left behind changes the list of its server, and ends no session', async (t) => {
  for (const withSdk2 of [false, true]) {
    const servers: Array<ToolServer | ToolServer2> = []
    const later: Array<() => void> = []
    const lot = await buildShared(t, {
      shared: {
        createServer () {
          const server = withSdk2 ? new ToolServer2() : new ToolServer()
          servers.push(server)
          server.addTool('later', () => {
            const bound = new Promise<void>((resolve) => later.push(resolve))
            bound.then(() => {
              server.addTool('grown')
              return server.mcp.close()
            }).catch((error) => t.fail(error))
          })
          return server.mcp
        }
      }
    })
    const url = await lot.listen()
    const first = await openSession(t, url)
    await ask(first, 'later')
    await end(first, lot)
    const second = await openSession(t, url)
    const stream = await second.get()
    later[0]?.()
    await stream.see('tools/list_changed')
    t.match(await ask(second, 'echo', { text: 'alive' }), 'alive')
    t.equal(servers.length, 1)
    await end(second, lot)
    const third = await openSession(t, url)
    await ask(third, 'echo', { text: 'clean' })
    t.equal(servers.length, 2, 'it is not used again')
    await lot.app.close()
  }
})

t.test('a call of a session can have the servers of all speak', async (t) => {
  const lot = await buildShared(t)
  const url = await lot.listen()
  const [first, second] = [await openSession(t, url), await openSession(t, url)]
  const stream = await first.get()
  lot.servers[1]?.mcp.registerTool('broadcast', {}, async () => {
    for (const server of lot.servers) await server.say('to all')
    return { content: [] }
  })
  t.notMatch(await ask(second, 'broadcast'), 'is that of another one')
  await stream.see('to all')
})

t.test('what has kept a call, and lost its context, reaches no call of the next session', async (t) => {
  const events = new EventEmitter()
  const failures: string[] = []
  const { mcp } = new ToolServer()
  mcp.registerTool('keep', {}, async ({ sendNotification }) => {
    events.on('news', () => {
      sendNotification({ method: 'notifications/message', params: { level: 'info', data: 'of the first' } }).catch((error) => failures.push(String(error)))
    })
    return { content: [] }
  })
  const told = createDeferred()
  mcp.registerTool('slow', {}, async () => {
    await told.promise
    return { content: [] }
  })
  const lot = await buildShared(t, { shared: { createServer: () => mcp } })
  const url = await lot.listen()
  const first = await openSession(t, url)
  await ask(first, 'keep')
  await end(first, lot)
  const second = await openSession(t, url)
  // With the id that the call of the first had.
  const running = second.post(call(7, 'slow'))
  await until(() => lot.app.sessionManager.list()[0]?.activeRequests === 1, 'the call is running')
  events.emit('news')
  await turn()
  told.resolve()
  t.notMatch((await (await running).end()).text, 'of the first')
  t.match(failures, [/has been answered or cancelled/])
})

t.test('a session that is ended by what another has left behind gives its server back as any other', async (t) => {
  const later = createDeferred()
  let made = 0
  const lot = await buildShared(t, {
    shared: {
      createServer () {
        made++
        const server = new ToolServer()
        server.addTool('later', () => {
          later.promise.then(() => lot.app.sessionManager.clearAll(), (error) => t.fail(error))
        })
        return server.mcp
      }
    }
  })
  const url = await lot.listen()
  const first = await openSession(t, url)
  await ask(first, 'later')
  await end(first, lot)
  await openSession(t, url)
  later.resolve()
  await until(() => lot.app.sessionManager.getActiveSessionCount() === 0, 'the second is over')
  const third = await openSession(t, url)
  t.match(await ask(third, 'echo', { text: 'three' }), 'three')
  t.equal(made, 1)
})

t.test('a server that closes itself ends its session, and serves no other', async (t) => {
  const lot = await buildShared(t)
  const url = await lot.listen()
  const first = await openSession(t, url)
  t.match(await ask(first, 'end'), 'Session closed')
  t.strictSame(lot.app.sessionManager.list(), [])
  const second = await openSession(t, url)
  t.match(await ask(second, 'echo', { text: 'two' }), 'two')
  t.equal(lot.servers.length, 2)
})

t.test('no more servers are kept than max, and none once the app closes', async (t) => {
  const lot = await buildShared(t, { shared: { reuseServers: 1 } })
  const url = await lot.listen()
  const clients = [await openSession(t, url), await openSession(t, url)]
  t.equal(lot.servers.length, 2)
  for (const client of clients) await end(client, lot)
  await openSession(t, url)
  await openSession(t, url)
  t.equal(lot.servers.length, 3)
  await lot.app.close()
  t.strictSame(lot.servers.map(({ mcp }) => mcp.isConnected()), [false, false, false])
})

t.test('sessions that are parked share servers, and each hears only what is its own', async (t) => {
  mock.timers.enable({ apis: ['Date', 'setInterval'] })
  t.teardown(() => mock.timers.reset())
  const lot = await buildShared(t, { shared: { parkAfter: 1000 } })
  const url = await lot.listen()
  const first = await openSession(t, url, undefined, { sampling: {} })
  const stream = await first.get()
  const park = async (): Promise<void> => {
    mock.timers.tick(1500)
    for (let turns = 0; turns < 9; turns++) await turn()
  }
  await park()
  t.equal(lot.server().closed, 1)
  const second = await openSession(t, url)
  t.match(await ask(second, 'echo', { text: 'second' }), 'second')
  t.equal(lot.servers.length, 1)
  await t.rejects(lot.server().sample(), 'its client takes no questions, whatever the first one takes')
  t.notMatch(stream.text, 'sampling')
  await park()
  t.match(await ask(first, 'echo', { text: 'first' }), 'first')
  t.equal(lot.servers.length, 1)
  lot.server().sample().catch(() => {})
  await stream.see('sampling/createMessage')
})

t.test('a createServer that asks for its session is told why there is none', async (t) => {
  const asking = ['session', 'request', 'restored', 'authInfo']
  for (const name of asking) {
    const lot = await buildShared(t, { shared: { createServer: (context) => Object(Reflect.get(context, name)) } })
    const client = new HttpClient(t, await lot.listen())
    const answer = await (await client.post(initialize())).end()
    t.equal(answer.status, 500)
    t.match(answer.text, 'FST_ERR_MCP_SESSION_SHARED_SERVER')
    t.strictSame(lot.app.sessionManager.list(), [])
  }
})

t.test('without sessions, servers go from request to request, but for those that know their client', async (t) => {
  const lot = await buildShared(t, { sessions: { enabled: false } })
  const client = new HttpClient(t, await lot.listen())
  const opened = await (await client.post(initialize(1, undefined, { sampling: {} }))).end()
  t.equal(opened.status, 200)
  await until(() => lot.servers[0]?.closed === 1, 'its server is closed')
  for (const text of ['one', 'two', 'three']) {
    t.match(await ask(client, 'echo', { text }), text)
    await until(() => lot.servers.every(({ mcp }) => !mcp.isConnected()), 'its server is closed')
    await turn()
  }
  t.equal(lot.servers.length, 2)
  t.equal(lot.server().mcp.server.getClientCapabilities(), undefined)
})
