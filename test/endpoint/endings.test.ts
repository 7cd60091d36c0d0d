// However a session ends: its transport and its server close once, its streams end, and nobody is left waiting.
import type { LightMyRequestResponse } from 'fastify'
import { mock } from 'node:test'
import t, { type Test } from 'tap'
import { createDeferred } from '../helpers/waiting/deferred.js'
import {
  callTool, CountedServer, open, parseEvents, parseMessage, post, rejection, rpc, stageEndpoint, type Stage, type StageOptions
} from '../helpers/apps/endpoint-stage.js'
import { listen } from '../helpers/apps/app.js'
import { connectRaw } from '../helpers/clients/raw-client.js'
import { until } from '../helpers/waiting/until.js'

const SECOND = 1000

const ends: Record<string, { reason: string, end: (stage: Stage, id: string) => unknown, options?: StageOptions }> = {
  DELETE: { reason: 'deleted', end: ({ app }, id) => del(app, id) },
  'cleanup()': { reason: 'deleted', end: ({ app }, id) => app.sessionManager.cleanup(id) },
  'clearAll()': { reason: 'cleared', end: ({ app }) => app.sessionManager.clearAll() },
  'register() of the same id': { reason: 'replaced', end: ({ app }, id) => app.sessionManager.register(id) },
  'its own server': { reason: 'deleted', end: ({ servers }) => servers[0]?.server.close() },
  'its own transport': { reason: 'deleted', end: ({ servers }) => servers[0]?.server.transport?.close() }
}

// These come to idle sessions only.
const idleEnds: typeof ends = {
  expiry: {
    reason: 'expired',
    options: { sessions: { ttl: SECOND } },
    end ({ app }, id) {
      mock.timers.tick(SECOND + 1)
      app.sessionManager.get(id)
    }
  },
  'the cleanup timer': {
    reason: 'expired',
    options: { sessions: { ttl: SECOND, cleanupInterval: 2 * SECOND } },
    end () { mock.timers.tick(2 * SECOND) }
  },
  eviction: {
    reason: 'evicted',
    options: { sessions: { maxSessions: 1 } },
    end: ({ app }) => app.sessionManager.create()
  }
}

async function del (app: Stage['app'], id: string, url = '/mcp'): Promise<LightMyRequestResponse> {
  return app.inject({ method: 'DELETE', url, headers: { 'mcp-session-id': id } })
}

function stopTime (t: Test): void {
  mock.timers.enable({ apis: ['Date', 'setInterval'], now: 1_700_000_000_000 })
  t.teardown(() => mock.timers.reset())
}

/** How often a transport has told of its end. */
function countTransportEnds (server: CountedServer | undefined): { count: number } {
  const counter = { count: 0 }
  if (server === undefined) throw new Error('There is no server')
  server.server.onclose = () => { counter.count++ }
  return counter
}

async function settled (): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate)
}

for (const [name, { reason, end, options }] of Object.entries({ ...ends, ...idleEnds })) {
  t.test(`${name} closes transport and server once, and the session is not found any more`, async (t) => {
    stopTime(t)
    const stage = await stageEndpoint(t, options)
    const id = await open(stage.app)
    const transportEnds = countTransportEnds(stage.servers[0])
    await settled()
    await end(stage, id)
    await settled()
    t.strictSame(stage.ends, [reason])
    t.equal(transportEnds.count, 1)
    t.equal(stage.servers[0]?.closed, 1)
    t.equal(stage.servers[0]?.isConnected(), false)
    const response = await callTool(stage.app, id, 'echo')
    t.equal(response.statusCode, 404)
    t.strictSame(response.json(), rejection(-32001, 'Session not found (HTTP 404)'))
    t.equal((await del(stage.app, id)).statusCode, 404)
    t.equal((await stage.app.inject({ url: '/mcp', headers: { 'mcp-session-id': id, accept: 'text/event-stream' } })).statusCode, 404)
    t.notOk(stage.log.some((line) => line.includes('"level":50')), 'no error is logged')
  })
}

