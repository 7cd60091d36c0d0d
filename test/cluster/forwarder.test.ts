import { createHash } from 'node:crypto'
import { once } from 'node:events'
import http, { type IncomingMessage, type RequestOptions, type ServerResponse } from 'node:http'
import { connect, type OutgoingHttpHeaders } from 'node:http2'
import { createServer, type Server, type Socket } from 'node:net'
import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import fastify, { type FastifyInstance } from 'fastify'
import { gzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import { Agent } from 'undici'
import { Forwarder, type Hop } from '../../lib/cluster/forwarder.js'
import type { HopOutcome } from '../../lib/cluster/hop-outcome.js'
import { ANSWER_HEADER, FORWARDED_HEADER, HOPS_HEADER, signAnswer, verifyHop, type AnswerState } from '../../lib/cluster/hop-signature.js'
import { KeptBody, MOST_KEPT } from '../../lib/cluster/kept-body.js'
import { freePort } from '../helpers/redis/redis-server.js'
import { createDeferred } from '../helpers/waiting/deferred.js'

const SECRET = 'the secret of the cluster'

function portOf (server: Server): number {
  const address = server.address()
  return typeof address === 'object' && address !== null ? address.port : 0
}

/** A plain HTTP server in the place of the owner. */
async function owner (t: Test, handler: (req: IncomingMessage, res: ServerResponse) => void, state?: AnswerState): Promise<string> {
  const server = http.createServer((req, res) => {
    signFor(req, res, state)
    handler(req, res)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.close().closeAllConnections() })
  return `http://127.0.0.1:${portOf(server)}`
}

/** Has an answer say that it comes from a node of the cluster. */
function signFor (req: IncomingMessage, res: ServerResponse, state: AnswerState = 'served'): void {
  const hop = verifyHop(req.headers[FORWARDED_HEADER], { method: req.method ?? '', url: req.url ?? '', sessionId: req.headers['mcp-session-id'] }, SECRET)
  if (hop !== undefined) res.setHeader(ANSWER_HEADER, signAnswer(hop.proof, state))
}

interface Node {
  app: FastifyInstance
  url: string
  /** What became of every request that was passed on. */
  outcomes: Array<HopOutcome['kind'] | Error>
  /** Why they failed. */
  causes: unknown[]
}

interface NodeOptions {
  hop?: Partial<Hop>
  connectTimeout?: number
  /** Whether it begins a microtask later: with its head, the body of a small request has come then, and its end has not. */
  late?: boolean
  prepare?: (app: FastifyInstance) => void
}

/** A node that passes everything on to `url`, and serves itself what it could not pass on. */
async function node (t: Test, url: string, { hop, connectTimeout, late, prepare }: NodeOptions = {}): Promise<Node> {
  const app = fastify({ forceCloseConnections: true })
  const forwarder = new Forwarder(connectTimeout === undefined ? {} : { connectTimeout })
  const outcomes: Node['outcomes'] = []
  const causes: unknown[] = []
  const bodies = new WeakMap<IncomingMessage, KeptBody>()
  prepare?.(app)
  app.addHook('onRequest', async (request, reply) => {
    if (late === true) await Promise.resolve()
    try {
      const to = { node: 'owner-1', url }
      const body = new KeptBody(request.raw)
      bodies.set(request.raw, body)
      const outcome = await forwarder.forward(request, reply, { to, secret: SECRET, body, ...hop })
      outcomes.push(outcome.kind)
      if ('cause' in outcome) causes.push(outcome.cause)
      if (outcome.kind === 'answered') return reply
    } catch (error) {
      outcomes.push(error instanceof Error ? error : new Error(String(error)))
      return reply.code(502).send({ failed: true })
    }
  })
  app.addHook('preParsing', async (request, _reply, payload) => {
    const body = bodies.get(request.raw)
    return body?.isTaken === true ? body.open() : payload
  })
  app.addContentTypeParser('*', { parseAs: 'buffer', bodyLimit: 64 * 1024 * 1024 }, (_request, body, done) => { done(null, body) })
  app.all('/*', async request => ({ servedHere: hash(request.body) }))
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(async () => {
    await forwarder.close()
    await app.close()
  })
  return { app, url: `http://127.0.0.1:${portOf(app.server)}`, outcomes, causes }
}

/** One HTTP/2 request: the status, and what was answered. */
async function send2 (t: Test, url: string, headers: OutgoingHttpHeaders, body?: string): Promise<{ status: unknown, text: string }> {
  const session = connect(url)
  t.teardown(() => session.destroy())
  const stream = session.request({ ':path': '/mcp?x=1', ...headers })
  stream.end(body)
  const [head] = await once(stream, 'response')
  let text = ''
  for await (const chunk of stream.setEncoding('utf8')) text += String(chunk)
  return { status: head[':status'], text }
}

function hash (body: unknown): string {
  return createHash('sha256').update(Buffer.isBuffer(body) ? body : String(body)).digest('hex')
}

function send (url: string, options: RequestOptions = {}): http.ClientRequest {
  const req = http.request(url, { agent: false, ...options })
  req.on('error', () => {})
  return req
}

async function answerTo (req: http.ClientRequest): Promise<IncomingMessage> {
  const [res]: IncomingMessage[] = await once(req, 'response')
  if (res === undefined) throw new Error('no response')
  return res
}

async function read (stream: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks = []
  for await (const chunk of stream) chunks.push(chunk)
  return Buffer.concat(chunks)
}

async function eventually (t: Test, check: () => boolean, message: string): Promise<void> {
  const deadline = Date.now() + 5000
  while (!check() && Date.now() < deadline) await sleep(5)
  t.ok(check(), message)
}

t.test('the owner sees the request as the client sent it', async t => {
  const seen: IncomingMessage[] = []
  const { url, outcomes } = await node(t, await owner(t, (req, res) => {
    seen.push(req)
    res.writeHead(202, { 'x-answer': ['a', 'b'], connection: 'x-mine', 'x-mine': 'not for the client' })
    res.end()
  }))
  const res = await answerTo(send(`${url}/mcp?a=1&b=%20`, {
    method: 'DELETE',
    headers: {
      host: 'api.example.com',
      connection: 'close, x-secret-hop',
      'x-secret-hop': '1',
      'mcp-session-id': 'abc',
      'x-forwarded-for': '203.0.113.7',
      expect: '100-continue',
      te: 'trailers'
    }
  }).end())
  await read(res)
  t.equal(res.statusCode, 202)
  t.equal(res.headers['x-answer'], 'a, b')
  t.equal(res.headers['x-mine'], undefined)
  const [req] = seen
  t.match(req, { method: 'DELETE', url: '/mcp?a=1&b=%20' })
  t.match(req?.headers, {
    host: 'api.example.com', 'mcp-session-id': 'abc', 'x-forwarded-for': '203.0.113.7, 127.0.0.1', [FORWARDED_HEADER]: String
  })
  for (const name of ['x-secret-hop', 'expect', 'te', 'transfer-encoding']) t.equal(req?.headers[name], undefined, name)
  t.strictSame(outcomes, ['answered'])
})

t.test('large bodies go both ways', async t => {
  const body = Buffer.alloc(20 * 1024 * 1024, 'large body ')
  const { url } = await node(t, await owner(t, (req, res) => {
    res.setHeader('x-encoding', `${req.headers['transfer-encoding']} ${req.headers['content-length']}`)
    req.pipe(res)
  }))
  for (const [headers, expected] of [
    [{ 'content-length': body.length }, `undefined ${body.length}`],
    [{}, 'chunked undefined']
  ] as const) {
    const req = send(url, { method: 'POST', headers })
    for (let i = 0; i < body.length; i += 1_000_000) req.write(body.subarray(i, i + 1_000_000))
    const res = await answerTo(req.end())
    t.equal(res.headers['x-encoding'], expected)
    t.equal(hash(await read(res)), hash(body))
  }
})

t.test('neither side is read faster than the other takes it', async t => {
  let taken = 0
  let sent = 0
  const { url } = await node(t, await owner(t, (req, res) => {
    if (req.method === 'POST') {
      req.pause()
      return
    }
    const chunk = Buffer.alloc(1024 * 1024)
    const more = (): void => {
      sent += chunk.length
      res.write(chunk)
      res.once('drain', more)
    }
    more()
  }))
  const chunk = Buffer.alloc(1024 * 1024)
  const post = send(url, { method: 'POST' })
  const push = (): void => {
    taken += chunk.length
    post.write(chunk)
    post.once('drain', push)
  }
  push()
  const res = await answerTo(send(url).end())
  res.pause()
  await sleep(600)
  const before = { taken, sent }
  await sleep(200)
  t.strictSame({ taken, sent }, before)
  t.ok(taken > 0 && taken < 40 * 1024 * 1024, `${taken} bytes taken`)
  t.ok(sent > 0 && sent < 40 * 1024 * 1024, `${sent} bytes sent`)
  post.destroy()
  res.destroy()
})

t.test('SSE flows through as it comes, its head first', async t => {
  const streams: ServerResponse[] = []
  const { url } = await node(t, await owner(t, (_req, res) => {
    streams.push(res)
    res.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders()
  }))
  const res = await answerTo(send(url, { headers: { accept: 'text/event-stream' } }).end())
  t.equal(res.headers['content-type'], 'text/event-stream')
  for (const event of ['data: 1\n\n', 'data: 2\n\n']) {
    streams[0]?.write(event)
    const [chunk] = await once(res, 'data')
    t.equal(String(chunk), event)
  }
  streams[0]?.end()
  await once(res, 'end')
})

t.test('a client that leaves takes its request to the owner with it', async t => {
  const seen: ServerResponse[] = []
  const { url, outcomes } = await node(t, await owner(t, (req, res) => {
    seen.push(res)
    req.resume()
    if (req.url === '/sse') res.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders()
  }))
  const sse = await answerTo(send(`${url}/sse`).end())
  sse.destroy()
  await eventually(t, () => seen[0]?.destroyed === true, 'while an answer streams')
  const waiting = send(`${url}/long`, { method: 'POST' }).end('{}')
  await eventually(t, () => seen.length === 2, 'the owner has it')
  waiting.destroy()
  await eventually(t, () => seen[1]?.destroyed === true, 'before there is an answer')
  const uploading = send(`${url}/upload`, { method: 'POST' })
  uploading.write('{')
  await eventually(t, () => seen.length === 3, 'the owner has it')
  uploading.destroy()
  await eventually(t, () => seen[2]?.destroyed === true, 'in the middle of its body')
  await eventually(t, () => outcomes.length === 3, 'and it is over')
  t.strictSame(outcomes.slice(1).map(String), Array(2).fill('ForwardError: The client has gone away'))
})

t.test('an owner that dies before it answers fails the request at once', async t => {
  const { url, outcomes } = await node(t, await owner(t, (req, res) => {
    req.once('data', () => { res.destroy() })
  }))
  for (const [body, state] of [[Buffer.alloc(10), 'waits for more'], [Buffer.alloc(16 * 1024 * 1024), 'has more']] as const) {
    const req = send(url, { method: 'POST' })
    req.write(body)
    const res = await answerTo(req)
    t.equal(res.statusCode, 502, `the client ${state}`)
    t.strictSame(JSON.parse(String(await read(res))), { failed: true })
    req.destroy()
  }
  const failure = { name: 'ForwardError', message: 'The node that owns the session failed', cause: Error }
  t.match(outcomes, [failure, failure])
})

t.test('an owner that dies while it answers breaks the connection', async t => {
  const { url, outcomes } = await node(t, await owner(t, (_req, res) => {
    res.writeHead(200, { 'content-type': 'text/event-stream' })
    res.write('data: 1\n\n')
    setTimeout(() => { res.destroy() }, 20)
  }))
  const res = await answerTo(send(url).end())
  await t.rejects(read(res), { code: 'ECONNRESET' })
  t.equal(res.complete, false)
  t.strictSame(outcomes, ['answered'])
})

t.test('a request that could not be passed on is untouched', async t => {
  const body = Buffer.alloc(3 * 1024 * 1024, 'x')
  const { url, outcomes } = await node(t, `http://127.0.0.1:${await freePort()}`)
  for (const headers of [{ 'content-length': body.length }, {}]) {
    const res = await answerTo(send(url, { method: 'POST', headers: { 'content-type': 'application/octet-stream', ...headers } }).end(body))
    t.strictSame(JSON.parse(String(await read(res))), { servedHere: hash(body) })
  }
  t.strictSame(outcomes, ['unreachable', 'unreachable'])
})

t.test('an owner that takes no connection is unreachable after connectTimeout', async t => {
  // A TLS connection is one only after a handshake, which never comes here.
  const silent = createServer(socket => { t.teardown(() => { socket.destroy() }) }).listen(0, '127.0.0.1')
  t.teardown(() => { silent.close() })
  await once(silent, 'listening')
  const url = `https://127.0.0.1:${portOf(silent)}`
  const { url: front, outcomes } = await node(t, url, { connectTimeout: 200 })
  const started = Date.now()
  const res = await answerTo(send(front, { method: 'POST', headers: { 'content-type': 'application/octet-stream' } }).end('body'))
  t.strictSame(JSON.parse(String(await read(res))), { servedHere: hash('body') })
  t.strictSame(outcomes, ['unreachable'])
  t.ok(Date.now() - started < 3000)
})

t.test('an owner that takes a connection and says nothing is given up when it had to say something', async t => {
  const silent = createServer().listen(0, '127.0.0.1')
  await once(silent, 'listening')
  t.teardown(() => silent.close())
  const sockets: Socket[] = []
  silent.on('connection', (socket) => { sockets.push(socket) })
  const { url, outcomes, causes } = await node(t, `http://127.0.0.1:${portOf(silent)}`, { hop: { patience: 200 } })
  const sent = performance.now()
  t.equal((await fetch(url, { method: 'POST', body: 'hello' })).status, 200)
  t.ok(performance.now() - sent >= 190)
  t.strictSame(outcomes, ['silent'])
  t.match(causes, [{ message: /has not said in time/ }])
  t.equal(sockets.length, 1)
  for (const socket of sockets) socket.destroy()
})

t.test('a request without a body may be repeated until there is an answer, if it does the same twice', async t => {
  const { url, outcomes } = await node(t, await owner(t, (_req, res) => { res.destroy() }))
  const res = await answerTo(send(url).end())
  t.equal(res.statusCode, 200)
  t.strictSame(JSON.parse(String(await read(res))), { servedHere: hash(undefined) })
  t.strictSame(outcomes, ['unreachable'])
  t.equal((await answerTo(send(url, { method: 'POST' }).end())).statusCode, 502)
})

t.test('an owner that is given up ends what waits for it', async t => {
  const arrived: IncomingMessage[] = []
  const silent = await owner(t, (req, res) => {
    arrived.push(req.resume())
    if (req.url === '/sse') res.writeHead(200).flushHeaders()
  })
  const lease = new AbortController()
  const { url, outcomes } = await node(t, silent, { hop: { signal: lease.signal } })
  const get = answerTo(send(url).end())
  const post = answerTo(send(url, { method: 'POST' }).end('{}'))
  const sse = await answerTo(send(`${url}/sse`).end())
  const broken = t.rejects(read(sse), { code: 'ECONNRESET' })
  await eventually(t, () => arrived.length === 3, 'the owner has them')
  lease.abort()
  t.equal((await get).statusCode, 200, 'served here')
  t.equal((await post).statusCode, 502, 'may have been served there')
  await broken
  const late = await answerTo(send(url).end())
  t.equal(late.statusCode, 200)
  t.equal(arrived.length, 3, 'nothing is sent to it any more')
  t.equal(outcomes.length, 4)
})

t.test('hooks of both nodes can set the same headers', async t => {
  const { url } = await node(t, await owner(t, (_req, res) => {
    res.setHeader('access-control-allow-origin', 'https://app.example.com')
    res.setHeader('vary', 'Origin, Accept')
    res.setHeader('set-cookie', ['both=1', 'owner=1', 'owner=2'])
    res.end('ok')
  }), {
    prepare (app) {
      app.addHook('onRequest', async (_request, reply) => {
        reply.header('access-control-allow-origin', 'https://app.example.com')
        reply.header('vary', 'Origin')
        reply.header('x-node', 'here')
        reply.header('set-cookie', 'both=1')
      })
      app.addHook('onSend', async (_request, reply, payload) => {
        reply.header('x-sent', 'here')
        return payload
      })
    }
  })
  const res = await answerTo(send(url).end())
  await read(res)
  const names = res.rawHeaders.filter((_, i) => i % 2 === 0).map(name => name.toLowerCase())
  for (const name of ['access-control-allow-origin', 'vary', 'content-length', 'date']) {
    t.equal(names.filter(other => other === name).length, 1, name)
  }
  t.match(res.headers, { vary: 'Origin, Accept', 'x-node': 'here', 'x-sent': 'here', 'set-cookie': ['both=1', 'owner=1', 'owner=2'] })
})

t.test('an answer that is here at once goes out in one piece, any other as it comes', async t => {
  const sent: boolean[] = []
  let finish = (): void => {}
  const { url } = await node(t, await owner(t, (req, res) => {
    res.writeHead(200, { 'content-length': 9 }).write('an ')
    if (req.url === '/whole') res.end('answer')
    else finish = () => { res.end('answer') }
  }), {
    prepare (app) {
      app.addHook('onSend', async (_request, _reply, payload) => {
        sent.push(Buffer.isBuffer(payload))
        finish()
      })
    }
  })
  for (const path of ['/whole', '/parts']) {
    const res = await answerTo(send(`${url}${path}`).end())
    t.equal(res.headers['content-length'], '9')
    t.equal(String(await read(res)), 'an answer')
  }
  t.strictSame(sent, [true, false])
})

t.test('answers without a body have none', async t => {
  const { url } = await node(t, await owner(t, (req, res) => {
    res.statusCode = req.method === 'HEAD' ? 200 : 204
    res.setHeader('set-cookie', 'a=1')
    res.end()
  }), { prepare (app) { app.addHook('onRequest', async (_, reply) => { reply.header('set-cookie', 'a=1') }) } })
  for (const [method, status] of [['HEAD', 200], ['DELETE', 204]] as const) {
    const res = await answerTo(send(url, { method }).end())
    t.equal((await read(res)).length, 0)
    t.equal(res.statusCode, status)
    t.strictSame(res.headers['set-cookie'], ['a=1'])
  }
})

t.test('early hints of the owner are for nobody here, and what it has packed arrives as it is', async t => {
  const packed = gzipSync('hello')
  const { url } = await node(t, await owner(t, (_req, res) => {
    res.writeEarlyHints({ link: '</a>; rel=preload' })
    res.setHeader('content-encoding', 'gzip')
    res.end(packed)
  }))
  const res = await answerTo(send(url).end())
  t.equal(res.statusCode, 200)
  t.strictSame(await read(res), packed)
})

t.test('an answer that a hook puts another in place of is not waited for', async t => {
  let isGone = false
  const { url } = await node(t, await owner(t, (_req, res) => {
    res.write('the first part')
    res.on('close', () => { isGone = true })
  }), {
    prepare (app) {
      app.addHook('onSend', async (_request, _reply, payload) => {
        if (payload instanceof Readable) payload.destroy()
        return 'another'
      })
    }
  })
  t.equal((await read(await answerTo(send(url).end()))).toString(), 'another')
  await eventually(t, () => isGone, 'the owner need not go on')
})

t.test('an early refusal by the owner reaches a client that is still sending', async t => {
  const { url } = await node(t, await owner(t, (_req, res) => { res.writeHead(413).end('too large') }))
  const req = send(url, { method: 'POST' })
  req.write(Buffer.alloc(100_000))
  const res = await answerTo(req)
  t.equal(res.statusCode, 413)
  t.equal(String(await read(res)), 'too large')
  req.destroy()
})

t.test('a connection that the owner has closed meanwhile is not used again', async t => {
  let requests = 0
  const sockets = new Set<NodeJS.ReadableStream & { destroy: () => void }>()
  const url = await owner(t, (req, res) => {
    requests++
    sockets.add(req.socket)
    res.end('ok')
  })
  const { url: front, outcomes } = await node(t, url)
  await read(await answerTo(send(front).end()))
  for (const socket of sockets) socket.destroy()
  await sleep(20)
  const res = await answerTo(send(front, { method: 'POST' }).end('{}'))
  t.equal(res.statusCode, 200)
  t.equal(requests, 2)
  t.strictSame(outcomes, ['answered', 'answered'])
})

t.test('a client that leaves before there is a connection takes its request with it', async t => {
  const dispatcher = new Agent({ connections: 1 })
  const forwarder = new Forwarder({ dispatcher })
  t.teardown(() => dispatcher.destroy())
  const seen: string[] = []
  const first = createDeferred<ServerResponse>()
  const url = await owner(t, (req, res) => {
    seen.push(String(req.url))
    if (req.url === '/first') first.resolve(res)
    else res.end()
  })
  const app = fastify()
  const outcomes: unknown[] = []
  app.addHook('onRequest', async (request, reply) => {
    await forwarder.forward(request, reply, { to: { node: 'owner-1', url }, secret: SECRET, body: new KeptBody(request.raw) }).catch((error: unknown) => outcomes.push(error))
    return reply
  })
  app.all('/*', async () => {})
  const queued: IncomingMessage[] = []
  app.server.on('request', (raw) => { queued.push(raw) })
  const own = await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  const running = answerTo(send(`${own}/first`).end())
  const response = await first.promise
  const leaving = send(`${own}/second`).end()
  await eventually(t, () => queued.length === 2, 'it waits for the connection')
  leaving.destroy()
  await eventually(t, () => outcomes.length === 1, 'and is over')
  t.match(outcomes, [{ name: 'ForwardError', message: 'The client has gone away' }])
  response.end()
  await read(await running)
  await read(await answerTo(send(`${own}/third`).end()))
  t.strictSame(seen, ['/first', '/third'])
})

t.test('an answer that comes after this node has answered itself is dropped', async t => {
  const answered = createDeferred<void>()
  const dropped = createDeferred<void>()
  const there = await owner(t, async (_req, res) => {
    await answered.promise
    res.on('close', () => dropped.resolve())
    res.writeHead(200, { 'x-late': 'yes' }).write('begun')
  })
  const { url, outcomes } = await node(t, there, {
    prepare (app) {
      app.addHook('onRequest', async (_request, reply) => { setTimeout(() => reply.code(504).send('too late'), 20) })
      app.addHook('onError', async () => {})
    }
  })
  const res = await answerTo(send(url).end())
  t.equal(res.statusCode, 504)
  t.equal(String(await read(res)), 'too late')
  answered.resolve()
  await dropped.promise
  await eventually(t, () => outcomes.length === 1, 'it is over')
  t.match(outcomes, [{ name: 'ForwardError' }])
})

t.test('a question is answered by its last head', async t => {
  const url = await owner(t, (_req, res) => {
    res.writeProcessing()
    res.setHeader(HOPS_HEADER, '')
    res.end()
  })
  const forwarder = new Forwarder()
  t.teardown(() => forwarder.close())
  await t.resolves(forwarder.probe({ node: 'owner-1', url }, { secret: SECRET, patience: 5000 }))
})

t.test('closing ends a question that waits for its answer', async t => {
  const asked = createDeferred()
  const url = await owner(t, () => { asked.resolve() })
  const forwarder = new Forwarder()
  const answer = t.rejects(forwarder.probe({ node: 'owner-1', url }, { secret: SECRET, patience: 60_000 }), { message: 'This node is closing' })
  await asked.promise
  await forwarder.close()
  await answer
})

t.test('closing ends open streams', async t => {
  const url = await owner(t, (_req, res) => { res.writeHead(200).flushHeaders() })
  const app = fastify({ forceCloseConnections: true })
  const forwarder = new Forwarder()
  app.get('/', {
    onRequest: async (request, reply) => {
      const to = { node: 'owner-1', url }
      await forwarder.forward(request, reply, { to, secret: SECRET, body: new KeptBody(request.raw) })
      return reply
    }
  }, async () => {})
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  const res = await answerTo(send(`http://127.0.0.1:${portOf(app.server)}/`).end())
  const broken = t.rejects(read(res))
  await forwarder.close()
  await broken
})

t.test('a request that came over HTTP/2 goes on over HTTP/1.1, with its body and its name', async t => {
  const seen: unknown[] = []
  const url = await owner(t, async (req, res) => {
    let body = ''
    for await (const chunk of req) body += String(chunk)
    const { host, 'transfer-encoding': encoding } = req.headers
    seen.push([req.method, req.url, host, body, encoding, Object.keys(req.headers).some(name => name.startsWith(':'))])
    res.setHeader('connection', 'keep-alive').end('from the owner')
  })
  const app = fastify({ http2: true })
  const forwarder = new Forwarder()
  app.register(async (scope: FastifyInstance) => {
    scope.addHook('onRequest', async (request, reply) => {
      await forwarder.forward(request, reply, { to: { node: 'owner-1', url }, secret: SECRET, body: new KeptBody(request.raw) })
      return reply
    })
    scope.all('/*', async () => 'not passed on')
  })
  t.teardown(async () => {
    await forwarder.close()
    await app.close()
  })
  const front = await app.listen({ port: 0, host: '127.0.0.1' })
  const authority = front.replace('http://', '')
  for (const [headers, body] of [
    [{ ':method': 'POST' }, 'of unknown length'], [{ ':method': 'POST', 'content-length': 5 }, 'known'], [{ ':method': 'GET' }], [{ ':method': 'DELETE' }]
  ] as const) {
    t.strictSame(await send2(t, front, headers, body), { status: 200, text: 'from the owner' })
  }
  t.strictSame(seen, [
    ['POST', '/mcp?x=1', authority, 'of unknown length', 'chunked', false],
    ['POST', '/mcp?x=1', authority, 'known', undefined, false],
    ['GET', '/mcp?x=1', authority, '', undefined, false],
    ['DELETE', '/mcp?x=1', authority, '', undefined, false]
  ])
})

for (const state of ['refused', 'misdirected'] as const) {
  t.test(`a request that was ${state} can be served elsewhere, with its body`, async t => {
    const body = Buffer.alloc(300_000, 'x')
    const { url, outcomes } = await node(t, await owner(t, (_req, res) => { res.writeHead(503).end('not me') }, state))
    for (const headers of [{ 'content-length': body.length }, {}]) {
      const res = await answerTo(send(url, { method: 'POST', headers: { 'content-type': 'application/octet-stream', ...headers } }).end(body))
      t.strictSame(JSON.parse(String(await read(res))), { servedHere: hash(body) })
    }
    t.strictSame(outcomes, [state, state])
  })
}

t.test('what answers without the proof is no node, and does not answer for one', async t => {
  const answers: Array<(res: ServerResponse) => void> = [
    (res) => { res.removeHeader(ANSWER_HEADER) },
    (res) => { res.setHeader(ANSWER_HEADER, 'made-up served') },
    (res) => { res.setHeader(ANSWER_HEADER, `${String(res.getHeader(ANSWER_HEADER))} too`) }
  ]
  const { url, outcomes, causes } = await node(t, await owner(t, (req, res) => {
    answers[Number(req.headers['x-answer'])]?.(res)
    res.writeHead(404).end('another service')
  }))
  for (const i of answers.keys()) {
    const res = await answerTo(send(url, { headers: { 'x-answer': i } }).end())
    t.strictSame(JSON.parse(String(await read(res))), { servedHere: hash(undefined) })
  }
  t.strictSame(outcomes, Array(3).fill('stranger'))
  t.match(causes, Array(3).fill({ message: /no node of this cluster: it says 404/ }))
})

t.test('the proof of the owner does not reach the client', async t => {
  const { url } = await node(t, await owner(t, (_req, res) => { res.end('ok') }))
  const res = await answerTo(send(url).end())
  await read(res)
  t.equal(res.headers[ANSWER_HEADER], undefined)
})

t.test('a body that has come as a whole is sent in one piece, and can be read again', async t => {
  const bodies: string[] = []
  const handler = async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
    if (req.url === '/dies') {
      req.socket.destroy()
      return
    }
    bodies.push(`${req.headers['content-length']} ${(await read(req)).toString()}`)
    res.end('served there')
  }
  const post = { method: 'POST', headers: { 'content-type': 'text/plain', 'content-length': 5 } }
  const results: unknown[] = []
  const requests: IncomingMessage[] = []
  const prepare = (app: FastifyInstance): void => {
    app.addHook('onRequest', async ({ raw }) => { requests.push(raw) })
    app.addHook('preParsing', async (_request, _reply, payload) => Readable.from([String(await read(payload)).toUpperCase()]))
  }
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => agent.destroy())
  for (const url of [await owner(t, handler), await owner(t, handler, 'refused'), `http://127.0.0.1:${await freePort()}`]) {
    const passing = await node(t, url, { late: true, prepare })
    for (let i = 0; i < 2; i++) {
      const res = await answerTo(send(passing.url, { ...post, agent }).end('whole'))
      results.push((await read(res)).toString())
    }
    results.push(...passing.outcomes)
  }
  // As the hook of the app has made it: nobody has taken the body away from it.
  const here = JSON.stringify({ servedHere: hash('WHOLE') })
  t.strictSame(results, ['served there', 'served there', 'answered', 'answered', here, here, 'refused', 'refused', here, here, 'unreachable', 'unreachable'])
  t.strictSame(bodies, Array(4).fill('5 whole'))

  const { url, outcomes } = await node(t, await owner(t, handler), { late: true, prepare })
  t.equal((await answerTo(send(`${url}/dies`, post).end('whole'))).statusCode, 502, 'and its owner may have read it')
  t.match(outcomes, [{ name: 'ForwardError', message: 'The node that owns the session failed' }])
  t.strictSame(requests.map(({ readableEnded }) => readableEnded), Array(7).fill(true), 'the requests are over')
})

