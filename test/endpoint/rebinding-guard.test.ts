// A web page must not reach a server on the reader's own machine under a name that it has made point there.
import type { FastifyInstance } from 'fastify'
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { connect } from 'node:net'
import t, { type Test } from 'tap'
import type { SessionEndpointOptions } from '../../lib/endpoint/options.js'
import { portOf } from '../helpers/apps/app.js'
import { ACCEPT_BOTH, INITIALIZE, post, rejection, stageEndpoint, type Stage, type StageOptions } from '../helpers/apps/endpoint-stage.js'
import { toHandler } from '../helpers/mcp-servers/modern-handler.js'

interface Answer {
  readonly status: number | undefined
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

type Names = Record<string, string>

function knock (port: number, headers: Names, { address = '127.0.0.1', method = 'POST' } = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({
      host: address, port, method, path: '/mcp', agent: false, headers: { accept: ACCEPT_BOTH, 'content-type': 'application/json', ...headers }
    }, (response) => {
      let body = ''
      response.on('data', (chunk) => { body += String(chunk) })
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, body }))
    })
    request.on('error', reject)
    request.end(method === 'POST' ? JSON.stringify(INITIALIZE) : undefined)
  })
}

async function listenOn (app: FastifyInstance, host: string): Promise<number> {
  await app.listen({ port: 0, host })
  return portOf(app)
}

async function stageLocal (t: Test, endpoint: Partial<SessionEndpointOptions> = {}, server: StageOptions['server'] = {}): Promise<{ stage: Stage, port: number }> {
  const stage = await stageEndpoint(t, { endpoint, server })
  return { stage, port: await listenOn(stage.app, '127.0.0.1') }
}

function isRefused (t: Test, answer: Answer, name: 'Host' | 'Origin'): void {
  t.equal(answer.status, 403)
  t.strictSame(JSON.parse(answer.body), rejection(-32000, `Forbidden: this ${name} is not allowed`))
  t.match(answer.headers['content-type'], /^application\/json/)
}

t.test('names of this machine are answered on a loopback connection, with any port', async (t) => {
  const { port } = await stageLocal(t)
  for (const host of [`127.0.0.1:${port}`, '127.0.0.1', `localhost:${port}`, 'localhost', 'LOCALHOST', 'localhost:1', 'mcp.localhost:3000', '127.1.2.3', '[::1]', `[::1]:${port}`, '127.1']) {
    t.equal((await knock(port, { host })).status, 200, host)
  }
})

t.test('other names are refused on a loopback connection', async (t) => {
  const { stage, port } = await stageLocal(t)
  for (const host of [
    'evil.example', `evil.example:${port}`, '192.168.0.1', '0.0.0.0', '[::2]', 'localhost.evil.example', 'evillocalhost', '127.0.0.1.evil.example',
    'localhost@evil.example', 'localhost:80@evil.example', 'evil.example#localhost', 'evil.example/localhost', 'evil.example\\@localhost',
    'evil.example?localhost', 'localhost, evil.example', ':80', 'localhost:99999', '[::1', '::1', 'xn--', '%6cocalhost.evil.example'
  ]) {
    isRefused(t, await knock(port, { host }), 'Host')
  }
  t.equal(stage.app.sessionManager.getActiveSessionCount(), 0)
  t.equal(stage.servers.length, 0)
})

t.test('every method is guarded', async (t) => {
  const { port } = await stageLocal(t)
  for (const method of ['GET', 'DELETE']) {
    isRefused(t, await knock(port, { host: 'evil.example' }, { method }), 'Host')
    isRefused(t, await knock(port, { origin: 'http://evil.example' }, { method }), 'Origin')
  }
})

t.test('a request without a Host, or with an empty one, is refused on a loopback connection', async (t) => {
  const { port } = await stageLocal(t)
  for (const host of ['', 'host:\r\n', 'host: \r\n']) {
    const socket = connect(port, '127.0.0.1')
    t.teardown(() => socket.destroy())
    socket.write(`GET /mcp HTTP/1.0\r\n${host}\r\n`)
    let received = ''
    for await (const chunk of socket) received += String(chunk)
    t.match(received, /^HTTP\/1\.1 403 /)
  }
})

t.test('origins of this machine are answered on a loopback connection, others are not', async (t) => {
  const { port } = await stageLocal(t)
  for (const origin of ['http://localhost', `http://localhost:${port}`, 'https://localhost:8443', 'http://127.0.0.1:1', 'http://[::1]:3000', 'http://app.localhost', 'vscode-webview://localhost']) {
    t.equal((await knock(port, { origin })).status, 200, origin)
  }
  for (const origin of [
    'http://evil.example', 'http://localhost.evil.example', 'http://evil.example:80', 'null', '', 'file://', 'localhost', 'http://',
    'http://localhost@evil.example', 'data:text/html,localhost', 'http://192.168.0.1', 'http://localhost, http://evil.example'
  ]) {
    isRefused(t, await knock(port, { origin }), 'Origin')
  }
})

