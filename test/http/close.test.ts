// close() ends within drainTimeout and two seconds, whatever clients do.
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyServerOptions } from 'fastify'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { connect as connectHttp2, type ClientHttp2Session } from 'node:http2'
import { PassThrough } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect as connectTls } from 'node:tls'
import t, { type Test } from 'tap'
import mcpSessions, { mcpEndpoint } from '../../index.js'
import { listen } from '../helpers/apps/app.js'
import { recordServers } from '../helpers/apps/endpoint-app.js'
import { call, openSession } from '../helpers/clients/http-client.js'
import { connectRaw, RawClient } from '../helpers/clients/raw-client.js'
import { until } from '../helpers/waiting/until.js'

// What is called prompt here, with room for a slow machine, in milliseconds.
const PROMPT = 1500
// A drainTimeout that a test would not outlive.
const LONG = 60_000
// One that is waited out.
const SHORT = 200
const BOUND = SHORT + 2000

// More than the buffers between two sockets take.
const BIG = 10_000_000

// TLS with a key that both sides know needs no certificate.
const psk = Buffer.from('0123456789abcdef')
const tls = { ciphers: 'PSK', pskCallback: () => psk }

// The types of Fastify tell servers apart; what is tested here is the same for all.
const plain = { logger: false }
const secure = { logger: false, https: tls }
const http2 = { logger: false, http2: true }
const http2Secure = { logger: false, http2: true, https: tls }

interface Stage {
  readonly app: FastifyInstance
  readonly port: number
  /** Of a session that is the app's own. */
  readonly id: string
  /** Replies of /wait, in their order. */
  readonly waiting: FastifyReply[]
  /** The connections that are there, and the requests that have come, whether their body has or not. */
  readonly seen: string[]
}

async function stage (t: Test, drainTimeout: number, options: FastifyServerOptions = plain): Promise<Stage> {
  const app: FastifyInstance = Fastify(options)
  t.teardown(() => app.close())
  await app.register(mcpSessions, { drainTimeout })
  const seen: string[] = []
  app.server.on('connection', () => seen.push('connection'))
  app.addHook('onRequest', async ({ url }) => { seen.push(url) })
  await app.register(mcpEndpoint, { createServer: recordServers().createServer })
  const waiting: FastifyReply[] = []
  app.get('/wait', (_request, reply) => { waiting.push(reply) })
  app.get('/plain', async () => 'plain')
  app.post('/upload', async () => 'uploaded')
  app.get('/endless', (_request, reply) => {
    const endless = new PassThrough()
    const timer = setInterval(() => endless.write('x'.repeat(100_000)), 1)
    reply.raw.on('close', () => clearInterval(timer))
    return reply.send(endless)
  })
  return { app, port: await listen(app), id: app.sessionManager.create(), waiting, seen }
}

async function timed (work: Promise<unknown>): Promise<number> {
  const start = performance.now()
  await work
  return performance.now() - start
}

function isPrompt (t: Test, duration: number): void {
  t.ok(duration < PROMPT, `at once: ${duration} ms`)
}

function isInTime (t: Test, duration: number): void {
  t.ok(duration >= SHORT - 1 && duration < BOUND, `after drainTimeout, and before two more seconds: ${duration} ms`)
}

async function connectSecure (t: Test, port: number, protocol: string): Promise<RawClient> {
  const socket = connectTls({
    port,
    host: '127.0.0.1',
    ALPNProtocols: [protocol],
    ciphers: 'PSK',
    pskCallback: () => ({ psk, identity: 'test' }),
    checkServerIdentity: () => undefined
  })
  t.teardown(() => socket.destroy())
  await once(socket, 'secureConnect')
  return new RawClient(socket)
}

async function openHttp2 (t: Test, port: number): Promise<ClientHttp2Session> {
  const client = connectHttp2(`http://127.0.0.1:${port}`)
  t.teardown(() => client.destroy())
  client.on('error', () => {})
  await once(client, 'remoteSettings')
  return client
}