t.test('a body that comes in chunks, or later, is sent as it comes', async t => {
  const bodies: string[] = []
  const there = await owner(t, async (req, res) => {
    bodies.push((await read(req)).toString())
    res.end()
  })
  const { url } = await node(t, there, { late: true })
  const chunked = send(url, { method: 'POST', headers: { 'content-type': 'text/plain' } })
  chunked.write('in ')
  chunked.end('chunks')
  await read(await answerTo(chunked))
  const slow = send(url, { method: 'POST', headers: { 'content-type': 'text/plain', 'content-length': 4 } })
  slow.write('sl')
  await sleep(20)
  slow.end('ow')
  await read(await answerTo(slow))
  t.strictSame(bodies, ['in chunks', 'slow'])
})

t.test('a body that has ended is read again to its end', async t => {
  const app = fastify()
  t.teardown(() => app.close())
  const seen: string[] = []
  app.addHook('onRequest', async ({ raw }) => {
    const body = new KeptBody(raw)
    for (let i = 0; i < 2; i++) seen.push((await read(body.open())).toString())
  })
  app.addHook('preParsing', async () => Readable.from(['{}']))
  app.post('/', async () => 'here')
  await app.listen({ port: 0, host: '127.0.0.1' })
  const request = send(`http://127.0.0.1:${portOf(app.server)}/`, { method: 'POST', headers: { 'content-type': 'application/json' } })
  request.write('in ')
  t.equal((await read(await answerTo(request.end('chunks')))).toString(), 'here')
  t.strictSame(seen, ['in chunks', 'in chunks'])
})