t.test('a good Host does not make up for an evil Origin, nor the other way round', async (t) => {
  const { port } = await stageLocal(t)
  isRefused(t, await knock(port, { host: 'localhost', origin: 'http://evil.example' }), 'Origin')
  isRefused(t, await knock(port, { host: 'evil.example', origin: 'http://localhost' }), 'Host')
})

t.test('a loopback connection of IPv6, and of IPv4 to a server of both, are guarded too', async (t) => {
  const v6 = await stageEndpoint(t)
  const v6Port = await listenOn(v6.app, '::1')
  t.equal((await knock(v6Port, { host: `[::1]:${v6Port}` }, { address: '::1' })).status, 200)
  isRefused(t, await knock(v6Port, { host: 'evil.example' }, { address: '::1' }), 'Host')

  const both = await stageEndpoint(t)
  const bothPort = await listenOn(both.app, '::')
  t.equal((await knock(bothPort, { host: 'localhost' })).status, 200)
  isRefused(t, await knock(bothPort, { host: 'evil.example' }), 'Host')
})

t.test('a refusal is logged with what was sent, and names the options', async (t) => {
  const { stage, port } = await stageLocal(t)
  await knock(port, { host: 'evil.example', origin: 'http://evil.example\t"}' })
  const line = stage.log.find((line) => line.includes('"level":40')) ?? '{}'
  t.match(JSON.parse(line), {
    host: 'evil.example',
    origin: 'http://evil.example\t"}',
    msg: 'Forbidden: this Host is not allowed; see the options allowedHosts and allowedOrigins'
  })
})

t.test('allowedHosts are answered to, and no others, this machine included', async (t) => {
  const { port } = await stageLocal(t, { allowedHosts: ['mcp.example', 'other.example:8080', '[::1]'] })
  for (const host of ['mcp.example', 'mcp.example:1234', 'MCP.example', 'other.example:8080', '[::1]:3000']) {
    t.equal((await knock(port, { host })).status, 200, host)
  }
  for (const host of ['other.example', 'other.example:80', 'localhost', '127.0.0.1', 'sub.mcp.example', 'mcp.example.evil.example', 'evil.example']) {
    isRefused(t, await knock(port, { host }), 'Host')
  }
})

t.test('how a host is spelt does not matter', async (t) => {
  const { port } = await stageLocal(t, { allowedHosts: ['MCP.Example', 'Other.Example:8080'] })
  for (const host of ['mcp.example', 'MCP.EXAMPLE:80', 'other.example:8080', 'OTHER.example:8080']) {
    t.equal((await knock(port, { host })).status, 200, host)
  }
})

t.test('without allowedOrigins, the origins of allowed hosts are', async (t) => {
  const { port } = await stageLocal(t, { allowedHosts: ['mcp.example', 'other.example:8080'] })
  const host = 'mcp.example'
  for (const origin of ['https://mcp.example', 'http://mcp.example:1234', 'http://other.example:8080']) {
    t.equal((await knock(port, { host, origin })).status, 200, origin)
  }
  for (const origin of ['http://localhost', 'http://other.example', 'https://evil.example', 'null', '']) {
    isRefused(t, await knock(port, { host, origin }), 'Origin')
  }
})

t.test('allowedOrigins are answered to, and requests without one', async (t) => {
  const { port } = await stageLocal(t, { allowedOrigins: ['https://app.example', 'null'] })
  for (const origin of ['https://app.example', 'null']) t.equal((await knock(port, { origin })).status, 200, origin)
  t.equal((await knock(port, {})).status, 200)
  for (const origin of ['http://app.example', 'https://app.example:8443', 'http://localhost', 'https://app.example.evil.example']) {
    isRefused(t, await knock(port, { origin }), 'Origin')
  }
  isRefused(t, await knock(port, { host: 'evil.example', origin: 'https://app.example' }), 'Host')
})

t.test('wildcards, of hosts and of origins', async (t) => {
  const { port } = await stageLocal(t, { allowedHosts: ['*.mcp.example'], allowedOrigins: ['https://*.app.example'] })
  const host = 'eu.mcp.example:8080'
  t.equal((await knock(port, { host })).status, 200)
  t.equal((await knock(port, { host: 'a.B.mcp.example', origin: 'https://a.app.example' })).status, 200)
  for (const host of ['mcp.example', 'localhost', 'evilmcp.example', 'x.mcp.example.evil.example', '*.mcp.example']) {
    isRefused(t, await knock(port, { host }), 'Host')
  }
  for (const origin of ['https://app.example', 'http://a.app.example', 'https://a.app.example:8443', 'https://*.app.example', 'null']) {
    isRefused(t, await knock(port, { host, origin }), 'Origin')
  }
})

