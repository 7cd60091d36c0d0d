// Only a well-formed initialize opens a session, and one that comes to nothing leaves nothing behind.
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { LATEST_PROTOCOL_VERSION } from '@modelcontextprotocol/sdk/types.js'
import type { FastifyRequest } from 'fastify'
import { request as httpRequest } from 'node:http'
import t, { type Test } from 'tap'
import { mcpEndpoint } from '../../index.js'
import type { CreateServer } from '../../lib/endpoint/options.js'
import { listen } from '../helpers/apps/app.js'
import { createDeferred } from '../helpers/waiting/deferred.js'
import {
  ACCEPT_BOTH, callTool, CountedServer, INITIALIZE, INITIALIZE_PARAMS, open, parseMessage, post, rejection, rpc, stageEndpoint, type Stage
} from '../helpers/apps/endpoint-stage.js'
import { HttpClient } from '../helpers/clients/http-client.js'
import { connectRaw } from '../helpers/clients/raw-client.js'
import { until } from '../helpers/waiting/until.js'

/** No session has ever been there, and no server has been made. */
function nothingWasMade (t: Test, { app, servers, ends }: Stage): void {
  t.equal(app.sessionManager.getActiveSessionCount(), 0)
  t.strictSame(ends, [])
  t.equal(servers.length, 0)
}

/** The session has gone again, and each server has been closed once. */
async function nothingIsLeft (t: Test, { app, servers }: Stage): Promise<void> {
  await until(() => servers.every(({ closed }) => closed > 0), 'all servers are closed')
  t.equal(app.sessionManager.getActiveSessionCount(), 0)
  t.strictSame(servers.map(({ closed }) => closed), servers.map(() => 1))
  t.ok(servers.every((server) => !server.isConnected()))
}

t.test('a well-formed initialize opens a session', async (t) => {
  const { app, servers, contexts } = await stageEndpoint(t)
  const response = await post(app, INITIALIZE)
  t.equal(response.statusCode, 200)
  t.match(parseMessage(response), { id: 1, result: { protocolVersion: '2025-11-25', serverInfo: { name: 'counted' } } })
  const id = String(response.headers['mcp-session-id'])
  t.equal(app.sessionManager.getActiveSessionCount(), 1)
  const session = app.sessionManager.get(id)
  t.match(session, {
    clientInfo: { name: 'test client', version: '1.2.3' },
    protocolVersion: '2025-11-25',
    principal: undefined,
    activeRequests: 0
  })
  t.equal(servers.length, 1)
  t.equal(contexts[0]?.session, session)
  t.equal(contexts[0]?.request.mcpSession, session)
  t.equal(contexts[0]?.request.url, '/mcp')
  t.equal(contexts[0]?.restored, false)
  t.match(parseMessage(await callTool(app, id, 'echo')), { id: 7, result: { content: [{ text: 'hello' }] } })
})

t.test('createServer may be async', async (t) => {
  const stage = await stageEndpoint(t, {
    endpoint: {
      async createServer (context) {
        await new Promise(setImmediate)
        return stage.createServer(context)
      }
    }
  })
  const id = await open(stage.app)
  t.match(parseMessage(await callTool(stage.app, id, 'echo')), { result: { content: [{ text: 'hello' }] } })
  t.equal(stage.contexts[0]?.restored, false)
})

t.test('the low-level Server does as well as McpServer', async (t) => {
  const { app } = await stageEndpoint(t, {
    endpoint: { createServer: () => new McpServer({ name: 'low', version: '1' }).server }
  })
  t.match(parseMessage(await post(app, INITIALIZE)), { result: { serverInfo: { name: 'low' } } })
})

