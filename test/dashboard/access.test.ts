// Who may look, and who may end a session.
import { setTimeout as wait } from 'node:timers/promises'
import t from 'tap'
import { hashSessionId } from '../../index.js'
import type { SessionsDashboardOptions } from '../../lib/dashboard/index.js'
import { buildDashboard, type Answer, type Ask } from '../helpers/apps/dashboard-app.js'
import { connectRaw } from '../helpers/clients/raw-client.js'

const END = { 'x-mcp-sessions-dashboard': 'end' }
const PATHS = ['/sessions', '/sessions/', '/sessions/dashboard.js', '/sessions/dashboard.css', '/sessions/state', '/sessions/events']

async function askAll (ask: Ask, hash: string, headers: Record<string, string> = {}): Promise<Answer[]> {
  const answers: Answer[] = []
  for (const path of PATHS) answers.push(await ask(path, { headers }))
  answers.push(await ask(`/sessions/sessions/${hash}/end`, { method: 'POST', headers: { ...END, ...headers } }))
  return answers
}

t.test('whom authorize turns away gets nothing, however it says so', async (t) => {
  const unauthorized = Object.assign(new Error('Who are you?'), { statusCode: 401 })
  const hooks: Record<string, [number, SessionsDashboardOptions['authorize']]> = {
    'throws at once': [401, () => { throw unauthorized }],
    rejects: [401, async () => { throw unauthorized }],
    'rejects with nothing': [500, async () => Promise.reject(Reflect.get({}, 'nothing'))],
    replies: [401, async (_request, reply) => reply.code(401).send('no')],
    'replies, and returns nothing': [401, async (_request, reply) => { reply.code(401).send('no') }],
    'replies at once, and returns nothing': [401, (_request, reply) => { reply.code(401).send('no') }],
    redirects: [302, (_request, reply) => { reply.redirect('/login') }],
    'says no': [403, async () => false],
    'calls back with an error': [401, (_request, _reply, done) => { done(unauthorized) }],
    'calls back after it has replied': [401, (_request, reply, done) => {
      reply.code(401).send('no')
      done()
    }],
    'replies, and never calls back': [401, (_request, reply, _done) => { reply.code(401).send('no') }]
  }
  for (const [name, [expected, authorize]] of Object.entries(hooks)) {
    await t.test(name, async (t) => {
      const { app, ask } = await buildDashboard(t, {
        authorize,
        // An answer that is on its way is not sent yet.
        before (app) { app.addHook('onSend', async () => { await wait(5) }) }
      })
      const hash = hashSessionId(app.sessionManager.create())
      for (const { status, text } of await askAll(ask, hash)) {
        t.equal(status, expected)
        t.notMatch(text, hash)
      }
      t.equal(app.sessionManager.getActiveSessionCount(), 1)
    })
  }
})

t.test('whom authorize lets in may look, however it says so', async (t) => {
  const hooks: Array<SessionsDashboardOptions['authorize']> = [
    () => {}, async () => {}, () => true, async () => ({ sub: 'ann' }), (_request, _reply, done) => { done() },
    async function (request) { if (this.sessionManager === undefined || request.headers.host === undefined) throw new Error('Not called as a hook') }
  ]
  for (const authorize of hooks) {
    const { ask } = await buildDashboard(t, { authorize })
    t.equal((await ask('/sessions/state')).status, 200)
    t.equal((await ask('/sessions/')).status, 200)
  }
})

t.test("with 'loopback', only this machine gets in", async (t) => {
  const { app, ask, port } = await buildDashboard(t, { authorize: 'loopback' })
  const hash = hashSessionId(app.sessionManager.create())
  for (const host of ['localhost', `localhost:${port}`, '127.0.0.1', '[::1]:80', 'app.localhost', 'LOCALHOST']) {
    t.equal((await ask('/sessions/state', { headers: { host } })).status, 200, host)
  }
  const strangers: Array<Record<string, string>> = [
    { host: 'evil.example' }, { host: `evil.example:${port}` }, { host: '192.168.0.1' }, { host: 'localhost.evil.example' }, { host: 'localhost@evil.example' },
    { 'x-forwarded-for': '127.0.0.1' }, { 'x-forwarded-host': 'localhost' }, { 'X-Forwarded-Proto': 'https' }, { forwarded: 'for=127.0.0.1' },
    { via: '1.1 proxy' }, { 'x-real-ip': '127.0.0.1' }, { 'cf-connecting-ip': '127.0.0.1' }
  ]
  for (const headers of strangers) {
    for (const { status, text } of await askAll(ask, hash, headers)) {
      t.equal(status, 403, JSON.stringify(headers))
      t.match(JSON.parse(text), { error: 'Forbidden', message: /^authorize is 'loopback', and / })
    }
  }
  const nameless = await connectRaw(t, port)
  nameless.send('GET /sessions/state HTTP/1.0')
  await nameless.see('403 Forbidden')
  const { statusCode } = await app.inject({ url: '/sessions/state', remoteAddress: '10.0.0.1', headers: { host: 'localhost' } })
  t.equal(statusCode, 403, 'from another machine')
  t.equal((await app.inject({ url: '/sessions/state', remoteAddress: '::ffff:127.0.0.1', headers: { host: 'localhost' } })).statusCode, 200)
  t.equal(app.sessionManager.getActiveSessionCount(), 1)
})

