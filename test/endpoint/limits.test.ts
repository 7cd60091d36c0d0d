// Past a limit the session goes that has been idle longest; one in use never does.
import { mock } from 'node:test'
import t, { type Test } from 'tap'
import { hashSessionId } from '../../index.js'
import { createDeferred } from '../helpers/waiting/deferred.js'
import {
  callTool, INITIALIZE, open, parseMessage, post, rejection, rpc, stageEndpoint, type Stage, type StageOptions
} from '../helpers/apps/endpoint-stage.js'

const START = 1_700_000_000_000
const MINUTE = 60_000

/** An endpoint whose clock stands still; the caller says in a header who it is. */
async function stageLimited (t: Test, options: StageOptions): Promise<Stage> {
  mock.timers.enable({ apis: ['Date'], now: START })
  t.teardown(() => mock.timers.reset())
  return stageEndpoint(t, {
    ...options,
    sessions: { identify: ({ headers }) => headers['x-user']?.toString(), ...options.sessions }
  })
}

async function openAll (stage: Stage, count: number, gap: number, user?: string): Promise<string[]> {
  const ids: string[] = []
  for (let index = 0; index < count; index++) {
    ids.push(await open(stage.app, as(user)))
    mock.timers.tick(gap)
  }
  return ids
}

function as (user: string | undefined): { headers: Record<string, string> } {
  return { headers: user === undefined ? {} : { 'x-user': user } }
}

function living (stage: Stage, ids: string[]): boolean[] {
  return ids.map((id) => stage.app.sessionManager.get(id) !== undefined)
}

for (const gap of [1, 100, 10 * MINUTE]) {
  t.test(`past maxSessions the longest idle go, in order, when they came ${gap} ms apart`, async (t) => {
    const stage = await stageLimited(t, { sessions: { maxSessions: 5 } })
    const ids = await openAll(stage, 5, gap)
    const evicted: string[] = []
    stage.app.sessionManager.on('closed', ({ id }) => { evicted.push(id) })
    await openAll(stage, 3, gap)
    t.strictSame(evicted, ids.slice(0, 3))
    t.strictSame(stage.ends, ['evicted', 'evicted', 'evicted'])
    t.equal(stage.app.sessionManager.getActiveSessionCount(), 5)
    t.strictSame(stage.servers.map(({ closed }) => closed), [1, 1, 1, 0, 0, 0, 0, 0])
  })

  t.test(`a request puts a session at the end of the queue, when they came ${gap} ms apart`, async (t) => {
    const stage = await stageLimited(t, { sessions: { maxSessions: 5 } })
    const ids = await openAll(stage, 5, gap)
    for (const used of [1, 0]) {
      await callTool(stage.app, ids[used] ?? '', 'echo')
      mock.timers.tick(gap)
    }
    stage.app.sessionManager.touch(ids[2] ?? '')
    mock.timers.tick(gap)
    const evicted: string[] = []
    stage.app.sessionManager.on('closed', ({ id }) => { evicted.push(id) })
    await openAll(stage, 5, gap)
    t.strictSame(evicted, [3, 4, 1, 0, 2].map((index) => ids[index]))
  })
}

t.test('a session in use is never evicted, even the oldest', async (t) => {
  const called = createDeferred()
  const finish = createDeferred()
  const stage = await stageLimited(t, {
    sessions: { maxSessions: 2 },
    equip (server) {
      server.registerTool('wait', {}, async () => {
        called.resolve()
        await finish.promise
        return { content: [{ type: 'text', text: 'finished' }] }
      })
    }
  })
  const [used = '', idle = ''] = await openAll(stage, 2, MINUTE)
  const call = callTool(stage.app, used, 'wait')
  await called.promise
  mock.timers.tick(MINUTE)
  const [third = ''] = await openAll(stage, 1, MINUTE)
  t.strictSame(living(stage, [used, idle, third]), [true, false, true])
  await openAll(stage, 1, MINUTE)
  t.strictSame(living(stage, [used, third]), [true, false])
  finish.resolve()
  t.match(parseMessage(await call), { result: { content: [{ text: 'finished' }] } })
})