t.test('only name and version of what a client says of itself are kept', async (t) => {
  const { app } = await stageEndpoint(t)
  const clientInfo = { name: 'x', version: '1', title: 'X', websiteUrl: 'https://example.com', icons: [], more: 'y'.repeat(1000) }
  const { headers } = await post(app, rpc('initialize', { ...INITIALIZE_PARAMS, clientInfo }))
  t.strictSame(app.sessionManager.get(String(headers['mcp-session-id']))?.clientInfo, { name: 'x', version: '1' })
})

for (const revision of ['2025-11-25', '2025-06-18', '2025-03-26']) {
  t.test(`revision ${revision} is agreed to, and kept with the session`, async (t) => {
    const { app } = await stageEndpoint(t)
    const response = await post(app, rpc('initialize', { ...INITIALIZE_PARAMS, protocolVersion: revision }))
    t.match(parseMessage(response), { result: { protocolVersion: revision } })
    t.equal(app.sessionManager.get(String(response.headers['mcp-session-id']))?.protocolVersion, revision)
  })
}

for (const revision of ['2099-01-01', '1.0', '', '__proto__']) {
  t.test(`for the unknown revision ${JSON.stringify(revision)} the latest is offered, and kept with the session`, async (t) => {
    const { app } = await stageEndpoint(t)
    const response = await post(app, rpc('initialize', { ...INITIALIZE_PARAMS, protocolVersion: revision }))
    t.match(parseMessage(response), { result: { protocolVersion: LATEST_PROTOCOL_VERSION } })
    t.equal(app.sessionManager.get(String(response.headers['mcp-session-id']))?.protocolVersion, LATEST_PROTOCOL_VERSION)
  })
}

for (const accept of ['', 'text/html', 'application/json;q=0', 'application/*;q=0, */*;q=0.0', 'text/event-streams, json']) {
  t.test(`406 for initialize that accepts ${JSON.stringify(accept)}`, async (t) => {
    const stage = await stageEndpoint(t)
    const response = await post(stage.app, INITIALIZE, { headers: { accept } })
    t.equal(response.statusCode, 406)
    t.strictSame(response.json(), rejection(-32000, 'Not Acceptable: the client must accept application/json or text/event-stream'))
    nothingWasMade(t, stage)
  })
}

for (const contentType of ['text/plain', 'application/xml', 'application/x-www-form-urlencoded', 'application/jsonx', 'application/json/x', 'json', '']) {
  t.test(`415 for a body of type ${JSON.stringify(contentType)}`, async (t) => {
    const stage = await stageEndpoint(t)
    const response = await post(stage.app, INITIALIZE, { headers: { 'content-type': contentType } })
    t.equal(response.statusCode, 415)
    t.match(response.json(), { jsonrpc: '2.0', error: { code: -32000, message: /media type/i }, id: null })
    nothingWasMade(t, stage)
  })
}

for (const contentType of ['application/json; charset=utf-8', 'Application/JSON', 'application/json;charset=UTF-8']) {
  t.test(`a body of type ${contentType} is read`, async (t) => {
    const { app } = await stageEndpoint(t)
    t.equal((await post(app, INITIALIZE, { headers: { 'content-type': contentType } })).statusCode, 200)
  })
}

const FORBIDDEN_KEY = 'Parse error: the body has a key that is not allowed, __proto__ or constructor.prototype'

for (const [name, body, message] of [
  ['an empty body', '', 'Parse error: the body is empty'],
  ['null', 'null', 'Parse error: the body is empty'],
  ['broken JSON', '{"jsonrpc":', 'Parse error: the body is not JSON'],
  ['white space', '  ', 'Parse error: the body is not JSON'],
  ['a prototype in disguise', `{"__proto__":{"x":1},${JSON.stringify(INITIALIZE).slice(1)}`, FORBIDDEN_KEY],
  ['a constructor in disguise', `{"constructor":{"prototype":{}},${JSON.stringify(INITIALIZE).slice(1)}`, FORBIDDEN_KEY]
] as const) {
  t.test(`400 and -32700 for ${name}`, async (t) => {
    const stage = await stageEndpoint(t)
    const response = await post(stage.app, body)
    t.equal(response.statusCode, 400)
    t.strictSame(response.json(), rejection(-32700, message))
    nothingWasMade(t, stage)
  })
}