t.test('a connection that never sent a byte does not hold close() up', async (t) => {
  const connections: Array<[FastifyServerOptions, (t: Test, port: number) => Promise<RawClient>]> = [
    [plain, connectRaw],
    [{ forceCloseConnections: true }, connectRaw],
    [{ forceCloseConnections: false }, connectRaw],
    [{ serverFactory: (handler) => createServer(handler) }, connectRaw],
    [secure, connectRaw],
    [secure, (t, port) => connectSecure(t, port, 'http/1.1')],
    [http2, connectRaw],
    [http2Secure, (t, port) => connectSecure(t, port, 'h2')]
  ]
  await Promise.all(connections.map(async ([options, open]) => {
    const { app, port, seen } = await stage(t, LONG, options)
    await open(t, port)
    await until(() => seen.length === 1, 'the connection is there')
    isPrompt(t, await timed(app.close()))
  }))
})

t.test('but a client that has just connected may send its request', async (t) => {
  const { app, port, seen } = await stage(t, LONG, { return503OnClosing: false })
  const client = await connectRaw(t, port)
  await until(() => seen.length === 1, 'the connection is there')
  const closing = app.close()
  await until(() => !app.server.listening, 'the server has stopped')
  await sleep(100)
  client.get('/plain')
  await client.see('plain')
  await closing
})

t.test('a connection that waits for its next request does not hold close() up', async (t) => {
  const { app, port } = await stage(t, LONG)
  const client = await connectRaw(t, port)
  client.get('/plain')
  await client.see('plain')
  isPrompt(t, await timed(app.close()))
})

t.test('nor does one whose last request of the app ends after the server has stopped listening', async (t) => {
  const { app, port, waiting } = await stage(t, LONG)
  const client = await connectRaw(t, port)
  client.get('/wait')
  await until(() => waiting.length === 1, 'the request has come')
  const closing = app.close()
  await until(() => !app.server.listening, 'the server has stopped')
  waiting[0]?.send('late')
  isPrompt(t, await timed(closing))
  t.match(client.received, 'late')
})

t.test('nor does an HTTP/2 session, once its requests are answered', async (t) => {
  const { app, port, waiting } = await stage(t, LONG, http2)
  const idle = await openHttp2(t, port)
  const busy = await openHttp2(t, port)
  const request = busy.request({ ':path': '/wait' }).setEncoding('utf8')
  let text = ''
  request.on('data', (chunk) => { text += String(chunk) })
  await until(() => waiting.length === 1, 'the request has come')
  const closing = app.close()
  await until(() => idle.destroyed, 'the one that is idle is closed')
  waiting[0]?.send('late')
  isPrompt(t, await timed(closing))
  t.equal(text, 'late')
})

t.test('a request of the app has until drainTimeout', async (t) => {
  await Promise.all([plain, http2].map(async (options) => {
    const { app, port, waiting } = await stage(t, SHORT, options)
    if (options === http2) (await openHttp2(t, port)).request({ ':path': '/wait' }).on('error', () => {})
    else (await connectRaw(t, port)).get('/wait')
    await until(() => waiting.length === 1, 'the request has come')
    isInTime(t, await timed(app.close()))
  }))
})

t.test('so has a request that holds a session of the app, which is closed after it', async (t) => {
  const { app, port, waiting, id } = await stage(t, SHORT)
  const closed: string[] = []
  app.sessionManager.on('closed', (_session, reason) => { closed.push(reason) })
  const client = await connectRaw(t, port)
  client.get('/wait', `mcp-session-id: ${id}`)
  await until(() => waiting.length === 1, 'the request has come')
  const closing = timed(app.close())
  await until(() => !app.server.listening, 'the server has stopped')
  t.strictSame(closed, [])
  isInTime(t, await closing)
  t.strictSame(closed, ['shutdown'])
})

