import Fastify, { type FastifyRequest, type InjectOptions } from 'fastify'
import t, { type Test } from 'tap'
import { listen } from '../helpers/apps/app.js'
import { connectRaw } from '../helpers/clients/raw-client.js'
import { toUrl, toWebRequest } from '../../lib/endpoint/web-request.js'

async function receive (t: Test, options: InjectOptions): Promise<FastifyRequest> {
  const app = Fastify()
  t.teardown(() => app.close())
  let received: FastifyRequest | undefined
  app.all('/*', async (request) => { received = request })
  await app.inject(options)
  if (received === undefined) throw new Error('No request has come in')
  return received
}

t.test('method, URL and headers are those of the request', async (t) => {
  const request = await receive(t, {
    method: 'POST', url: '/api/mcp?a=1&b=%20', headers: { host: 'mcp.example:8080', 'X-Custom': 'one' }, payload: {}
  })
  const signal = new AbortController().signal
  for (const made of [toWebRequest(request), toWebRequest(request, signal)]) {
    t.type(made, Request)
    t.equal(made.method, 'POST')
    t.equal(made.url, 'http://mcp.example:8080/api/mcp?a=1&b=%20')
    t.equal(made.headers.get('x-custom'), 'one')
    t.equal(made.headers.get('X-CUSTOM'), 'one')
    t.ok(made.headers.has('X-Custom'))
    t.equal(made.headers.get('x-other'), null)
    t.notOk(made.headers.has('x-other'))
    const entries = Object.fromEntries(made.headers.entries())
    t.match(entries, { host: 'mcp.example:8080', 'x-custom': 'one' })
  }
})

t.test('headers of which there are several are one', async (t) => {
  const request = await receive(t, { url: '/', headers: { 'set-cookie': ['a=1', 'b=2'], 'x-custom': ['one', 'two'] } })
  const { headers } = toWebRequest(request)
  t.equal(headers.get('set-cookie'), 'a=1, b=2')
  t.match(Object.fromEntries(headers.entries()), { 'set-cookie': 'a=1, b=2' })
})

t.test('a Host that is none makes no URL that is none', async (t) => {
  for (const host of ['', 'not a host', 'a/b:c', '[', 'localhost:99999', '%']) {
    const request = await receive(t, { url: '/mcp?x=1', headers: { host } })
    const url = toUrl(request)
    t.ok(URL.canParse(url), url)
    t.ok(url.endsWith('/mcp?x=1'), url)
  }
})

t.test('a Host with credentials, which no Request takes', async (t) => {
  for (const host of ['a:b@localhost', '@', 'a@', 'a@b@c']) {
    const request = await receive(t, { url: '/mcp?x=1', headers: { host } })
    t.equal(toWebRequest(request, new AbortController().signal).url, 'http://localhost/mcp?x=1', host)
  }
})

t.test('of a target that is a whole URL, only the path counts', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  app.get('/mcp', async (request) => toWebRequest(request, new AbortController().signal).url)
  const client = await connectRaw(t, await listen(app))
  for (const target of ['http://other.example/mcp?x=1', 'http://a:b@other.example/mcp?x=1']) {
    for (const [host, url] of [['mcp.example:8080', 'http://mcp.example:8080/mcp?x=1'], ['mcp.example', 'http://mcp.example/mcp?x=1'], ['[', 'http://localhost/mcp?x=1']] as const) {
      client.received = ''
      client.send(`GET ${target} HTTP/1.1`, `host: ${host}`)
      await client.see(url)
    }
  }
})

t.test('an aborted client aborts the whole request', async (t) => {
  const abort = new AbortController()
  const made = toWebRequest(await receive(t, { url: '/' }), abort.signal)
  t.notOk(made.signal.aborted)
  abort.abort()
  t.ok(made.signal.aborted)
})

t.test('the pseudo headers of HTTP/2 are not headers to the web', async (t) => {
  const request = await receive(t, { url: '/', headers: { ':path': '/', ':method': 'GET', 'x-custom': 'one' } })
  const made = toWebRequest(request, new AbortController().signal)
  t.notOk(Array.from(made.headers.keys()).some((name) => name.startsWith(':')))
  t.equal(made.headers.get('x-custom'), 'one')
})