t.test('400 and -32700 for no body and no content type', async (t) => {
  const stage = await stageEndpoint(t)
  const response = await stage.app.inject({ method: 'POST', url: '/mcp', headers: { accept: ACCEPT_BOTH } })
  t.equal(response.statusCode, 400)
  t.strictSame(response.json(), rejection(-32700, 'Parse error: the body is empty'))
  nothingWasMade(t, stage)
})

const needs = 'initialize needs an id, protocolVersion, capabilities and clientInfo'
const { protocolVersion, capabilities, clientInfo } = INITIALIZE_PARAMS

for (const [name, body, message] of [
  ['a number', 42, 'not a JSON-RPC message'],
  ['a string', '"initialize"', 'not a JSON-RPC message'],
  ['true', true, 'not a JSON-RPC message'],
  ['an empty object', {}, 'jsonrpc must be "2.0"'],
  ['an empty batch', [], 'the batch is empty'],
  ['JSON-RPC 1.0', { ...rpc('tools/list'), jsonrpc: '1.0' }, 'jsonrpc must be "2.0"'],
  ['no jsonrpc', { id: 1, method: 'tools/list' }, 'jsonrpc must be "2.0"'],
  ['a method that is no string', { jsonrpc: '2.0', id: 1, method: 1 }, 'method must be a string'],
  ['a batch with one bad message', [rpc('tools/list'), null], 'message 2 of the batch: not a JSON-RPC message'],
  ['a batch with an initialize', [INITIALIZE], 'initialize must be sent on its own'],
  ['a batch with an initialize and more', [rpc('ping'), INITIALIZE], 'initialize must be sent on its own'],
  ['initialize without params', { jsonrpc: '2.0', id: 1, method: 'initialize' }, needs],
  ['initialize with empty params', rpc('initialize'), needs],
  ['initialize without protocolVersion', rpc('initialize', { capabilities, clientInfo }), needs],
  ['initialize without capabilities', rpc('initialize', { protocolVersion, clientInfo }), needs],
  ['initialize without clientInfo', rpc('initialize', { protocolVersion, capabilities }), needs],
  ['initialize with half a clientInfo', rpc('initialize', { ...INITIALIZE_PARAMS, clientInfo: { name: 'x' } }), needs],
  ['initialize of JSON-RPC 1.0', { ...INITIALIZE, jsonrpc: '1.0' }, needs],
  ['initialize without jsonrpc', { id: 1, method: 'initialize', params: INITIALIZE_PARAMS }, needs],
  ['initialize without an id, a notification', { jsonrpc: '2.0', method: 'initialize', params: INITIALIZE_PARAMS }, needs],
  ['initialize with the id null', { ...INITIALIZE, id: null }, needs],
  ['initialize with an id that is an object', { ...INITIALIZE, id: {} }, needs]
] as const) {
  t.test(`400 and -32600 for ${name}`, async (t) => {
    const stage = await stageEndpoint(t)
    const response = await post(stage.app, body)
    t.equal(response.statusCode, 400)
    t.strictSame(response.json(), rejection(-32600, `Invalid Request: ${message}`))
    nothingWasMade(t, stage)
  })
}

for (const [name, body] of [
  ['a call', rpc('tools/list')],
  ['a notification', { jsonrpc: '2.0', method: 'notifications/initialized' }],
  ['a response', { jsonrpc: '2.0', id: 1, result: {} }],
  ['a batch of calls', [rpc('tools/list'), rpc('ping', {}, 2)]]
] as const) {
  t.test(`400 for ${name} without a session`, async (t) => {
    const stage = await stageEndpoint(t)
    const response = await post(stage.app, body)
    t.equal(response.statusCode, 400)
    t.strictSame(response.json(), rejection(-32000, 'Bad Request: Mcp-Session-Id header is required'))
    nothingWasMade(t, stage)
  })
}