t.test('a body that is too long to be kept cannot be read again', async t => {
  const kept: KeptBody[] = []
  const url = await owner(t, async (req, res) => {
    req.resume()
    await once(req, 'end')
    res.end()
  }, 'refused')
  const app = fastify()
  const forwarder = new Forwarder()
  app.addHook('onRequest', async (request, reply) => {
    const body = new KeptBody(request.raw)
    kept.push(body)
    await forwarder.forward(request, reply, { to: { node: 'owner-1', url }, secret: SECRET, body })
    return reply.send('done')
  })
  app.post('/', async () => {})
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(async () => {
    await forwarder.close()
    await app.close()
  })
  for (const size of [MOST_KEPT, MOST_KEPT + 1]) {
    await read(await answerTo(send(`http://127.0.0.1:${portOf(app.server)}/`, { method: 'POST' }).end(Buffer.alloc(size))))
  }
  t.strictSame(kept.map(({ isWhole }) => isWhole), [true, false])
})

t.test('a dispatcher of the app makes the connections, and is left open', async t => {
  const dispatcher = new Agent()
  t.teardown(() => dispatcher.destroy())
  const url = await owner(t, (req, res) => {
    if (req.url === '/open') res.writeHead(200).flushHeaders()
    else res.end('ok')
  })
  const app = fastify({ forceCloseConnections: true })
  const forwarder = new Forwarder({ dispatcher })
  app.addHook('onRequest', async (request, reply) => {
    await forwarder.forward(request, reply, { to: { node: 'owner-1', url }, secret: SECRET, body: new KeptBody(request.raw) })
    return reply
  })
  app.get('/open', async () => {})
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  const res = await answerTo(send(`http://127.0.0.1:${portOf(app.server)}/open`).end())
  const broken = t.rejects(read(res), 'what it carried is cut off')
  await forwarder.close()
  await broken
  const { statusCode } = await dispatcher.request({ origin: url, path: '/', method: 'GET' })
  t.equal(statusCode, 200)
})
