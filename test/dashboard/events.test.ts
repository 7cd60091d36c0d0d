// The stream of states: what it says and when, and that it is in nobody's way.
import { mock } from 'node:test'
import { setImmediate as turn, setTimeout as wait } from 'node:timers/promises'
import t from 'tap'
import { hashSessionId } from '../../index.js'
import { portOf } from '../helpers/apps/app.js'
import { buildDashboard, Events } from '../helpers/apps/dashboard-app.js'
import { connectRaw } from '../helpers/clients/raw-client.js'
import { until } from '../helpers/waiting/until.js'

t.test('it says at once what there is, and then what changes', async (t) => {
  const { app } = await buildDashboard(t)
  const { sessionManager: sessions } = app
  const first = sessions.create({}, { principal: 'ann' })
  const events = await Events.open(t, app)
  t.match(events.response, { statusCode: 200, headers: { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-store, no-transform', 'x-accel-buffering': 'no' } })
  const found = await events.see('what is there', ({ totals }) => totals.sessions === 1)
  t.match(found.sessions.rows, [{ hash: hashSessionId(first), principal: 'ann' }])

  const second = sessions.create()
  await events.see('the new one', ({ sessions: { rows } }) => rows.some(({ hash }) => hash === hashSessionId(second)))
  sessions.acquire(second)
  await events.see('a request', ({ totals }) => totals.inFlight === 1)
  await app.inject({ url: '/nowhere', headers: { 'mcp-session-id': 'x' } })
  sessions.cleanup(first)
  const last = await events.see('its end', ({ totals }) => totals.sessions === 1 && totals.inFlight === 1)
  t.match(last.history.buckets.at(-1), { opened: 2, closed: { deleted: 1 }, active: 1 })
  t.notMatch(events.text, first)
  t.notMatch(events.text, second)
})

t.test('it keeps to what was asked for', async (t) => {
  const { app } = await buildDashboard(t)
  app.sessionManager.create({}, { principal: 'ann' })
  const [ann, all, again] = [await Events.open(t, app, '/sessions/events?search=ann'), await Events.open(t, app), await Events.open(t, app)]
  app.sessionManager.create({}, { principal: 'bob' })
  const seen = await ann.see('the change', ({ totals }) => totals.sessions === 2)
  t.match(seen.sessions, { total: 2, matching: 1, rows: [{ principal: 'ann' }] })
  for (const events of [all, again]) {
    const { sessions } = await events.see('the change', ({ totals }) => totals.sessions === 2)
    t.equal(sessions.rows.length, 2)
  }
})

t.test('where nothing happens nothing is said, and of much no more than once a second', async (t) => {
  mock.timers.enable({ apis: ['Date', 'setInterval'], now: 120_000 })
  t.teardown(() => mock.timers.reset())
  const { app } = await buildDashboard(t, { sessions: { cleanupInterval: 3_600_000 } })
  const { sessionManager: sessions } = app
  const id = sessions.create()
  const events = await Events.open(t, app)
  await events.see('the first', () => true)
  const pass = async (ms: number): Promise<void> => {
    mock.timers.tick(ms)
    await turn()
  }
  for (let i = 0; i < 3; i++) await pass(1000)
  for (let i = 0; i < 200; i++) {
    await pass(10)
    sessions.touch(id)
  }
  sessions.create()
  mock.timers.tick(1000)
  await events.see('the last', ({ totals }) => totals.sessions === 2)
  t.equal(events.states.length, 4)
})

t.test('all sessions are looked through once a second, however many look, and whether or not there is something to say', async (t) => {
  mock.timers.enable({ apis: ['setInterval'] })
  t.teardown(() => mock.timers.reset())
  const { app } = await buildDashboard(t, { sessions: { cleanupInterval: 3_600_000 } })
  const viewers = [await Events.open(t, app), await Events.open(t, app, '/sessions/events?search=ann')]
  await until(() => viewers.every(({ states }) => states.length === 1), 'both see the first state')
  const walks = mock.method(app.sessionManager, 'list').mock
  mock.timers.tick(1000)
  t.equal(walks.callCount(), 1)
  app.sessionManager.create()
  mock.timers.tick(1000)
  await until(() => viewers.every(({ states }) => states.length === 2), 'both see the new one')
  t.equal(walks.callCount(), 2)
})

t.test('another minute is a change', async (t) => {
  mock.timers.enable({ apis: ['Date', 'setInterval'], now: 120_000 })
  t.teardown(() => mock.timers.reset())
  const { app } = await buildDashboard(t, { sessions: { cleanupInterval: 3_600_000 } })
  const events = await Events.open(t, app)
  await events.see('the first', () => true)
  mock.timers.tick(59_000)
  mock.timers.tick(1000)
  const { history } = await events.see('the next minute', ({ history: { buckets } }) => buckets.length === 2)
  t.strictSame(history.buckets.map(({ at }) => at), [120_000, 180_000])
})

t.test('nothing runs when nobody looks', async (t) => {
  const before = process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
  const { app } = await buildDashboard(t)
  const timers = mock.method(globalThis, 'setInterval')
  t.teardown(() => timers.mock.restore())
  const [one, two] = [await Events.open(t, app), await Events.open(t, app)]
  const ticks = timers.mock.calls.filter(({ arguments: [, interval] }) => interval === 1000)
  t.equal(ticks.length, 1, 'one timer for all')
  const timer = ticks[0]?.result
  if (timer === undefined) throw new Error('There is no timer')
  one.response.destroy()
  await wait(50)
  t.equal(Reflect.get(timer, '_destroyed'), false)
  two.response.destroy()
  await until(() => Reflect.get(timer, '_destroyed') === true, 'the timer has ended')
  t.ok(process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length <= before + 2)
})

t.test('a shutdown ends it at once, and is not kept waiting', async (t) => {
  const { app } = await buildDashboard(t, { sessions: { drainTimeout: 5000 }, server: { forceCloseConnections: false } })
  const streams = await Promise.all(Array.from({ length: 5 }, () => Events.open(t, app)))
  app.sessionManager.create()
  const began = performance.now()
  await app.close()
  t.ok(performance.now() - began < 1000, `closed within ${performance.now() - began} ms`)
  await until(() => streams.every(({ hasEnded }) => hasEnded), 'they have ended')
  for (const { response } of streams) t.equal(response.complete, true, 'in good order')
})

t.test('a reader that does not read does not keep the app from closing, nor gets a queue', async (t) => {
  mock.timers.enable({ apis: ['setInterval'] })
  t.teardown(() => mock.timers.reset())
  const { app } = await buildDashboard(t, { sessions: { drainTimeout: 100, cleanupInterval: 3_600_000 }, server: { forceCloseConnections: false } })
  const name = 'x'.repeat(150)
  for (let i = 0; i < 1000; i++) app.sessionManager.create({}, { clientInfo: { name: `${name}${i}`, version: name } })
  const client = await connectRaw(t, portOf(app))
  client.get('/sessions/events?limit=1000')
  await client.see('event: state')
  client.socket.pause()
  const memory = process.memoryUsage.rss()
  for (let i = 0; i < 400; i++) {
    app.sessionManager.create()
    mock.timers.tick(1000)
    await turn()
  }
  t.ok(process.memoryUsage.rss() - memory < 100_000_000)
  const began = performance.now()
  await app.close()
  t.ok(performance.now() - began < 4000)
})

t.test('there is an end to how many may look', async (t) => {
  const { app, ask } = await buildDashboard(t)
  const streams = await Promise.all(Array.from({ length: 50 }, () => Events.open(t, app)))
  const refused = await ask('/sessions/events')
  t.equal(refused.status, 503)
  t.equal(refused.headers['retry-after'], '5')
  t.match(JSON.parse(refused.text), { error: 'Service Unavailable', message: 'Too many pages are open' })
  t.equal((await ask('/sessions/state')).status, 200)
  streams[0]?.response.destroy()
  await wait(50)
  const next = await Events.open(t, app)
  t.equal(next.response.statusCode, 200)
})

t.test('a timeout of the app does not end it', async (t) => {
  const { app } = await buildDashboard(t, { server: { handlerTimeout: 100 } })
  const events = await Events.open(t, app)
  await wait(300)
  t.equal(events.hasEnded, false)
})