t.test('413 for a body past the limit of the app', async (t) => {
  const stage = await stageEndpoint(t, { server: { bodyLimit: 1000 } })
  const response = await post(stage.app, rpc('initialize', { ...INITIALIZE_PARAMS, padding: 'x'.repeat(1000) }))
  t.equal(response.statusCode, 413)
  t.match(response.json(), { jsonrpc: '2.0', error: { code: -32000, message: /too large/ }, id: null })
  nothingWasMade(t, stage)
})

t.test('413 for a huge body that comes without a length', async (t) => {
  const stage = await stageEndpoint(t)
  const port = await listen(stage.app)
  const request = httpRequest({
    port, host: '127.0.0.1', method: 'POST', path: '/mcp', headers: { accept: ACCEPT_BOTH, 'content-type': 'application/json' }
  })
  const status = new Promise((resolve) => { request.on('response', ({ statusCode }) => resolve(statusCode)) })
  request.on('error', () => {})
  const chunk = Buffer.alloc(64 * 1024, ' ')
  for (let sent = 0; sent <= 2 * 1024 * 1024; sent += chunk.length) request.write(chunk)
  t.equal(await status, 413)
  request.destroy()
  nothingWasMade(t, stage)
})

t.test('400 for an initialize that is larger than maxSetup, in bytes, with a cluster or without', async (t) => {
  const clientInfo = (length: number): object => ({ name: 'é'.repeat(length), version: '1' })
  const stage = await stageEndpoint(t, { endpoint: { maxSetup: 1000 } })
  const response = await post(stage.app, rpc('initialize', { ...INITIALIZE_PARAMS, clientInfo: clientInfo(500) }))
  t.equal(response.statusCode, 400)
  t.strictSame(response.json(), rejection(-32600, 'Invalid Request: initialize must not be larger than 1000 bytes'))
  nothingWasMade(t, stage)
  t.equal((await post(stage.app, rpc('initialize', { ...INITIALIZE_PARAMS, clientInfo: clientInfo(400) }))).statusCode, 200)
  const { app } = await stageEndpoint(t)
  t.equal((await post(app, rpc('initialize', { ...INITIALIZE_PARAMS, clientInfo: clientInfo(33_000) }))).statusCode, 400, 'the default is 64 KiB')
  t.equal((await post(app, rpc('initialize', { ...INITIALIZE_PARAMS, clientInfo: clientInfo(32_000) }))).statusCode, 200)
})

t.test('initialize with the id of a live session is refused, and the session lives on', async (t) => {
  const { app, servers } = await stageEndpoint(t)
  const id = await open(app)
  const response = await post(app, INITIALIZE, { headers: { 'mcp-session-id': id } })
  t.equal(response.statusCode, 400)
  t.match(response.json(), { error: { code: -32600, message: 'Invalid Request: Server already initialized' }, id: null })
  t.equal(servers.length, 1)
  t.match(parseMessage(await callTool(app, id, 'echo')), { result: { content: [{ text: 'hello' }] } })
})

t.test('initialize with the id of no session is 404, so that the client starts over', async (t) => {
  const stage = await stageEndpoint(t)
  const response = await post(stage.app, INITIALIZE, { headers: { 'mcp-session-id': 'made-up-by-the-client' } })
  t.equal(response.statusCode, 404)
  t.strictSame(response.json(), rejection(-32001, 'Session not found (HTTP 404)'))
  nothingWasMade(t, stage)
})

t.test('initialize twice without an id makes two sessions', async (t) => {
  const { app, servers } = await stageEndpoint(t)
  t.not(await open(app), await open(app))
  t.equal(servers.length, 2)
  t.equal(app.sessionManager.getActiveSessionCount(), 2)
})