/** Sessions that all have a call under way. */
async function stageBusy (t: Test, sessions: StageOptions['sessions'], users: Array<string | undefined>): Promise<{ stage: Stage, finish: () => Promise<unknown> }> {
  const over = createDeferred()
  let called = 0
  const allCalled = createDeferred()
  const stage = await stageLimited(t, {
    ...(sessions && { sessions }),
    equip (server) {
      server.registerTool('wait', {}, async () => {
        if (++called === users.length) allCalled.resolve()
        await over.promise
        return { content: [] }
      })
    }
  })
  const calls: Array<Promise<unknown>> = []
  for (const user of users) calls.push(callTool(stage.app, await open(stage.app, as(user)), 'wait', as(user)))
  await allCalled.promise
  return {
    stage,
    finish () {
      over.resolve()
      return Promise.all(calls)
    }
  }
}

for (const [name, sessions, user] of [
  ['maxSessions', { maxSessions: 2 }, undefined],
  ['maxSessionsPerPrincipal', { maxSessionsPerPrincipal: 2 }, 'ada']
] as const) {
  t.test(`503 and Retry-After when all sessions are in use, with ${name}`, async (t) => {
    const { stage, finish } = await stageBusy(t, sessions, [user, user])
    const response = await post(stage.app, INITIALIZE, as(user))
    t.equal(response.statusCode, 503)
    t.equal(response.headers['retry-after'], '5')
    t.strictSame(response.json(), rejection(-32000, 'Too many sessions are in use. Try again later'))
    t.equal(response.headers['mcp-session-id'], undefined)
    t.equal(stage.servers.length, 2, 'no server was made')
    t.strictSame(stage.ends, [])
    await finish()
    await open(stage.app, as(user))
    t.strictSame(stage.ends, ['evicted'])
  })
}

t.test('a request that opens no session evicts none', async (t) => {
  const stage = await stageLimited(t, { sessions: { maxSessions: 1 } })
  const id = await open(stage.app)
  const { jsonrpc, ...withoutVersion } = Object.assign({ jsonrpc: '' }, INITIALIZE)
  t.equal(jsonrpc, '2.0')
  for (const [body, headers] of [
    [INITIALIZE, { accept: 'text/html' }],
    [INITIALIZE, { 'content-type': 'text/plain' }],
    [withoutVersion, {}],
    [{ ...INITIALIZE, id: undefined }, {}],
    [[INITIALIZE], {}],
    [rpc('initialize'), {}],
    [rpc('tools/list'), {}]
  ] as const) {
    t.not((await post(stage.app, body, { headers })).statusCode, 200)
  }
  t.strictSame(living(stage, [id]), [true])
  t.strictSame(stage.ends, [])
})

t.test('one principal at its limit evicts its own longest idle session and nobody else\'s', async (t) => {
  const stage = await stageLimited(t, { sessions: { maxSessionsPerPrincipal: 2, maxSessions: 100 } })
  const anonymous = await openAll(stage, 3, MINUTE)
  const bob = await openAll(stage, 2, MINUTE, 'bob')
  const ada = await openAll(stage, 2, MINUTE, 'ada')
  await callTool(stage.app, ada[0] ?? '', 'echo', as('ada'))
  mock.timers.tick(MINUTE)
  ada.push(...await openAll(stage, 1, MINUTE, 'ada'))
  t.strictSame(living(stage, ada), [true, false, true])
  t.strictSame(living(stage, bob), [true, true])
  t.strictSame(living(stage, anonymous), [true, true, true], 'and those without a principal do not count')
  t.strictSame(stage.ends, ['evicted'])
})

t.test('a principal below its limit evicts the longest idle of all when there is no room', async (t) => {
  const stage = await stageLimited(t, { sessions: { maxSessionsPerPrincipal: 2, maxSessions: 3 } })
  const bob = await openAll(stage, 2, MINUTE, 'bob')
  const ada = await openAll(stage, 2, MINUTE, 'ada')
  t.strictSame(living(stage, [...bob, ...ada]), [false, true, true, true])
})