for (const responseMode of ['auto', 'json', 'sse'] as const) {
  for (const resumable of [false, { maxEvents: 10 }] as const) {
    for (const [name, { reason, end }] of Object.entries(ends)) {
      t.test(`${name} answers a running call with an error, as ${responseMode}${resumable ? ', resumable' : ''}`, async (t) => {
        const called = createDeferred()
        const never = createDeferred<{ content: [] }>()
        const stage = await stageEndpoint(t, {
          endpoint: { responseMode, resumable },
          equip (server) {
            server.registerTool('wait', {}, () => {
              called.resolve()
              return never.promise
            })
          }
        })
        const id = await open(stage.app)
        const call = callTool(stage.app, id, 'wait')
        await called.promise
        const ended = await end(stage, id)
        const response = await call
        t.match(parseMessage(response), { jsonrpc: '2.0', id: 7, error: { code: -32001, message: 'Session closed' } })
        t.strictSame(stage.ends, [reason])
        if (name === 'DELETE') t.match(ended, { statusCode: 200 })
        never.resolve({ content: [] })
        await settled()
        t.equal(stage.servers[0]?.closed, 1)
      })
    }
  }

  t.test(`each call of a batch is answered, as ${responseMode}`, async (t) => {
    const called = createDeferred()
    const stage = await stageEndpoint(t, {
      endpoint: { responseMode },
      equip (server) {
        server.registerTool('wait', {}, () => {
          called.resolve()
          return new Promise(() => {})
        })
      }
    })
    const id = await open(stage.app)
    const call = post(stage.app, [
      rpc('tools/call', { name: 'wait' }, 'a'),
      rpc('tools/call', { name: 'wait' }, 0),
      { jsonrpc: '2.0', method: 'notifications/progress', params: { progressToken: 1, progress: 1 } }
    ], { headers: { 'mcp-session-id': id } })
    await called.promise
    stage.app.sessionManager.cleanup(id)
    const response = await call
    const messages = responseMode === 'sse' ? parseEvents(response.body) : response.json()
    t.match(messages, [{ id: 'a', error: { code: -32001 } }, { id: 0, error: { code: -32001 } }])
  })

  t.test(`two calls under one id both come to an end, as ${responseMode}`, async (t) => {
    let calls = 0
    const stage = await stageEndpoint(t, {
      endpoint: { responseMode },
      equip (server) {
        server.registerTool('wait', {}, () => {
          calls++
          return new Promise(() => {})
        })
      }
    })
    const id = await open(stage.app)
    const both = [callTool(stage.app, id, 'wait'), callTool(stage.app, id, 'wait')]
    await until(() => calls === 2, 'both calls run')
    stage.app.sessionManager.cleanup(id)
    for (const response of await Promise.all(both)) t.match(parseMessage(response), { id: 7, error: { code: -32001 } })
  })

  t.test(`a tool may close its own session, as ${responseMode}`, async (t) => {
    const stage = await stageEndpoint(t, {
      endpoint: { responseMode },
      equip (server, { session }) {
        server.registerTool('leave', {}, () => {
          stage.app.sessionManager.cleanup(session.id)
          return { content: [] }
        })
      }
    })
    const id = await open(stage.app)
    t.match(parseMessage(await callTool(stage.app, id, 'leave')), { id: 7, error: { code: -32001 } })
    await settled()
    t.equal(stage.servers[0]?.closed, 1)
  })
}

t.test('a tool that is told of the end can stop', async (t) => {
  const called = createDeferred()
  const stopped = createDeferred()
  const { app } = await stageEndpoint(t, {
    equip (server) {
      server.registerTool('wait', {}, ({ signal }) => new Promise((_resolve, reject) => {
        called.resolve()
        signal.addEventListener('abort', () => {
          stopped.resolve()
          reject(new Error('stopped'))
        })
      }))
    }
  })
  const id = await open(app)
  const call = callTool(app, id, 'wait')
  await called.promise
  app.sessionManager.cleanup(id)
  await stopped.promise
  t.match(parseMessage(await call), { error: { message: 'Session closed' } })
})

for (const [name, { reason, end }] of Object.entries(ends)) {
  t.test(`${name} ends the GET stream`, async (t) => {
    const stage = await stageEndpoint(t)
    const port = await listen(stage.app)
    const id = await open(stage.app)
    const client = await connectRaw(t, port)
    client.get('/mcp', `mcp-session-id: ${id}`, 'accept: text/event-stream')
    await client.see('\r\n\r\n')
    t.equal(stage.app.sessionManager.get(id)?.activeRequests, 1)
    await end(stage, id)
    await client.see('\r\n0\r\n\r\n')
    t.strictSame(stage.ends, [reason])
  })
}

t.test('DELETE needs a session that is there', async (t) => {
  const { app } = await stageEndpoint(t)
  const without = await app.inject({ method: 'DELETE', url: '/mcp' })
  t.equal(without.statusCode, 400)
  t.strictSame(without.json(), rejection(-32000, 'Bad Request: Mcp-Session-Id header is required'))
  const unknown = await del(app, 'unknown')
  t.equal(unknown.statusCode, 404)
  t.strictSame(unknown.json(), rejection(-32001, 'Session not found (HTTP 404)'))
})