class UnconnectedServer extends CountedServer {
  override async connect (): Promise<void> {
    throw new Error('no connection today')
  }
}

const failing: Record<string, [CreateServer, RegExp]> = {
  'that throws': [() => { throw new Error('no server today') }, /no server today/],
  'that rejects': [async () => { throw new Error('no server today') }, /no server today/],
  'that throws undefined': [() => { throw undefined }, /undefined/], // eslint-disable-line no-throw-literal
  'that rejects with a string': [async () => { throw 'no server today' }, /no server today/] // eslint-disable-line no-throw-literal
}

for (const [json, shown] of [['null', 'null'], ['{}', 'object'], ['"server"', 'string'], ['{"connect":1,"close":2}', 'object']] as const) {
  failing[`that returns ${json}`] = [() => JSON.parse(json), new RegExp(`"createServer" must return a new MCP server each time, got ${shown}`)]
  failing[`that resolves to ${json}`] = [async () => JSON.parse(json), new RegExp(`"createServer" must return a new MCP server each time, got ${shown}`)]
}

for (const method of ['connect', 'close']) {
  const half = JSON.parse('{}')
  failing[`that returns an object with no method but ${method}`] =
    [() => Object.assign(half, { [method]: async () => {} }), /"createServer" must return a new MCP server each time, got object/]
}

for (const enabled of [true, false]) {
  for (const [name, [createServer, message]] of Object.entries(failing)) {
    t.test(`500 for a createServer ${name}, with sessions ${enabled}`, async (t) => {
      const stage = await stageEndpoint(t, { sessions: { enabled }, endpoint: { createServer } })
      const response = await post(stage.app, INITIALIZE)
      t.equal(response.statusCode, 500)
      t.match(response.json().message, message)
      t.equal(response.headers['mcp-session-id'], undefined)
      t.strictSame(stage.ends, enabled ? ['deleted'] : [])
      t.equal(stage.app.sessionManager.getActiveSessionCount(), 0)
    })
  }

  t.test(`500 for a server that cannot be connected, which is closed, with sessions ${enabled}`, async (t) => {
    const stage = await stageEndpoint(t, {
      sessions: { enabled },
      endpoint: {
        createServer () {
          const server = new UnconnectedServer()
          stage.servers.push(server)
          return server
        }
      }
    })
    const response = await post(stage.app, INITIALIZE)
    t.equal(response.statusCode, 500)
    t.match(response.json().message, /no connection today/)
    await nothingIsLeft(t, stage)
  })
}

t.test('what createServer throws goes to the error handler of the app, status and all', async (t) => {
  const { app } = await stageEndpoint(t, {
    before (app) { app.setErrorHandler((error, _request, reply) => reply.code(418).send({ mine: String(error) })) },
    endpoint: { createServer: () => { throw new Error('no server today') } }
  })
  const response = await post(app, INITIALIZE)
  t.equal(response.statusCode, 418)
  t.strictSame(response.json(), { mine: 'Error: no server today' })
})

t.test('no session is left even if the error handler of the app says that all is well', async (t) => {
  const stage = await stageEndpoint(t, {
    before (app) { app.setErrorHandler(() => 'all is well') },
    endpoint: { createServer: () => { throw new Error('no server today') } }
  })
  t.equal((await post(stage.app, INITIALIZE)).statusCode, 200)
  await nothingIsLeft(t, stage)
})

for (const enabled of [true, false]) {
  t.test(`a server serves one session and no other, with sessions ${enabled}`, async (t) => {
    const server = new CountedServer()
    const { app } = await stageEndpoint(t, { sessions: { enabled }, endpoint: { createServer: () => server } })
    const { statusCode, headers } = await post(app, INITIALIZE)
    t.equal(statusCode, 200)
    const second = await post(app, INITIALIZE)
    t.equal(second.statusCode, 500)
    t.equal(second.json().message, 'Option "createServer" must return a new MCP server each time, got one that it has returned before')
    if (!enabled) return
    t.equal(app.sessionManager.getActiveSessionCount(), 1, 'the first session lives on')
    t.match(parseMessage(await callTool(app, String(headers['mcp-session-id']), 'echo')), { result: { content: [{ text: 'hello' }] } })
  })
}

