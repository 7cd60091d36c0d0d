// A session id is a secret: whoever reads it can speak for its owner.
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import { createHash } from 'node:crypto'
import { mock } from 'node:test'
import mcpSessions, { type LogEntry } from '../../index.js'
import { captureLog } from '../helpers/observe/log-lines.js'

const TTL = 1_000

function hashOf (id: string): string {
  return createHash('sha256').update(id).digest('hex').slice(0, 12)
}

/** Everything that can happen to sessions. Returns all their ids. */
async function liveThrough (app: FastifyInstance): Promise<string[]> {
  const { sessionManager } = app
  app.get('/', async () => 'hello')
  await app.ready()
  sessionManager.setExpirationHandler((id) => { throw new Error(`Nothing is known of ${id}, or of ${id}`) })
  sessionManager.on('closed', async ({ id }) => { throw new Error(`Cannot close ${id}`) })
  const ids = ['deleted', 'expired-by-a-sweep', 'expired-by-a-call', 'shut-down', 'replaced'].map((id) => `${id}-${'x'.repeat(20)}`)
  for (const id of ids) sessionManager.register(id, { secret: 'value' })
  ids.push(sessionManager.create())
  ids.push('unknown-to-all')
  for (const id of ids) await app.inject({ url: '/', headers: { 'mcp-session-id': id } })
  const [deleted = '', , expired = '', kept = '', replaced = ''] = ids
  sessionManager.cleanup(deleted)
  sessionManager.cleanup(deleted)
  sessionManager.update(kept, { other: 'value' })
  sessionManager.register(replaced)
  mock.timers.tick(TTL)
  sessionManager.touch(kept)
  mock.timers.setTime(Date.now() + 1)
  await app.inject({ url: '/', headers: { 'mcp-session-id': expired } })
  sessionManager.touch(expired)
  mock.timers.tick(TTL - 1)
  await app.close()
  // The listener's rejections are logged a turn later.
  await new Promise(setImmediate)
  return ids
}

t.beforeEach(() => mock.timers.enable({ apis: ['Date', 'setInterval'], now: 1_000_000 }))
t.afterEach(() => mock.timers.reset())

t.test("the app's log has a hash of every id, and no id", async (t) => {
  const log = captureLog()
  const app = Fastify({ logger: { level: 'trace', stream: log.stream } })
  await app.register(mcpSessions, { ttl: TTL, cleanupInterval: TTL })
  const ids = await liveThrough(app)
  const text = log.lines.join('')
  for (const id of ids) t.notOk(text.includes(id), id)
  for (const id of ids.slice(0, -1)) t.ok(text.includes(hashOf(id)), `${id} is there as its hash`)
  t.notMatch(text, '"value"', 'and no value of the metadata is')

  const entries = log.lines.map((line) => JSON.parse(line))
  const [deleted, swept = '', expired, kept = '', replaced, created] = ids.map(hashOf)
  const opened = entries.filter(({ msg }) => msg === 'Session registered' || msg === 'Session created')
  t.match(opened.map(({ sessionId }) => sessionId), [deleted, swept, expired, kept, replaced, created, replaced], 'each opening is a line')
  const closed = entries.filter(({ reason }) => reason !== undefined)
  t.strictSame(closed.map(({ sessionId, msg, reason, age }) => [sessionId, msg, reason, age]).sort(), [
    [deleted, 'Session deleted', 'deleted', 0],
    [replaced, 'Session replaced by another of the same id', 'replaced', 0],
    [swept, 'Session expired', 'expired', 2 * TTL],
    [expired, 'Session expired', 'expired', TTL + 1],
    [replaced, 'Session expired', 'expired', 2 * TTL],
    [created, 'Session expired', 'expired', 2 * TTL],
    [kept, 'Session closed by the shutdown', 'shutdown', 2 * TTL]
  ].sort(), 'each end is a line, with its reason and its age')
  const messages: string[] = entries.map(({ msg }) => msg)
  t.ok(messages.includes(`Expiration handler failed for session ${swept}: Nothing is known of ${swept}, or of ${swept}`))
  t.ok(messages.includes(`A listener of "closed" failed: Cannot close ${kept}`))
})

t.test('two apps in one process each log their own sessions, and none when they have closed', async (t) => {
  const logs = [captureLog(), captureLog()]
  const apps = await Promise.all(logs.map(async ({ stream }) => {
    const app = Fastify({ logger: { stream } })
    await app.register(mcpSessions)
    return app
  }))
  for (const app of apps) app.sessionManager.create()
  await Promise.all(apps.map((app) => app.close()))
  for (const app of apps) app.sessionManager.create()
  for (const { lines } of logs) t.equal(lines.filter((line) => line.includes('Session created')).length, 1)
})

t.test("an app's log that throws changes nothing", async (t) => {
  const app = Fastify({ logger: { stream: { write () { throw new Error('full') } } } })
  await app.register(mcpSessions)
  app.sessionManager.create()
  t.equal(app.sessionManager.getActiveSessionCount(), 1)
})

t.test('a logger of the user gets the same', async (t) => {
  const entries: LogEntry[] = []
  const log = captureLog()
  const app = Fastify({ logger: { level: 'trace', stream: log.stream } })
  await app.register(mcpSessions, { ttl: TTL, cleanupInterval: TTL, logger: { sendLog: (entry) => { entries.push(entry) } } })
  const ids = await liveThrough(app)
  const text = JSON.stringify(entries) + log.lines.join('')
  for (const id of ids) t.notOk(text.includes(id), id)
  for (const id of ids.slice(0, -1)) t.ok(text.includes(hashOf(id)))
  t.notMatch(log.lines.join(''), 'SessionManager', "and the app's log gets nothing")
  t.strictSame(new Set(entries.map(({ logger }) => logger)), new Set(['SessionManager']))
})

t.test('a logger that throws or rejects changes nothing', async (t) => {
  for (const sendLog of [() => { throw new Error('full') }, async () => { throw new Error('full') }]) {
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(mcpSessions, { ttl: TTL, logger: { sendLog } })
    app.get('/', async (request) => request.mcpSession)
    const id = app.sessionManager.create()
    t.equal((await app.inject({ url: '/', headers: { 'mcp-session-id': id } })).json().id, id)
  }
})
