import Fastify, { type FastifyInstance } from 'fastify'
import { PassThrough } from 'node:stream'
import t, { type Test } from 'tap'
import { injectFetch } from '../../lib/testing/index.js'
import { until } from '../helpers/waiting/until.js'

function build (t: Test, routes: (app: FastifyInstance) => void): typeof fetch {
  const app = Fastify()
  t.teardown(() => app.close())
  routes(app)
  return injectFetch(app)
}

t.test('a request and its response come across whole', async (t) => {
  const fetchFromApp = build(t, (app) => {
    app.post('/echo', async ({ method, url, headers, body }, reply) => {
      reply.code(201).header('set-cookie', ['a=1', 'b=2']).header('x-n', 1)
      return { method, url, host: headers.host, length: headers['content-length'], accept: headers.accept, agent: headers['user-agent'], body }
    })
  })
  const response = await fetchFromApp('http://example.com:81/echo?a=b', {
    method: 'POST', body: '{"ü":1}', headers: { 'content-type': 'application/json', 'user-agent': 'mine' }
  })
  t.equal(response.status, 201)
  t.ok(response.ok)
  t.equal(response.statusText, 'Created')
  t.equal(response.url, 'http://example.com:81/echo?a=b')
  t.strictSame(response.headers.getSetCookie(), ['a=1', 'b=2'])
  t.equal(response.headers.get('x-n'), '1')
  t.strictSame(await response.json(), {
    method: 'POST', url: '/echo?a=b', host: 'example.com:81', length: '8', accept: '*/*', agent: 'mine', body: { ü: 1 }
  })
})

t.test('a response that has no body has none', async (t) => {
  const fetchFromApp = build(t, (app) => {
    app.get('/', async () => 'text')
    app.delete('/', async (_request, reply) => reply.code(204).send())
    app.get('/moved', async (_request, reply) => reply.redirect('/'))
  })
  const gone = await fetchFromApp(new URL('http://localhost/'), { method: 'DELETE' })
  t.equal(gone.status, 204)
  t.equal(gone.body, null)
  const head = await fetchFromApp(new Request('http://localhost/', { method: 'HEAD' }))
  t.equal(head.status, 200)
  t.equal(head.body, null)
  const moved = await fetchFromApp('http://localhost/moved')
  t.equal(moved.status, 302, 'redirects are not followed')
  t.equal(moved.headers.get('location'), '/')
})

t.test('a response is there as soon as its head is, and its body comes as it is written', async (t) => {
  const stream = new PassThrough()
  const fetchFromApp = build(t, (app) => app.get('/', (_request, reply) => reply.send(stream)))
  const answer = fetchFromApp('http://localhost/')
  stream.write('one')
  const reader = (await answer).body?.getReader()
  t.equal(Buffer.from((await reader?.read())?.value ?? []).toString(), 'one')
  stream.write('two')
  t.equal(Buffer.from((await reader?.read())?.value ?? []).toString(), 'two')
  stream.end()
  t.ok((await reader?.read())?.done)
})

t.test('a reader that is slow holds the app up', async (t) => {
  const stream = new PassThrough()
  const fetchFromApp = build(t, (app) => app.get('/', (_request, reply) => reply.send(stream)))
  const answer = fetchFromApp('http://localhost/')
  const chunk = Buffer.alloc(64 * 1024)
  let written = 0
  while (written < 100 && stream.write(chunk)) written++
  t.ok(written < 100, 'there is an end to what is taken ahead')
  stream.end()
  t.ok((await (await answer).arrayBuffer()).byteLength >= written * chunk.length)
})

t.test('a body can be a stream', async (t) => {
  const fetchFromApp = build(t, (app) => {
    app.addContentTypeParser('text/plain', { parseAs: 'string' }, (_request, body, done) => done(null, body))
    app.post('/', async ({ body, headers }) => ({ body, encoding: headers['transfer-encoding'], length: headers['content-length'] }))
  })
  const body = new Blob(['some', 'thing']).stream()
  const response = await fetchFromApp('http://localhost/', { method: 'POST', body, duplex: 'half', headers: { 'content-type': 'text/plain' } })
  t.strictSame(await response.json(), { body: 'something', encoding: 'chunked' })
})

for (const [what, hangUp] of Object.entries({
  'aborting the request': async (_body: ReadableStream | null, controller: AbortController) => controller.abort(),
  'cancelling the body': async (body: ReadableStream | null) => await body?.cancel()
})) {
  t.test(`${what} ends it for the app`, async (t) => {
    const stream = new PassThrough()
    let closed = 0
    const fetchFromApp = build(t, (app) => app.get('/', (_request, reply) => {
      reply.raw.once('close', () => { closed++ })
      return reply.send(stream)
    }))
    const controller = new AbortController()
    stream.write('one')
    const { body } = await fetchFromApp('http://localhost/', { signal: controller.signal })
    t.equal(closed, 0)
    await hangUp(body, controller)
    await until(() => closed === 1, 'the response is closed')
    await until(() => stream.destroyed, 'what the app sent has ended')
  })
}

t.test('it rejects as fetch does', async (t) => {
  const stream = new PassThrough()
  const fetchFromApp = build(t, (app) => {
    app.get('/never', () => new Promise(() => {}))
    app.get('/broken', (_request, reply) => { reply.raw.destroy() })
    app.get('/cut', (_request, reply) => {
      reply.send(stream)
      stream.write('one')
    })
  })
  await t.rejects(fetchFromApp('http://localhost/never', { signal: AbortSignal.abort() }), { name: 'AbortError' })
  const controller = new AbortController()
  const aborted = fetchFromApp('http://localhost/never', { signal: controller.signal })
  setImmediate(() => controller.abort(new Error('enough')))
  await t.rejects(aborted, new Error('enough'))
  await t.rejects(fetchFromApp('http://localhost/broken'), { name: 'TypeError', message: 'fetch failed', cause: { code: 'LIGHT_ECONNRESET' } })
  await t.rejects(fetchFromApp('no URL'), { name: 'TypeError' })

  const cut = await fetchFromApp('http://localhost/cut')
  stream.destroy(new Error('the disk is full'))
  await t.rejects(cut.text(), { name: 'TypeError', message: 'terminated' })
})

t.test('a body that is read while the request is aborted fails with the reason', async (t) => {
  const stream = new PassThrough()
  const fetchFromApp = build(t, (app) => app.get('/', (_request, reply) => reply.send(stream)))
  stream.write('one')
  const controller = new AbortController()
  const response = await fetchFromApp('http://localhost/', { signal: controller.signal })
  const text = response.text()
  controller.abort(new Error('enough'))
  await t.rejects(text, new Error('enough'))
})

t.test('an app that has closed, or does not come up, is a connection that fails', async (t) => {
  const app = Fastify()
  await app.ready()
  await app.close()
  await t.rejects(injectFetch(app)('http://localhost/'), { name: 'TypeError', message: 'fetch failed', cause: { code: 'FST_ERR_REOPENED_CLOSE_SERVER' } })
  const broken = Fastify()
  broken.register(async () => { throw new Error('no database') })
  await t.rejects(injectFetch(broken)('http://localhost/'), { name: 'TypeError', message: 'fetch failed', cause: { message: 'no database' } })
})