t.test('a list of all hosts takes the guard away', async (t) => {
  const { port } = await stageLocal(t, { allowedHosts: ['*'] })
  for (const headers of [{ host: 'anything.example' }, { host: '' }, { origin: 'https://anything.example:8443' }, { origin: 'null' }, { origin: 'file://' }, { origin: 'x' }]) {
    t.equal((await knock(port, headers)).status, 200, JSON.stringify(headers))
  }
})

t.test('an empty list of origins refuses every web page, and nobody else', async (t) => {
  const { app } = await stageEndpoint(t, { endpoint: { allowedOrigins: [] } })
  t.equal((await post(app, INITIALIZE)).statusCode, 200)
  t.equal((await post(app, INITIALIZE, { headers: { origin: 'http://localhost' } })).statusCode, 403)
})

t.test('a Host that is none is refused, wherever it comes from, by clients of both eras', async (t) => {
  const modern = toHandler(async () => Response.json({ jsonrpc: '2.0', id: 1, result: {} }))
  for (const endpoint of [{}, { allowedHosts: ['localhost'] }, { allowedHosts: ['*'] }]) {
    const { app } = await stageEndpoint(t, { endpoint: { ...endpoint, modern } })
    const port = await listenOn(app, '127.0.0.1')
    for (const host of ['a:b@localhost', 'a@localhost', 'localhost/x', 'localhost?x', '[localhost]', 'localhost:x']) {
      for (const revision of ['2025-11-25', '2026-07-28']) {
        isRefused(t, await knock(port, { host, 'mcp-protocol-version': revision }), 'Host')
        t.equal((await post(app, INITIALIZE, { headers: { host, 'mcp-protocol-version': revision } })).statusCode, 403, 'injected, so not on a loopback connection')
      }
    }
    t.equal((await knock(port, { host: 'localhost', 'mcp-protocol-version': '2026-07-28' })).status, 200)
  }
})

t.test('a connection from elsewhere may use any name, for the server is there for others', async (t) => {
  // inject() has no local address.
  const { app } = await stageEndpoint(t)
  t.equal((await post(app, INITIALIZE, { headers: { host: 'mcp.example', origin: 'https://app.example' } })).statusCode, 200)
  const limited = await stageEndpoint(t, { endpoint: { allowedHosts: ['mcp.example'], allowedOrigins: ['https://app.example'] } })
  t.equal((await post(limited.app, INITIALIZE, { headers: { host: 'mcp.example', origin: 'https://app.example' } })).statusCode, 200)
  t.equal((await post(limited.app, INITIALIZE, { headers: { host: 'evil.example' } })).statusCode, 403)
  t.equal((await post(limited.app, INITIALIZE, { headers: { host: 'mcp.example', origin: 'null' } })).statusCode, 403)
})

t.test('behind a proxy that the app trusts, the name is what the proxy says', async (t) => {
  const { port } = await stageLocal(t, { allowedHosts: ['mcp.example'] }, { trustProxy: true })
  t.equal((await knock(port, { host: '127.0.0.1', 'x-forwarded-host': 'mcp.example' })).status, 200)
  isRefused(t, await knock(port, { host: 'mcp.example', 'x-forwarded-host': 'evil.example' }), 'Host')
})

t.test('from a proxy that the app does not trust, x-forwarded-host means nothing', async (t) => {
  const { port } = await stageLocal(t)
  isRefused(t, await knock(port, { host: 'evil.example', 'x-forwarded-host': 'localhost' }), 'Host')
})

t.test('the body of a refusal is the app\'s to build', async (t) => {
  const { app } = await stageEndpoint(t, {
    sessions: { errorResponseBuilder: (_request, { code, statusCode }) => ({ code, statusCode }) },
    endpoint: { allowedHosts: ['mcp.example'] }
  })
  const response = await post(app, INITIALIZE)
  t.equal(response.statusCode, 403)
  t.strictSame(response.json(), { code: 'FST_ERR_MCP_SESSION_FORBIDDEN_ORIGIN', statusCode: 403 })
})

t.test('a session is not looked up, let alone held, for a refused request', async (t) => {
  let asked = 0
  const { app } = await stageEndpoint(t, { sessions: { identify: () => { asked++; return 'ada' } }, endpoint: { allowedHosts: ['mcp.example'] } })
  await app.inject({ method: 'DELETE', url: '/mcp', headers: { host: 'evil.example', 'mcp-session-id': 'x' } })
  t.equal(asked, 0)
})

t.test('other routes of the app are not guarded', async (t) => {
  const { stage, port } = await stageLocal(t)
  t.ok(stage.app)
  t.not((await knock(port, { host: 'localhost' }, { method: 'PUT' })).status, 403)
})
