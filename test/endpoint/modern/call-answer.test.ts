// How a call of 2026-07-28 is answered by one factory for both eras: JSON, a stream, and what takes long.
import { inputRequired, McpServer } from '@modelcontextprotocol/server'
import t, { type Test } from 'tap'
import type { DualEndpointOptions } from '../../../index.js'
import { ShuttingDownError } from '../../../lib/base/errors.js'
import { createDeferred } from '../../helpers/waiting/deferred.js'
import { buildEndpoint, type EndpointApp } from '../../helpers/apps/endpoint-app.js'
import { HttpClient, type Answer } from '../../helpers/clients/http-client.js'
import { captureLog } from '../../helpers/observe/log-lines.js'
import { modernRequest } from '../../helpers/mcp-servers/modern-handler.js'
import { until } from '../../helpers/waiting/until.js'

const SOON = 20

interface Scene extends EndpointApp {
  readonly lines: string[]
  /** Lets the tools go on. */
  goOn (): void
  /** Until there is nothing to go on for, no tool has begun. */
  readonly begun: string[]
  /** Tools that were told that nobody waits for them. */
  readonly cancelled: string[]
  call (tool: string): Promise<Answer>
}

async function stage (t: Test, endpoint: Partial<DualEndpointOptions>, timeout?: number): Promise<Scene> {
  const gate = createDeferred<string>()
  const begun: string[] = []
  const cancelled: string[] = []
  const createServer = (): McpServer => {
    const server = new McpServer({ name: 'slow', version: '1' })
    server.registerTool('quiet', {}, async ({ mcpReq: { signal } }) => {
      begun.push('quiet')
      signal.addEventListener('abort', () => cancelled.push('quiet'))
      return { content: [{ type: 'text', text: await gate.promise }] }
    })
    server.registerTool('steps', {}, async ({ mcpReq }) => {
      begun.push('steps')
      const text = await gate.promise
      await mcpReq.notify({ method: 'notifications/progress', params: { progressToken: 1, progress: 1 } })
      return { content: [{ type: 'text', text }] }
    })
    server.registerTool('count', {}, async () => {
      begun.push('count')
      await gate.promise
      return { content: [], structuredContent: { count: Object(10n) } }
    })
    // The first one cannot be told.
    server.registerTool('counts', {}, async ({ mcpReq }) => {
      const tell = (progress: number): Promise<void> => mcpReq.notify({ method: 'notifications/progress', params: { progressToken: 1, progress } })
      await tell(Object(10n)).catch(() => {})
      await tell(10)
      begun.push('counts')
      await gate.promise
      return { content: [], structuredContent: { count: Object(10n) } }
    })
    // Which this client has not said that it can.
    server.registerTool('roots', {}, async () => inputRequired({ inputRequests: { roots: inputRequired.listRoots() } }))
    return server
  }
  const { lines, stream } = captureLog()
  const built = await buildEndpoint(t, {
    server: { logger: { level: 'error', stream } },
    endpoint: { modern: true, createServer, ...endpoint, ...(timeout !== undefined && { handlerTimeout: timeout }) }
  })
  const client = new HttpClient(t, await built.listen())
  return {
    ...built,
    lines,
    begun,
    cancelled,
    goOn: () => gate.resolve('done'),
    call (tool) {
      const { body, headers } = modernRequest(7, 'tools/call', { name: tool })
      return client.post(body, headers)
    }
  }
}

for (const responseMode of ['auto', 'sse'] as const) {
  t.test(`a call that says nothing for a heartbeat gets a stream, and heartbeats on it: ${responseMode}`, async (t) => {
    const { call, goOn } = await stage(t, { responseMode, heartbeatInterval: SOON })
    const answer = await call('quiet')
    t.match(answer, { status: 200, headers: { 'content-type': 'text/event-stream', 'x-accel-buffering': 'no' } })
    await answer.see(':\n\n:\n\n')
    goOn()
    await answer.end()
    t.match(answer.messages, [{ jsonrpc: '2.0', id: 7, result: { content: [{ text: 'done' }] } }])
  })

  t.test(`what it says on the way comes before its answer: ${responseMode}`, async (t) => {
    const { call, goOn } = await stage(t, { responseMode, heartbeatInterval: SOON })
    const answer = await call('steps')
    await answer.see(':\n\n')
    goOn()
    await answer.end()
    t.match(answer.messages, [{ method: 'notifications/progress' }, { id: 7, result: { content: [{ text: 'done' }] } }])
  })

  t.test(`what has a status of its own keeps it: ${responseMode}`, async (t) => {
    const { call } = await stage(t, { responseMode })
    const answer = await (await call('roots')).end()
    t.match(answer, { status: 400, headers: { 'content-type': 'application/json' }, messages: [{ id: 7, error: { code: -32021 } }] })
  })
}