t.test('a request that never ends does not keep close() longer', async (t) => {
  const starts: Array<[string, (id: string) => string[]]> = [
    ['its headers', () => ['POST /upload HTTP/1.1', 'host: 127.0.0.1', 'content-length: 10']],
    ['its body', () => ['POST /upload HTTP/1.1', 'host: 127.0.0.1', 'content-type: text/plain', 'content-length: 10', '', 'x']],
    ['its body, in a session', (id) => ['POST /upload HTTP/1.1', 'host: 127.0.0.1', 'content-type: text/plain', 'content-length: 10', `mcp-session-id: ${id}`, '', 'x']],
    ['its body, at an endpoint', () => ['POST /mcp HTTP/1.1', 'host: 127.0.0.1', 'content-type: application/json', 'content-length: 10', '', '{']],
    ['its chunks', () => ['POST /mcp HTTP/1.1', 'host: 127.0.0.1', 'content-type: application/json', 'transfer-encoding: chunked', '', '5', '{']]
  ]
  await Promise.all(starts.map(async ([what, lines]) => {
    const { app, port, id, seen } = await stage(t, SHORT)
    const client = await connectRaw(t, port)
    client.socket.write(lines(id).join('\r\n'))
    await until(() => seen.length === (what === 'its headers' ? 1 : 2), `all has come but ${what}`)
    isInTime(t, await timed(app.close()))
  }))
})

t.test('nor does one in a session of an endpoint', async (t) => {
  const { app, port, seen } = await stage(t, SHORT)
  const { sessionId } = await openSession(t, new URL(`http://127.0.0.1:${port}/mcp`))
  const client = await connectRaw(t, port)
  seen.length = 0
  client.send('POST /mcp HTTP/1.1', 'host: 127.0.0.1', 'content-type: application/json', 'content-length: 10', `mcp-session-id: ${sessionId}`, '', '{')
  await until(() => seen.length === 1, 'the request has come')
  isInTime(t, await timed(app.close()))
})

t.test('a client that reads nothing of what it asked for does not keep close() longer', async (t) => {
  await Promise.all([plain, http2].map(async (options) => {
    const { app, port, seen } = await stage(t, SHORT, options)
    if (options === http2) {
      (await openHttp2(t, port)).request({ ':path': '/endless' }).on('error', () => {}).pause()
    } else {
      const client = await connectRaw(t, port)
      client.socket.pause()
      client.get('/endless')
    }
    await until(() => seen.length === 2, 'the request has come')
    isInTime(t, await timed(app.close()))
  }))
})

t.test('a connection is not taken for idle while an answer is on its way to a slow client', async (t) => {
  const { app, port, waiting } = await stage(t, LONG)
  const client = await connectRaw(t, port)
  client.get('/wait')
  await until(() => waiting.length === 1, 'the request has come')
  const closing = app.close()
  await until(() => !app.server.listening, 'the server has stopped')
  client.socket.pause()
  waiting[0]?.send('x'.repeat(BIG))
  await sleep(300)
  client.socket.resume()
  await closing
  await until(() => client.received.length > BIG, 'all of it has come')
})

t.test('a long pipeline does not keep close() longer', async (t) => {
  const { app, port, waiting } = await stage(t, SHORT, { return503OnClosing: false })
  const client = await connectRaw(t, port)
  for (let i = 0; i < 50; i++) client.get('/wait')
  await until(() => waiting.length === 50, 'all have come')
  isInTime(t, await timed(app.close()))
})

t.test('calls and streams of an endpoint over HTTP/2 do not keep close() longer', async (t) => {
  const { app, port } = await stage(t, SHORT, http2)
  const client = await openHttp2(t, port)
  const ask = async (headers: Record<string, string>, body?: object): Promise<string> => {
    const request = client.request({ ':path': '/mcp', accept: 'application/json, text/event-stream', 'content-type': 'application/json', ...headers })
    request.on('error', () => {})
    request.end(body && JSON.stringify(body))
    const [head] = await once(request, 'response')
    return String(head['mcp-session-id'])
  }
  const params = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'test', version: '1' } }
  const id = await ask({ ':method': 'POST' }, { jsonrpc: '2.0', id: 1, method: 'initialize', params })
  await ask({ ':method': 'GET', accept: 'text/event-stream', 'mcp-session-id': id })
  ask({ ':method': 'POST', 'mcp-session-id': id }, call(2, 'wait')).catch(() => {})
  await until(() => app.sessionManager.get(id)?.activeRequests === 2, 'both are under way')
  isInTime(t, await timed(app.close()))
})
