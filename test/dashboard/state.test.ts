// What the state says, and how it is asked for.
import { mock } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { hashSessionId, mcpEndpoint } from '../../index.js'
import type { SessionRow } from '../../lib/dashboard/index.js'
import { buildDashboard, readState, type Ask } from '../helpers/apps/dashboard-app.js'
import { call, openSession } from '../helpers/clients/http-client.js'
import { ToolServer } from '../helpers/mcp-servers/tool-server.js'

async function rowsOf (ask: Ask, query = ''): Promise<readonly SessionRow[]> {
  return readState(await ask(`/sessions/state${query}`)).sessions.rows
}

t.test('without sessions it says so', async (t) => {
  const { ask } = await buildDashboard(t)
  const answer = await ask('/sessions/state')
  t.equal(answer.headers['content-type'], 'application/json; charset=utf-8')
  t.equal(answer.headers['cache-control'], 'no-store')
  const state = readState(answer)
  t.match(state, {
    at: Number,
    node: '',
    totals: { sessions: 0, parked: 0, inFlight: 0, streams: 0 },
    sessions: { total: 0, matching: 0, rows: [] },
    history: { interval: 60_000, buckets: [{ at: Number, active: 0, opened: 0, closed: {}, rejected: {} }] },
    nodes: []
  })
  t.ok(Math.abs(state.at - Date.now()) < 10_000)
})

t.test('a session is shown with what is known of it, and never with its id', async (t) => {
  let before = ''
  const { app, ask } = await buildDashboard(t, {
    before (app) {
      before = app.sessionManager.create({ secret: 'metadata' }, { principal: 'ann', clientInfo: { name: 'inspector', version: '1.2' }, protocolVersion: '2025-11-25' })
    }
  })
  const anonymous = app.sessionManager.create()
  const answer = await ask('/sessions/state')
  for (const secret of [before, anonymous, 'metadata']) t.notMatch(answer.text, secret)
  const { rows } = readState(answer).sessions
  const known = { era: 'session', inFlight: 0, streams: 0, node: '', parked: false, endable: true }
  t.strictSame(new Set(rows.map(({ age, idle, ...row }) => row)), new Set([
    { ...known, hash: hashSessionId(before), client: { name: 'inspector', version: '1.2' }, revision: '2025-11-25', principal: 'ann' },
    { ...known, hash: hashSessionId(anonymous), client: null, revision: null, principal: null }
  ]))
  for (const { age, idle } of rows) t.ok(age >= 0 && age < 10_000 && idle >= 0 && idle <= age)
})

t.test('what is in use says how', async (t) => {
  const { app: { sessionManager: sessions }, ask } = await buildDashboard(t)
  const busy = sessions.acquire(sessions.create())
  const listening = sessions.acquire(sessions.create())
  if (busy === undefined || listening === undefined) throw new Error('They are there')
  sessions.holdStream(listening)
  sessions.create()
  const { totals, sessions: { rows } } = readState(await ask('/sessions/state?sort=inFlight&order=desc'))
  t.strictSame(totals, { sessions: 3, parked: 0, inFlight: 1, streams: 1 })
  t.match(rows[0], { hash: hashSessionId(busy.id), inFlight: 1, streams: 0, idle: 0 })
  t.match(rows.find(({ hash }) => hash === hashSessionId(listening.id)), { inFlight: 0, streams: 1 })
})