t.test('a server that is connected already is refused, and stays connected', async (t) => {
  for (const server of [new CountedServer(), new CountedServer().server]) {
    const { app } = await stageEndpoint(t, { endpoint: { createServer: () => server, path: '/one' } })
    await app.register(mcpEndpoint, { createServer: () => server, path: '/two' })
    const id = await open(app, { url: '/one' })
    const second = await post(app, INITIALIZE, { url: '/two' })
    t.equal(second.statusCode, 500)
    t.equal(second.json().message, 'Option "createServer" must return a new MCP server each time, got one that is connected already')
    t.equal((await post(app, rpc('ping'), { url: '/one', headers: { 'mcp-session-id': id } })).statusCode, 200, 'the first session lives on')
  }
})

t.test('503 while the app closes for an initialize whose createServer does not return', async (t) => {
  const making = createDeferred()
  const stage = await stageEndpoint(t, {
    endpoint: {
      createServer () {
        making.resolve()
        return new Promise(() => {})
      }
    }
  })
  const response = post(stage.app, INITIALIZE)
  await making.promise
  await stage.app.close()
  t.equal((await response).statusCode, 503)
  t.equal((await response).json().error.data.code, 'FST_ERR_MCP_SESSION_SHUTTING_DOWN')
})

t.test('what createServer fails with is in the log, too, when its session has ended meanwhile', async (t) => {
  const failing = createDeferred()
  const { app, log } = await stageEndpoint(t, {
    endpoint: {
      async createServer ({ session }) {
        app.sessionManager.cleanup(session.id)
        await failing.promise
        throw new Error('no server today')
      }
    }
  })
  t.equal((await post(app, INITIALIZE)).statusCode, 404)
  failing.resolve()
  await until(() => log.some((line) => line.includes('no server today')), 'the failure is logged')
})

t.test('400 for an initialize that is nested too deeply to be written', async (t) => {
  const stage = await stageEndpoint(t)
  const nested = (levels: number): string => JSON.stringify(INITIALIZE).replace('"capabilities":{}', `"capabilities":${'{"a":'.repeat(levels)}1${'}'.repeat(levels)}`)
  for (const levels of [100, 10_000, 100_000]) {
    const response = await post(stage.app, nested(levels))
    t.equal(response.statusCode, 400)
    t.strictSame(response.json(), rejection(-32600, 'Invalid Request: initialize must not be nested deeper than 100 levels'))
  }
  nothingWasMade(t, stage)
  t.equal((await post(stage.app, nested(99))).statusCode, 200)
})

t.test('404 when a listener of "created" closes the session, and no server is made', async (t) => {
  const stage = await stageEndpoint(t)
  stage.app.sessionManager.on('created', ({ id }) => stage.app.sessionManager.cleanup(id))
  const response = await post(stage.app, INITIALIZE)
  t.equal(response.statusCode, 404)
  t.strictSame(response.json(), rejection(-32001, 'Session not found (HTTP 404)'))
  t.equal(stage.servers.length, 0)
  t.strictSame(stage.ends, ['deleted'])
})