t.test('a session that is over makes room within its principal, however it ended', async (t) => {
  const stage = await stageLimited(t, { sessions: { maxSessionsPerPrincipal: 1, ttl: MINUTE } })
  const { app } = stage
  await app.inject({ method: 'DELETE', url: '/mcp', headers: { 'mcp-session-id': await open(app, as('ada')), 'x-user': 'ada' } })
  app.sessionManager.cleanup(await open(app, as('ada')))
  await open(app, as('ada'))
  app.sessionManager.clearAll()
  const expired = await open(app, as('ada'))
  mock.timers.tick(MINUTE + 1)
  app.sessionManager.get(expired)
  await open(app, as('ada'))
  t.strictSame(stage.ends, ['deleted', 'deleted', 'cleared', 'expired'])
})

for (const sessions of [{ maxSessions: 1 }, { maxSessionsPerPrincipal: 1 }]) {
  t.test(`a session that has expired and makes room has expired, with ${JSON.stringify(sessions)}`, async (t) => {
    const stage = await stageLimited(t, { sessions: { ...sessions, ttl: MINUTE, cleanupInterval: 1000 * MINUTE } })
    const handled: string[] = []
    stage.app.sessionManager.setExpirationHandler((id) => { handled.push(id) })
    const id = await open(stage.app, as('ada'))
    mock.timers.tick(MINUTE + 1)
    await open(stage.app, as('ada'))
    t.strictSame(stage.ends, ['expired'])
    t.strictSame(handled, [id])
    t.equal(stage.app.sessionManager.getActiveSessionCount(), 1)
    t.ok(stage.log.some((line) => line.includes('Session expired')))
    t.notOk(stage.log.some((line) => line.includes('Session evicted')))
  })

  t.test(`an eviction is logged by the hash of the session, with ${JSON.stringify(sessions)}`, async (t) => {
    const stage = await stageLimited(t, { sessions })
    const id = await open(stage.app, as('ada'))
    await open(stage.app, as('ada'))
    t.ok(stage.log.some((line) => line.includes('"msg":"Session evicted"') && line.includes(hashSessionId(id))))
    t.notOk(stage.log.some((line) => line.includes(id)))
  })
}

t.test('a flood of initialize leaves as many sessions as there may be', async (t) => {
  const stage = await stageLimited(t, { sessions: { maxSessions: 10 } })
  for (let count = 0; count < 20; count++) await Promise.all(Array.from({ length: 10 }, () => post(stage.app, INITIALIZE)))
  t.equal(stage.app.sessionManager.getActiveSessionCount(), 10)
  t.equal(stage.servers.filter(({ closed }) => closed === 0).length, 10)
  t.equal(stage.servers.filter(({ closed }) => closed === 1).length, stage.servers.length - 10)
})

t.test('a session that is being set up counts as in use', async (t) => {
  const making = createDeferred()
  const finish = createDeferred()
  const stage: Stage = await stageLimited(t, {
    sessions: { maxSessions: 1 },
    endpoint: {
      async createServer (context) {
        making.resolve()
        await finish.promise
        return stage.createServer(context)
      }
    }
  })
  const first = post(stage.app, INITIALIZE)
  await making.promise
  t.equal((await post(stage.app, INITIALIZE)).statusCode, 503)
  finish.resolve()
  t.equal((await first).statusCode, 200)
})

t.test('sessions of the app\'s own making are evicted like others', async (t) => {
  const stage = await stageLimited(t, { sessions: { maxSessions: 2 } })
  const own = stage.app.sessionManager.create()
  mock.timers.tick(1)
  const opened = await openAll(stage, 2, 1)
  t.strictSame(living(stage, [own, ...opened]), [false, true, true])
  t.throws(() => {
    for (const id of opened) stage.app.sessionManager.acquire(id)
    stage.app.sessionManager.create()
  }, { code: 'FST_ERR_MCP_SESSION_LIMIT', statusCode: 503 })
})