t.test('a session without its server is parked, until it has one again or has ended', async (t) => {
  mock.timers.enable({ apis: ['Date', 'setInterval'] })
  t.teardown(() => mock.timers.reset())
  const { app, ask, port } = await buildDashboard(t, {
    async before (app) { await app.register(mcpEndpoint, { createServer: () => new ToolServer().mcp, parkAfter: 1000 }) }
  })
  const url = new URL(`http://127.0.0.1:${port}/mcp`)
  const [back, ended] = [await openSession(t, url), await openSession(t, url)]
  mock.timers.tick(1500)
  await turn()
  const { totals, sessions: { rows } } = readState(await ask('/sessions/state'))
  t.equal(totals.parked, 2)
  t.strictSame(rows.map(({ parked }) => parked), [true, true])
  await (await back.post(call(2, 'echo', { text: 'x' }))).end()
  await ended.delete()
  t.match(readState(await ask('/sessions/state')), { totals: { sessions: 1, parked: 0 }, sessions: { rows: [{ parked: false, client: { name: String } }] } })
  t.equal(app.sessionManager.getActiveSessionCount(), 1)
})

t.test('a search looks through all that is shown in words', async (t) => {
  const { app, ask } = await buildDashboard(t)
  const ids = [
    app.sessionManager.create({}, { principal: 'Ann@Example', clientInfo: { name: 'Inspector', version: '1.0-Beta' } }),
    app.sessionManager.create({}, { principal: 'bob', clientInfo: { name: 'other', version: '2' } }),
    app.sessionManager.create()
  ]
  const hashes = ids.map(hashSessionId)
  const [ann = '', , nobody = ''] = hashes
  const searches: Array<[string, string[]]> = [
    ['', hashes], ['inspector', [ann]], ['SPECT', [ann]], ['beta', [ann]], ['ann@ex', [ann]], [' ann ', [ann]], [nobody, [nobody]],
    [nobody.toUpperCase(), [nobody]], ['no such', []], [ids[0] ?? '', []], ['.*', []]
  ]
  for (const [search, found] of searches) {
    const { total, matching, rows } = readState(await ask(`/sessions/state?search=${encodeURIComponent(search)}`)).sessions
    t.equal(total, 3)
    t.equal(matching, found.length, search)
    t.strictSame(rows.map(({ hash }) => hash).sort(), [...found].sort(), search)
  }
})

t.test('each column sorts, in both orders', async (t) => {
  mock.timers.enable({ apis: ['Date'] })
  t.teardown(() => mock.timers.reset())
  const { app: { sessionManager: sessions }, ask } = await buildDashboard(t)
  const [old, middle, young] = ['b', 'c', 'a'].map((name) => {
    mock.timers.tick(1000)
    return sessions.create({}, name === 'c' ? undefined : { principal: name, clientInfo: { name: `${name}-client`, version: '1' }, protocolVersion: `2025-${name}` })
  })
  if (old === undefined || middle === undefined || young === undefined) throw new Error('They are there')
  mock.timers.tick(1000)
  sessions.touch(old)
  sessions.acquire(middle)
  mock.timers.tick(500)
  const listening = sessions.acquire(young)
  if (listening !== undefined) sessions.holdStream(listening)
  mock.timers.tick(500)
  const names = new Map([[hashSessionId(old), 'old'], [hashSessionId(middle), 'middle'], [hashSessionId(young), 'young']])
  const byHash = [old, middle, young].map(hashSessionId).sort().map((hash) => names.get(hash))
  const expected: Record<string, [Array<string | undefined>, Array<string | undefined>]> = {
    age: [['young', 'middle', 'old'], ['old', 'middle', 'young']],
    idle: [['middle', 'young', 'old'], ['old', 'young', 'middle']],
    hash: [byHash, byHash.toReversed()],
    // What is not known comes last.
    client: [['young', 'old', 'middle'], ['old', 'young', 'middle']],
    principal: [['young', 'old', 'middle'], ['old', 'young', 'middle']],
    revision: [['young', 'old', 'middle'], ['old', 'young', 'middle']],
    inFlight: [['old', 'young', 'middle'], ['middle', 'old', 'young']],
    streams: [['old', 'middle', 'young'], ['young', 'old', 'middle']],
    node: [['old', 'middle', 'young'], ['old', 'middle', 'young']]
  }
  for (const [column, [asc, desc]] of Object.entries(expected)) {
    const sorted = async (order: string): Promise<Array<string | undefined>> => (await rowsOf(ask, `?sort=${column}&order=${order}`)).map(({ hash }) => names.get(hash))
    t.strictSame(await sorted('asc'), asc, `${column} asc`)
    t.strictSame(await sorted('desc'), desc, `${column} desc`)
  }
  t.strictSame((await rowsOf(ask)).map(({ hash }) => names.get(hash)), expected['idle']?.[0], 'by idle time, unless it is asked for otherwise')
})