t.test('a proxy that is trusted does not make a stranger one of this machine', async (t) => {
  const { ask } = await buildDashboard(t, { authorize: 'loopback', server: { trustProxy: true } })
  t.equal((await ask('/sessions/state', { headers: { 'x-forwarded-for': '127.0.0.1', 'x-forwarded-host': 'localhost' } })).status, 403)
})

t.test('no page of another site can read or end a session, even where the app allows all origins', async (t) => {
  const { app, ask, port } = await buildDashboard(t, {
    before (app) {
      app.addHook('onRequest', async (request, reply) => {
        reply.headers({ 'access-control-allow-origin': request.headers.origin ?? '*', 'access-control-allow-credentials': 'true' })
      })
    }
  })
  const hash = hashSessionId(app.sessionManager.create())
  const host = `127.0.0.1:${port}`
  const foreign: Array<Record<string, string>> = [
    { origin: 'https://evil.example' }, { origin: 'null' }, { origin: `http://127.0.0.1:${port + 1}` }, { origin: `http://localhost:${port}` }, { origin: 'file://' },
    { origin: `http://${host}.evil.example` }, { origin: 'garbage' },
    { 'sec-fetch-site': 'cross-site' }, { 'sec-fetch-site': 'same-site' }, { 'sec-fetch-site': 'cross-site', origin: `http://${host}` }
  ]
  for (const headers of foreign) {
    for (const path of ['/sessions/state', '/sessions/events']) {
      const { status, text } = await ask(path, { headers })
      t.equal(status, 403, `${path} ${JSON.stringify(headers)}`)
      t.notMatch(text, hash)
    }
    t.equal((await ask(`/sessions/sessions/${hash}/end`, { method: 'POST', headers: { ...END, ...headers } })).status, 403, JSON.stringify(headers))
  }
  t.equal((await ask(`/sessions/sessions/${hash}/end`, { method: 'POST', headers: { ...END, 'sec-fetch-site': 'none' } })).status, 403, 'nor can a link end one')
  const without: Array<Record<string, string>> = [{}, { 'x-mcp-sessions-dashboard': 'yes' }, { 'sec-fetch-site': 'same-origin' }]
  for (const headers of without) {
    t.match(JSON.parse((await ask(`/sessions/sessions/${hash}/end`, { method: 'POST', headers })).text), { error: 'Forbidden', message: /x-mcp-sessions-dashboard/ })
  }
  t.equal((await ask(`/sessions/sessions/${hash}/end`, { headers: END })).status, 404, 'nor does a GET')
  t.equal(app.sessionManager.getActiveSessionCount(), 1)

  const own: Array<Record<string, string>> = [
    {}, { origin: `http://${host}` }, { 'sec-fetch-site': 'same-origin', origin: `http://${host}` },
    // Behind a proxy that ends TLS, and keeps the Host; behind one that does not, the browser says it.
    { origin: 'https://admin.example', host: 'admin.example' }, { origin: 'https://admin.example', host: 'admin.example:443' },
    { 'sec-fetch-site': 'same-origin', origin: 'https://admin.example' }
  ]
  for (const headers of own) {
    t.equal((await ask('/sessions/state', { headers })).status, 200, JSON.stringify(headers))
    const mine = hashSessionId(app.sessionManager.create())
    t.equal((await ask(`/sessions/sessions/${mine}/end`, { method: 'POST', headers: { ...END, ...headers } })).status, 204, JSON.stringify(headers))
  }
  t.equal((await ask('/sessions/state', { headers: { 'sec-fetch-site': 'none' } })).status, 200, 'whoever types its address may read it')
  t.equal(app.sessionManager.getActiveSessionCount(), 1)
})