for (const [name, end] of Object.entries({
  'cleaned up': ({ app }: Stage, id: string): unknown => app.sessionManager.cleanup(id),
  cleared: ({ app }: Stage): unknown => app.sessionManager.clearAll(),
  replaced: ({ app }: Stage, id: string): unknown => app.sessionManager.register(id)
})) {
  t.test(`404 at once for a session that is ${name} while createServer runs; its server is closed, not connected`, async (t) => {
    const answered = createDeferred()
    const made = createDeferred()
    const stage = await stageEndpoint(t, {
      endpoint: {
        async createServer (context) {
          end(stage, context.session.id)
          await answered.promise
          made.resolve()
          return stage.createServer(context)
        }
      }
    })
    const response = await post(stage.app, INITIALIZE)
    t.equal(response.statusCode, 404)
    t.strictSame(response.json(), rejection(-32001, 'Session not found (HTTP 404)'))
    t.equal(response.headers['mcp-session-id'], undefined)
    t.equal(stage.ends.length, 1)
    answered.resolve()
    await made.promise
    stage.app.sessionManager.clearAll()
    await until(() => stage.servers.length === 1, 'the server is made all the same')
    await nothingIsLeft(t, stage)
  })
}

t.test('a server that cannot be closed either does not change the answer', async (t) => {
  const { app, log } = await stageEndpoint(t, {
    endpoint: {
      async createServer ({ session }) {
        app.sessionManager.cleanup(session.id)
        const server = new CountedServer()
        server.close = async () => { throw new Error('it will not close') }
        return server
      }
    }
  })
  const response = await post(app, INITIALIZE)
  t.equal(response.statusCode, 404)
  t.ok(log.some((line) => line.includes('it will not close')))
})

t.test('a session that is cleaned up while its server connects is answered, and its server closed', async (t) => {
  class ClosingServer extends CountedServer {
    override async connect (...args: Parameters<CountedServer['connect']>): Promise<void> {
      stage.app.sessionManager.clearAll()
      await super.connect(...args)
    }
  }
  const stage = await stageEndpoint(t, {
    endpoint: {
      createServer () {
        const server = new ClosingServer()
        stage.servers.push(server)
        return server
      }
    }
  })
  const response = await post(stage.app, INITIALIZE)
  t.equal(response.statusCode, 404)
  t.match(response.json(), { error: { code: -32001 } })
  await nothingIsLeft(t, stage)
})

t.test('a session whose client was told no is not kept: a hook of the app failed', async (t) => {
  const stage = await stageEndpoint(t, {
    before (app) {
      app.addHook('onSend', async (_request, reply) => {
        if (reply.statusCode === 200) throw new Error('the app cannot send this')
      })
    }
  })
  const response = await post(stage.app, INITIALIZE)
  t.equal(response.statusCode, 500)
  await nothingIsLeft(t, stage)
  t.strictSame(stage.ends, ['deleted'])
})

for (const responseMode of ['auto', 'sse', 'json'] as const) {
  for (const session of ['no', 'a live', 'an unknown'] as const) {
    t.test(`an initialize that fails has no header of one that does not, with ${session} session in the request and responseMode ${responseMode}`, async (t) => {
      let isBroken = false
      const stage = await stageEndpoint(t, {
        endpoint: { responseMode },
        before (app) {
          app.addHook('onRequest', async (_request, reply) => { reply.header('x-app', 'kept') })
          app.addHook('onSend', async (_request, reply) => {
            if (isBroken && reply.statusCode === 200) throw new Error('the app cannot send this')
          })
        }
      })
      const url = new URL(`http://127.0.0.1:${await listen(stage.app)}/mcp`)
      const client = new HttpClient(t, url)
      if (session === 'a live') await client.open()
      if (session === 'an unknown') client.sessionId = 'made-up'
      isBroken = true
      const sessions = stage.app.sessionManager.getActiveSessionCount()
      const answer = await (await client.post(INITIALIZE)).end()
      t.equal(answer.status, { no: 500, 'a live': 400, 'an unknown': 404 }[session])
      t.equal(answer.headers['content-type'], 'application/json; charset=utf-8')
      for (const name of ['mcp-session-id', 'cache-control', 'x-accel-buffering']) t.equal(answer.headers[name], undefined, name)
      t.equal(answer.headers['x-app'], 'kept')
      await until(() => stage.app.sessionManager.getActiveSessionCount() === sessions, 'no session is left of it')
    })
  }
}

