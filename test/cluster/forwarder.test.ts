import { createHash } from 'node:crypto'
import { once } from 'node:events'
import http, { type IncomingMessage, type RequestOptions, type ServerResponse } from 'node:http'
import { connect, type OutgoingHttpHeaders } from 'node:http2'
import { createServer, type Server } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import { FORWARDED_HEADER, Forwarder, isForwarded, type Hop } from '../../lib/cluster/forwarder.js'
import { freePort } from '../helpers/redis-server.js'

const SECRET = 'the secret of the cluster'

function portOf (server: Server): number {
  const address = server.address()
  return typeof address === 'object' && address !== null ? address.port : 0
}

/** A plain HTTP server in the place of the owner. */
async function owner (t: Test, handler: (req: IncomingMessage, res: ServerResponse) => void): Promise<string> {
  const server = http.createServer(handler).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.close().closeAllConnections() })
  return `http://127.0.0.1:${portOf(server)}`
}

interface Node {
  app: FastifyInstance
  url: string
  /** What became of every request that was passed on. */
  outcomes: Array<boolean | Error>
}

interface NodeOptions {
  hop?: Partial<Hop>
  connectTimeout?: number
  prepare?: (app: FastifyInstance) => void
}

/** A node that passes everything on to `url`, and serves itself what it could not pass on. */
async function node (t: Test, url: string, { hop, connectTimeout, prepare }: NodeOptions = {}): Promise<Node> {
  const app = fastify({ forceCloseConnections: true })
  const forwarder = new Forwarder(connectTimeout === undefined ? {} : { connectTimeout })
  const outcomes: Node['outcomes'] = []
  prepare?.(app)
  app.addHook('onRequest', async (request, reply) => {
    try {
      const to = { node: 'owner-1', url }
      const passed = await forwarder.forward(request, reply, { to, secret: SECRET, ...hop })
      outcomes.push(passed)
      if (passed) return reply
    } catch (error) {
      outcomes.push(error instanceof Error ? error : new Error(String(error)))
      return reply.code(502).send({ failed: true })
    }
  })
  app.addContentTypeParser('*', { parseAs: 'buffer', bodyLimit: 64 * 1024 * 1024 }, (_request, body, done) => { done(null, body) })
  app.all('/*', async request => ({ servedHere: hash(request.body) }))
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(async () => {
    await forwarder.close()
    await app.close()
  })
  return { app, url: `http://127.0.0.1:${portOf(app.server)}`, outcomes }
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
  t.strictSame(outcomes, [true])
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
  t.strictSame(outcomes, [true])
})

t.test('a request that could not be passed on is untouched', async t => {
  const body = Buffer.alloc(3 * 1024 * 1024, 'x')
  const { url, outcomes } = await node(t, `http://127.0.0.1:${await freePort()}`)
  for (const headers of [{ 'content-length': body.length }, {}]) {
    const res = await answerTo(send(url, { method: 'POST', headers: { 'content-type': 'application/octet-stream', ...headers } }).end(body))
    t.strictSame(JSON.parse(String(await read(res))), { servedHere: hash(body) })
  }
  t.strictSame(outcomes, [false, false])
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
  t.strictSame(outcomes, [false])
  t.ok(Date.now() - started < 3000)
})

t.test('a request without a body may be repeated until there is an answer', async t => {
  const { url, outcomes } = await node(t, await owner(t, (_req, res) => { res.destroy() }))
  const res = await answerTo(send(url).end())
  t.equal(res.statusCode, 200)
  t.strictSame(JSON.parse(String(await read(res))), { servedHere: hash(undefined) })
  t.strictSame(outcomes, [false])
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
  const { url } = await node(t, await owner(t, (req, res) => {
    res.writeHead(200, { 'content-length': 9 }).write('an ')
    if (req.url === '/whole') res.end('answer')
    else setTimeout(() => { res.end('answer') }, 20)
  }), { prepare (app) { app.addHook('onSend', async (_request, _reply, payload) => { sent.push(Buffer.isBuffer(payload)) }) } })
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
  t.strictSame(outcomes, [true, true])
})

t.test('closing ends open streams', async t => {
  const url = await owner(t, (_req, res) => { res.writeHead(200).flushHeaders() })
  const app = fastify({ forceCloseConnections: true })
  const forwarder = new Forwarder()
  app.get('/', {
    onRequest: async (request, reply) => {
      const to = { node: 'owner-1', url }
      await forwarder.forward(request, reply, { to, secret: SECRET })
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

t.test('signatures', async t => {
  const seen: boolean[] = []
  const receive = { node: 'owner-1', secret: SECRET }
  const headers: string[] = []
  const target = fastify()
  target.all('/*', async (request: FastifyRequest) => {
    headers.push(String(request.headers[FORWARDED_HEADER]))
    seen.push(isForwarded(request, receive))
  })
  await target.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => target.close())
  const url = `http://127.0.0.1:${portOf(target.server)}`
  const direct = async (path: string, headers: Record<string, string>, method = 'GET'): Promise<boolean | undefined> => {
    const res = await answerTo(send(`${url}${path}`, { method, headers }).end())
    await read(res)
    return seen.at(-1)
  }

  const { url: front } = await node(t, url)
  await read(await answerTo(send(`${front}/mcp?x=1`, { headers: { 'mcp-session-id': 'abc', [FORWARDED_HEADER]: 'made.up' } }).end()))
  t.equal(seen.at(-1), true, 'a node replaces what its client made up')
  const good = String(headers.at(-1))

  const session = { 'mcp-session-id': 'abc' }
  t.equal(await direct('/mcp?x=1', { ...session, [FORWARDED_HEADER]: good }), true, 'the very same request')
  t.equal(await direct('/mcp?x=1', session), false)
  for (const header of ['', 'x', '.', 'made.up', good.slice(1), `${good}A`, 'A'.repeat(good.length), '€']) {
    t.equal(await direct('/mcp?x=1', { ...session, [FORWARDED_HEADER]: Buffer.from(header).toString('latin1') }), false, header)
  }
  t.equal(await direct('/mcp?x=2', { ...session, [FORWARDED_HEADER]: good }), false, 'another URL')
  t.equal(await direct('/mcp?x=1', { ...session, [FORWARDED_HEADER]: good }, 'DELETE'), false, 'another method')
  t.equal(await direct('/mcp?x=1', { 'mcp-session-id': 'abd', [FORWARDED_HEADER]: good }), false, 'another session')
  receive.node = 'owner-2'
  t.equal(await direct('/mcp?x=1', { ...session, [FORWARDED_HEADER]: good }), false, 'another node')
  Object.assign(receive, { node: 'owner-1', secret: 'another' })
  t.equal(await direct('/mcp?x=1', { ...session, [FORWARDED_HEADER]: good }), false, 'another secret')

  const { url: early } = await node(t, url, { hop: { secret: '' } })
  receive.secret = ''
  await read(await answerTo(send(`${early}/mcp`).end()))
  t.equal(seen.at(-1), false, 'no secret yet')
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
      await forwarder.forward(request, reply, { to: { node: 'owner-1', url }, secret: SECRET })
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
