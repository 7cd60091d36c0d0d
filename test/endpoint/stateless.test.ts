// With `enabled: false` the endpoint keeps no sessions: a server for each request.
import type { FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import { listen } from '../helpers/apps/app.js'
import { createDeferred } from '../helpers/waiting/deferred.js'
import {
  ACCEPT_BOTH, INITIALIZE, parseEvents, parseMessage, post, rejection, rpc, stageEndpoint, type Stage, type StageOptions
} from '../helpers/apps/endpoint-stage.js'
import { connectRaw } from '../helpers/clients/raw-client.js'
import { until } from '../helpers/waiting/until.js'

async function stageStateless (t: Test, options: StageOptions = {}): Promise<Stage> {
  return stageEndpoint(t, { ...options, sessions: { enabled: false, ...options.sessions } })
}

async function serversClose (t: Test, { servers, ends, app }: Stage): Promise<void> {
  await until(() => servers.every(({ closed }) => closed > 0), 'all servers are closed')
  t.strictSame(servers.map(({ closed }) => closed), servers.map(() => 1))
  t.ok(servers.every((server) => !server.isConnected()))
  t.equal(app.sessionManager.getActiveSessionCount(), 0)
  t.strictSame(ends, [])
}

for (const responseMode of ['auto', 'json', 'sse'] as const) {
  t.test(`each request gets a server, which is closed after it, with responseMode ${responseMode}`, async (t) => {
    const stage = await stageStateless(t, { endpoint: { responseMode } })
    const initialized = await post(stage.app, INITIALIZE)
    t.equal(initialized.statusCode, 200)
    t.match(parseMessage(initialized), { result: { serverInfo: { name: 'counted' } } })
    t.equal(initialized.headers['mcp-session-id'], undefined)
    const called = await post(stage.app, rpc('tools/call', { name: 'echo' }))
    t.match(parseMessage(called), { result: { content: [{ text: 'hello' }] } })
    t.match(called.headers['content-type'], responseMode === 'sse' ? 'text/event-stream' : 'application/json')
    t.equal((await post(stage.app, { jsonrpc: '2.0', method: 'notifications/initialized' })).statusCode, 202)
    t.equal(stage.servers.length, 3)
    await serversClose(t, stage)
  })
}

t.test('createServer gets a session that is in no list', async (t) => {
  const { app, contexts } = await stageStateless(t, { sessions: { identify: async ({ headers }) => headers['x-user']?.toString() } })
  await post(app, rpc('ping'), { headers: { 'x-user': 'ada' } })
  await post(app, rpc('ping'))
  const [first, second] = contexts
  t.match(first, { restored: false, session: { principal: 'ada', activeRequests: 0 }, request: { url: '/mcp' } })
  t.equal(second?.session.principal, undefined)
  t.not(first?.session.id, second?.session.id)
  t.equal(app.sessionManager.get(first?.session.id ?? ''), undefined)
  t.strictSame(app.sessionManager.list(), [])
  t.equal(first?.request.mcpSession, null)
})

t.test('a session id that is sent means nothing', async (t) => {
  const stage = await stageStateless(t)
  for (const id of ['unknown', 'not one id', '__proto__']) {
    t.equal((await post(stage.app, rpc('ping'), { headers: { 'mcp-session-id': id } })).statusCode, 200)
  }
  const own = stage.app.sessionManager.create()
  t.equal((await post(stage.app, rpc('ping'), { headers: { 'mcp-session-id': own } })).statusCode, 200)
})

for (const method of ['GET', 'DELETE'] as const) {
  t.test(`${method} is 405, and says what is allowed`, async (t) => {
    const stage = await stageStateless(t)
    for (const headers of [{}, { accept: 'text/event-stream' }, { 'mcp-session-id': 'x' }]) {
      const response = await stage.app.inject({ method, url: '/mcp', headers })
      t.equal(response.statusCode, 405)
      t.equal(response.headers.allow, 'POST')
      t.strictSame(response.json(), rejection(-32000, 'Method not allowed'))
    }
    t.equal(stage.servers.length, 0)
  })
}

for (const [name, body, headers, status, code] of [
  ['an empty body', '', {}, 400, -32700],
  ['null', 'null', {}, 400, -32700],
  ['broken JSON', '{', {}, 400, -32700],
  ['no JSON-RPC', '{}', {}, 400, -32600],
  ['the wrong content type', '{}', { 'content-type': 'text/plain' }, 415, -32000],
  ['an Accept of something else', JSON.stringify(rpc('ping')), { accept: 'text/html' }, 406, -32000],
  ['a revision that is not known', JSON.stringify(rpc('ping')), { 'mcp-protocol-version': '2001-01-01' }, 400, -32000]
] as const) {
  t.test(`${status} for ${name}, and no server stays open`, async (t) => {
    const stage = await stageStateless(t)
    const response = await post(stage.app, body, { headers })
    t.equal(response.statusCode, status)
    t.match(response.json(), { jsonrpc: '2.0', error: { code }, id: null })
    await serversClose(t, stage)
  })
}

t.test('a body of no type at all is a parse error', async (t) => {
  const { app, servers } = await stageStateless(t)
  const response = await app.inject({ method: 'POST', url: '/mcp', headers: { accept: ACCEPT_BOTH } })
  t.equal(response.statusCode, 400)
  t.strictSame(response.json(), rejection(-32700, 'Parse error: the body is empty'))
  t.equal(servers.length, 0)
})

t.test('a server that cannot be closed is logged', async (t) => {
  const { app, log } = await stageStateless(t, { equip (server) { server.close = async () => { throw new Error('it will not close') } } })
  t.equal((await post(app, rpc('ping'))).statusCode, 200)
  await until(() => log.some((line) => line.includes('Closing the MCP server failed')), 'the failure is logged')
})

for (const responseMode of ['auto', 'json', 'sse'] as const) {
  for (const cancelOnDisconnect of [false, true]) {
    t.test(`a client goes during its call, with responseMode ${responseMode} and cancelOnDisconnect ${cancelOnDisconnect}`, async (t) => {
      const called = createDeferred<AbortSignal>()
      const finish = createDeferred()
      const gone = createDeferred()
      const stage = await stageStateless(t, {
        endpoint: { responseMode, cancelOnDisconnect },
        before (app) { app.addHook('onRequest', async ({ raw }) => { raw.socket.once('close', () => gone.resolve()) }) },
        equip (server) {
          server.registerTool('wait', {}, async ({ signal }) => {
            called.resolve(signal)
            await finish.promise
            return { content: [] }
          })
        }
      })
      const client = await connectRaw(t, await listen(stage.app))
      client.send(...lines(rpc('tools/call', { name: 'wait' })))
      const signal = await called.promise
      client.vanish()
      await gone.promise
      for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate)
      t.equal(signal.aborted, cancelOnDisconnect)
      t.equal(stage.servers[0]?.closed, cancelOnDisconnect ? 1 : 0, 'its server lives as long as it does')
      finish.resolve()
      await serversClose(t, stage)
    })
  }
}