t.test('of many sessions the first ones come, and how many there are', async (t) => {
  const { app, ask } = await buildDashboard(t)
  for (let i = 0; i < 250; i++) app.sessionManager.create({}, { clientInfo: { name: `client ${String((i * 37) % 250).padStart(3, '0')}`, version: '1' } })
  const all = readState(await ask('/sessions/state?sort=client'))
  t.match(all.sessions, { total: 250, matching: 250 })
  t.strictSame(all.sessions.rows.map(({ client }) => client?.name), Array.from({ length: 100 }, (_, i) => `client ${String(i).padStart(3, '0')}`))
  const last = readState(await ask('/sessions/state?sort=client&order=desc&limit=3&search=client%201'))
  t.match(last.sessions, { total: 250, matching: 100 })
  t.strictSame(last.sessions.rows.map(({ client }) => client?.name), ['client 199', 'client 198', 'client 197'])
  t.equal((await rowsOf(ask, '?limit=1000')).length, 250)
})

t.test('a query that means nothing is refused', async (t) => {
  const { ask } = await buildDashboard(t)
  const bad: Array<[string, RegExp]> = [
    ['sort=secret', /^sort must be one of hash, age/], ['sort=__proto__', /^sort/], ['sort=age&sort=idle', /^sort/], ['order=up', /^order must be/],
    ['limit=0', /^limit must be a whole number from 1 to 1000$/], ['limit=1001', /^limit/], ['limit=-1', /^limit/], ['limit=1e2', /^limit/], ['limit=', /^limit/], ['limit=1&limit=2', /^limit/],
    ['search=a&search=b', /^search/], [`search=${'x'.repeat(201)}`, /^search .* at most 200 characters$/], ['page=2', /nothing else$/]
  ]
  for (const [query, message] of bad) {
    for (const path of ['state', 'events']) {
      const { status, text } = await ask(`/sessions/${path}?${query}`)
      t.equal(status, 400, query)
      t.match(JSON.parse(text), { error: 'Bad Request', message })
    }
  }
  t.equal((await ask(`/sessions/state?search=${'x'.repeat(200)}`)).status, 200)
})

t.test('a client that calls itself something terrible is cut short, and nothing else', async (t) => {
  const { app, ask } = await buildDashboard(t)
  const script = '<script>alert(1)</script>\u202e\u0000'
  app.sessionManager.create({}, { principal: '\u202eadmin', clientInfo: { name: script + 'x'.repeat(10_000), version: `${'v'.repeat(198)}😀😀` }, protocolVersion: 'r'.repeat(500) })
  const answer = await ask('/sessions/state')
  t.ok(answer.text.length < 2000)
  const [row] = readState(answer).sessions.rows
  t.ok(row?.client?.name.startsWith(script))
  t.equal(row?.client?.name.length, 200)
  t.equal(row?.client?.version, 'v'.repeat(198) + '…', 'no half of a character is left')
  t.equal(row?.principal, '\u202eadmin')
  t.equal(row?.revision?.length, 200)
  t.equal((await rowsOf(ask, '?search=%3Cscript')).length, 1)
})

t.test('what is counted is of this app alone', async (t) => {
  const { ask } = await buildDashboard(t)
  const { app: other } = await buildDashboard(t)
  other.sessionManager.create()
  t.match(readState(await ask('/sessions/state')), { totals: { sessions: 0 }, history: { buckets: [{ opened: 0, active: 0 }] } })
})