t.test('a hook that answers before the handler keeps the session from being made', async (t) => {
  const stage = await stageEndpoint(t, {
    before (app) { app.addHook('preHandler', async (_request, reply) => reply.code(429).send('slow down')) }
  })
  t.equal((await post(stage.app, INITIALIZE)).statusCode, 429)
  nothingWasMade(t, stage)
})

t.test('nothing is left of a client that goes while its server is made', async (t) => {
  const making = createDeferred()
  const finish = createDeferred()
  const stage = await stageEndpoint(t, {
    endpoint: {
      async createServer (context) {
        making.resolve()
        await finish.promise
        return stage.createServer(context)
      }
    }
  })
  const client = await connectRaw(t, await listen(stage.app))
  client.send(...initializeLines())
  await making.promise
  t.equal(stage.app.sessionManager.getActiveSessionCount(), 1)
  client.vanish()
  await until(() => stage.ends.length > 0, 'the session has ended')
  t.strictSame(stage.ends, ['deleted'])
  finish.resolve()
  await until(() => stage.servers.length > 0, 'the server has been made')
  await nothingIsLeft(t, stage)
})

t.test('nothing is made for a client that goes while it is identified', async (t) => {
  const asked = createDeferred<FastifyRequest>()
  const known = createDeferred<string>()
  const failed = createDeferred<Error>()
  const stage = await stageEndpoint(t, {
    before (app) { app.addHook('onError', async (_request, _reply, error) => failed.resolve(error)) },
    sessions: {
      identify (request) {
        asked.resolve(request)
        return known.promise
      }
    }
  })
  const client = await connectRaw(t, await listen(stage.app))
  client.send(...initializeLines())
  const { raw } = await asked.promise
  client.vanish()
  await until(() => raw.socket.destroyed, 'the client has gone')
  known.resolve('ada')
  t.match(await failed.promise, { message: 'Invalid Request: the client has gone' })
  nothingWasMade(t, stage)
})

t.test('nothing is left of a client that goes while it uploads', async (t) => {
  const stage = await stageEndpoint(t)
  const port = await listen(stage.app)
  for (let round = 0; round < 20; round++) {
    const client = await connectRaw(t, port)
    client.send('POST /mcp HTTP/1.1', 'host: 127.0.0.1', `accept: ${ACCEPT_BOTH}`, 'content-type: application/json', 'content-length: 10000')
    client.socket.write('{"jsonrpc":"2.0","id":1,"method":"initialize"')
    client.vanish()
  }
  await until(() => stage.log.filter((line) => line.includes('incoming request')).length === 20, 'all requests have come in')
  nothingWasMade(t, stage)
})

t.test('a client that goes while it uploads to a session has not held it', async (t) => {
  const stage = await stageEndpoint(t)
  const port = await listen(stage.app)
  const id = await open(stage.app)
  const client = await connectRaw(t, port)
  client.send('POST /mcp HTTP/1.1', 'host: 127.0.0.1', `mcp-session-id: ${id}`, `accept: ${ACCEPT_BOTH}`, 'content-type: application/json', 'content-length: 10000')
  client.socket.write('{')
  await until(() => stage.log.filter((line) => line.includes('incoming request')).length === 2, 'the request has come in')
  t.equal(stage.app.sessionManager.get(id)?.activeRequests, 0)
  client.vanish()
  t.match(parseMessage(await callTool(stage.app, id, 'echo')), { result: { content: [{ text: 'hello' }] } })
})

function initializeLines (): string[] {
  const body = JSON.stringify(INITIALIZE)
  return [
    'POST /mcp HTTP/1.1', 'host: 127.0.0.1', `accept: ${ACCEPT_BOTH}`, 'content-type: application/json',
    `content-length: ${body.length}`, '', body
  ]
}