for (const [name, request] of Object.entries({
  'a content type and no body': { headers: { 'content-type': 'application/json' } },
  'a body': { headers: { 'content-type': 'application/json' }, payload: '{}' }
})) {
  t.test(`DELETE with ${name} ends the session`, async (t) => {
    const { app, ends } = await stageEndpoint(t)
    const id = await open(app)
    const response = await app.inject({ method: 'DELETE', url: '/mcp', ...request, headers: { ...request.headers, 'mcp-session-id': id } })
    t.equal(response.statusCode, 200)
    t.equal(response.body, '')
    t.strictSame(ends, ['deleted'])
  })
}

t.test('an empty message in a session is a parse error, and the session lives on', async (t) => {
  const { app } = await stageEndpoint(t)
  const id = await open(app)
  for (const headers of [{ 'content-type': 'application/json' }, {}]) {
    const response = await app.inject({
      method: 'POST', url: '/mcp', headers: { ...headers, accept: 'application/json, text/event-stream', 'mcp-session-id': id }
    })
    t.equal(response.statusCode, 400)
    t.strictSame(response.json(), rejection(-32700, 'Parse error: the body is empty'))
  }
  t.equal((await callTool(app, id, 'echo')).statusCode, 200)
})

t.test('DELETE of a revision that the server does not know changes nothing', async (t) => {
  const { app, ends } = await stageEndpoint(t)
  const id = await open(app)
  const response = await app.inject({ method: 'DELETE', url: '/mcp', headers: { 'mcp-session-id': id, 'mcp-protocol-version': '2001-01-01' } })
  t.equal(response.statusCode, 400)
  t.strictSame(ends, [])
})

t.test('two DELETEs at once: one ends the session, and both are answered', async (t) => {
  const { app, ends, servers } = await stageEndpoint(t)
  const id = await open(app)
  const responses = await Promise.all([del(app, id), del(app, id)])
  t.ok(responses.some(({ statusCode }) => statusCode === 200))
  t.ok(responses.every(({ statusCode }) => statusCode === 200 || statusCode === 404))
  t.strictSame(ends, ['deleted'])
  t.equal(servers[0]?.closed, 1)
})

t.test('calls that run into a DELETE are all answered', async (t) => {
  const { app } = await stageEndpoint(t)
  const id = await open(app)
  const calls = Array.from({ length: 20 }, () => callTool(app, id, 'echo'))
  const responses = await Promise.all([...calls.slice(0, 10), del(app, id), ...calls.slice(10)])
  for (const response of responses) t.ok([200, 404].includes(response.statusCode))
})

t.test('a server that does not close its transport keeps no call and no stream', async (t) => {
  const called = createDeferred()
  const stage = await stageEndpoint(t, {
    equip (server) {
      server.close = async () => {}
      server.registerTool('wait', {}, () => {
        called.resolve()
        return new Promise(() => {})
      })
    }
  })
  const port = await listen(stage.app)
  const id = await open(stage.app)
  const client = await connectRaw(t, port)
  client.get('/mcp', `mcp-session-id: ${id}`, 'accept: text/event-stream')
  await client.see('\r\n\r\n')
  const call = callTool(stage.app, id, 'wait')
  await called.promise
  stage.app.sessionManager.cleanup(id)
  t.match(parseMessage(await call), { id: 7, error: { code: -32001 } })
  await client.see('\r\n0\r\n\r\n')
})

t.test('a server that cannot be closed is logged, by the hash of its session', async (t) => {
  for (const close of [
    async () => { throw new Error('it will not close') },
    () => { throw new Error('it will not close') },
    async () => { throw 'it will not close' } // eslint-disable-line no-throw-literal
  ]) {
    const stage = await stageEndpoint(t, { equip (server) { server.close = close } })
    const id = await open(stage.app)
    t.equal((await del(stage.app, id)).statusCode, 200)
    await settled()
    const line = stage.log.find((line) => line.includes('it will not close'))
    t.match(JSON.parse(line ?? '{}'), { sessionId: /^[0-9a-f]{12}$/, msg: 'Closing the MCP server of a session failed' })
    t.notOk(stage.log.some((line) => line.includes(id)), 'the id is in no log')
  }
})

t.test('clearAll() closes every server', async (t) => {
  const stage = await stageEndpoint(t)
  for (let count = 0; count < 50; count++) await open(stage.app)
  stage.app.sessionManager.clearAll()
  await settled()
  t.strictSame(stage.servers.map(({ closed }) => closed), Array(50).fill(1))
})