for (const isThere of [true, false]) {
  t.test(`close() ends what is still running after drainTimeout, for a client that is ${isThere ? 'there' : 'gone'}`, async (t) => {
    const called = createDeferred<AbortSignal>()
    const stage = await stageStateless(t, {
      sessions: { drainTimeout: 10 },
      equip (server) {
        server.registerTool('wait', {}, ({ signal }) => new Promise(() => called.resolve(signal)))
      }
    })
    const client = await connectRaw(t, await listen(stage.app))
    client.send(...lines(rpc('tools/call', { name: 'wait' })))
    const signal = await called.promise
    if (!isThere) client.vanish()
    await stage.app.close()
    if (isThere) await client.see('"Session closed"')
    t.ok(signal.aborted)
    await serversClose(t, stage)
  })
}

t.test('what a tool says comes before its answer, and it cannot ask the client', async (t) => {
  for (const responseMode of ['auto', 'json', 'sse'] as const) {
    const stage = await stageStateless(t, {
      endpoint: { responseMode },
      equip (server) {
        server.server.registerCapabilities({ logging: {} })
        server.registerTool('say', {}, async ({ sendNotification }) => {
          await sendNotification({ method: 'notifications/message', params: { level: 'info', data: 'on the way' } })
          return { content: [] }
        })
      }
    })
    const response = await post(stage.app, rpc('tools/call', { name: 'say' }))
    if (responseMode === 'json') t.match(response.json(), { id: 1, result: {} })
    else t.match(parseEvents(response.body), [{ params: { data: 'on the way' } }, { id: 1, result: {} }])
    await serversClose(t, stage)
  }
})

t.test('nothing is called for a client that goes while its server is made', async (t) => {
  const making = createDeferred<FastifyRequest>()
  const finish = createDeferred()
  const failed = createDeferred<Error>()
  let called = false
  const stage: Stage = await stageStateless(t, {
    before (app) { app.addHook('onError', async (_request, _reply, error) => failed.resolve(error)) },
    equip (server) {
      server.registerTool('call', {}, () => {
        called = true
        return { content: [] }
      })
    },
    endpoint: {
      async createServer (context) {
        making.resolve(context.request)
        await finish.promise
        return stage.createServer(context)
      }
    }
  })
  const client = await connectRaw(t, await listen(stage.app))
  client.send(...lines(rpc('tools/call', { name: 'call' })))
  const { raw } = await making.promise
  client.vanish()
  await until(() => raw.socket.destroyed, 'the client has gone')
  finish.resolve()
  t.match(await failed.promise, { message: 'Invalid Request: the client has gone' })
  await serversClose(t, stage)
  t.notOk(called)
})

t.test('many at once do not get in each other\'s way', async (t) => {
  const stage = await stageStateless(t)
  const responses = await Promise.all(Array.from({ length: 50 }, (_, index) => post(stage.app, rpc('tools/call', { name: 'echo' }, index))))
  for (const [index, response] of responses.entries()) t.match(parseMessage(response), { id: index, result: {} })
  t.equal(stage.servers.length, 50)
  await serversClose(t, stage)
})

t.test('the guard against rebinding is there without sessions, too', async (t) => {
  const { app, servers } = await stageStateless(t, { endpoint: { allowedHosts: ['mcp.example'] } })
  t.equal((await post(app, rpc('ping'), { headers: { host: 'evil.example' } })).statusCode, 403)
  t.equal(servers.length, 0)
})

function lines (message: object): string[] {
  const body = JSON.stringify(message)
  return [
    'POST /mcp HTTP/1.1', 'host: 127.0.0.1', `accept: ${ACCEPT_BOTH}`, 'content-type: application/json', `content-length: ${body.length}`, '', body
  ]
}