t.test('with sse, an answer at once is a stream of one event', async (t) => {
  const { call, goOn } = await stage(t, { responseMode: 'sse' })
  goOn()
  const answer = await (await call('quiet')).end()
  t.match(answer, { status: 200, headers: { 'content-type': 'text/event-stream', 'cache-control': 'no-cache, no-transform' } })
  t.equal(answer.text.match(/^event: message$/gm)?.length, 1)
  t.match(answer.messages, [{ id: 7, result: { content: [{ text: 'done' }] } }])
})

for (const [why, options] of [['with json', { responseMode: 'json', heartbeatInterval: SOON }], ['without heartbeats', { heartbeatInterval: 0 }]] as const) {
  t.test(`a call that takes long is answered with JSON ${why}`, async (t) => {
    t.intercept(console, 'warn', { value: () => {} })
    const { call, goOn, begun } = await stage(t, options)
    const answer = call('quiet')
    await until(() => begun.length === 1, 'it runs')
    setTimeout(goOn, SOON * 3)
    t.match(await (await answer).end(), { status: 200, headers: { 'content-type': 'application/json' }, messages: [{ id: 7, result: {} }] })
  })
}

t.test('a server that cannot be made is said on the stream that has begun', async (t) => {
  const gate = createDeferred<string>()
  const { call, lines } = await stage(t, {
    heartbeatInterval: SOON,
    async createServer () { throw new Error(await gate.promise) }
  })
  const answer = await call('quiet')
  await answer.see(':\n\n')
  gate.resolve('the database is away')
  await answer.end()
  t.match(answer.messages, [{ jsonrpc: '2.0', id: 7, error: { code: -32000, message: 'the database is away' } }])
  t.ok(lines.some((line) => /the database is away.*A call of a client without a session has failed/.test(line)), lines.join(''))
})

t.test('an answer that is not JSON ends its call', async (t) => {
  const message = 'The answer is not JSON: Do not know how to serialize a BigInt'
  for (const responseMode of ['auto', 'sse', 'json'] as const) {
    const scene = await stage(t, { responseMode, heartbeatInterval: 0 })
    scene.goOn()
    const answer = await (await scene.call('count')).end()
    t.match([answer.status, JSON.parse(answer.text)], [500, { message }], responseMode)
    t.match(scene.lines, [message])
  }

  const late = await stage(t, { heartbeatInterval: SOON })
  const said = await late.call('count')
  await said.see(':\n\n')
  late.goOn()
  t.match((await said.end()).messages, [{ id: 7, error: { code: -32000, message } }], 'on the stream that has begun')

  const spoken = await stage(t, { heartbeatInterval: 0 })
  const cut = await spoken.call('counts')
  await cut.see('notifications/progress')
  spoken.goOn()
  t.match((await cut.end()).messages, [{ params: { progress: 10 } }], 'one of SDK 2 ends without it')
  t.match(spoken.lines, [/The answer to a call is not JSON, and has not been sent/])
})

t.test('that the app closes is no fault', async (t) => {
  const gate = createDeferred()
  const { call, lines } = await stage(t, {
    heartbeatInterval: SOON,
    async createServer () {
      await gate.promise
      throw new ShuttingDownError()
    }
  })
  const answer = await call('quiet')
  await answer.see(':\n\n')
  gate.resolve()
  await answer.end()
  t.match(answer.messages, [{ id: 7, error: { code: -32000, message: /^Shutting down/ } }])
  t.strictSame(lines, [], 'at the level of errors')
})

t.test('no stream begins when somebody else has answered, while the server is still being made', async (t) => {
  const gate = createDeferred()
  const { call, lines } = await stage(t, {
    heartbeatInterval: SOON * 2,
    async createServer () {
      await gate.promise
      return new McpServer({ name: 'late', version: '1' })
    }
  }, SOON)
  const answer = await (await call('quiet')).end()
  t.equal(answer.status, 503)
  await new Promise((resolve) => setTimeout(resolve, SOON * 3))
  gate.resolve()
  t.strictSame(lines.filter((line) => !line.includes('FST_ERR_HANDLER_TIMEOUT')), [])
})

for (const heartbeatInterval of [SOON, SOON * 100]) {
  t.test(`a call that has taken too long is cancelled: its stream has ${heartbeatInterval === SOON ? '' : 'not '}begun`, async (t) => {
    const { call, begun, cancelled, lines, app } = await stage(t, { heartbeatInterval }, SOON * 3)
    const answer = await call('quiet')
    await answer.end()
    if (heartbeatInterval === SOON) t.ok(answer.broken)
    else t.equal(answer.status, 503)
    await until(() => cancelled.length === 1, 'the tool is told')
    t.strictSame(begun, ['quiet'])
    await app.close()
    t.strictSame(lines.filter((line) => !line.includes('FST_ERR_HANDLER_TIMEOUT')), [])
  })
}
