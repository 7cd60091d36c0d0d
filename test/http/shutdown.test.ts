import Fastify, { type FastifyInstance } from 'fastify'
import { mock } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { Connections } from '../../lib/http/connections.js'
import { ReplyTracker, type ReplyKind, type ReplyRecord } from '../../lib/http/reply-tracker.js'
import { Shutdown, type Successor } from '../../lib/http/shutdown.js'
import { SessionManager } from '../../lib/session/session-manager.js'
import type { Session } from '../../lib/session/session.js'
import { createDeferred } from '../helpers/waiting/deferred.js'
import { until } from '../helpers/waiting/until.js'

// A drainTimeout that a test would not outlive.
const LONG = 60_000

interface Stage {
  readonly app: FastifyInstance
  readonly sessions: SessionManager
  readonly replies: ReplyTracker
  readonly shutdown: Shutdown
  /** What has happened, in its order. */
  readonly order: string[]
  /** A session that this many requests of no record hold. */
  open: (id: string, requests?: number) => Session
  /** A request that has come; `end` ends its response. */
  begin: (kind: ReplyKind) => Promise<{ record: ReplyRecord, end: () => void }>
}

function stage (t: Test, { drainTimeout = LONG, successor }: { drainTimeout?: number, successor?: Successor } = {}): Stage {
  const app = Fastify()
  const order: string[] = []
  const sessions = new SessionManager()
  sessions.on('closed', ({ id }, reason) => { order.push(`${id} ${reason}`) })
  const replies = new ReplyTracker(sessions)
  const shutdown = new Shutdown({ sessions, replies, connections: new Connections(app.server), drainTimeout, successor })
  const come: Array<(come: { record: ReplyRecord, end: () => void }) => void> = []
  app.get<{ Params: { kind: ReplyKind } }>('/:kind', (request, reply) => {
    come.shift()?.({ record: replies.begin(request, reply, request.params.kind), end: () => reply.send('done') })
  })
  t.teardown(() => app.close())
  // Also when the test has failed: it is an interval.
  t.teardown(() => shutdown.finish())
  return {
    app,
    sessions,
    replies,
    shutdown,
    order,
    open (id, requests = 0) {
      sessions.register(id)
      for (let i = 0; i < requests; i++) sessions.acquire(id)
      const session = sessions.get(id)
      if (session === undefined) throw new Error('There is no session')
      return session
    },
    async begin (kind) {
      const came = createDeferred<{ record: ReplyRecord, end: () => void }>()
      come.push(came.resolve)
      app.inject(`/${kind}`).then(undefined, () => {})
      return came.promise
    }
  }
}

async function turns (): Promise<void> {
  for (let i = 0; i < 5; i++) await turn()
}

t.test('waits for calls, then closes all sessions, then waits for what belonged to them', async (t) => {
  const { sessions, shutdown, order, open, begin } = stage(t)
  sessions.startTTLCleanup()
  open('idle')
  const { end } = await begin('call')
  const settled = createDeferred()
  for (const name of ['one', 'two']) {
    shutdown.add({
      async settle () {
        order.push(`${name} settles`)
        await settled.promise
      }
    })
  }
  t.notOk(shutdown.hasStarted)
  t.notOk(shutdown.handsOver)
  const run = shutdown.run().then(() => { order.push('over') })
  t.ok(shutdown.hasStarted)
  await turns()
  t.strictSame(order, [])
  end()
  await until(() => order.length === 3, 'both settle')
  await turns()
  t.strictSame(order, ['idle shutdown', 'one settles', 'two settles'])
  settled.resolve()
  await run
})

t.test('runs once, however often it is called', async (t) => {
  const { shutdown, order } = stage(t)
  shutdown.add({ async settle () { order.push('settle') } })
  await Promise.all([shutdown.run(), shutdown.run()])
  await shutdown.run()
  t.strictSame(order, ['settle'])
})

t.test('closes what is in use when it has had its time, and waits for nobody longer than a second', async (t) => {
  const { shutdown, order, open, begin } = stage(t, { drainTimeout: 20 })
  const { record } = await begin('call')
  record.hold(open('calling', 1))
  shutdown.add({ settle: () => new Promise(() => {}) })
  const start = performance.now()
  await shutdown.run()
  const duration = performance.now() - start
  t.ok(duration >= 20 && duration < 1900, `${duration} ms`)
  t.strictSame(order, ['calling shutdown'])
})

t.test('leaves sessions alone that the app uses, or a request is on its way to, until the server has closed', async (t) => {
  const { shutdown, order, open, begin } = stage(t)
  const { record } = await begin('request')
  record.expect(open('expected'))
  open('used', 1)
  open('idle')
  shutdown.add({ async settle () { order.push('settle') } })
  await shutdown.run()
  t.strictSame(order, ['idle shutdown', 'settle'])
  await shutdown.finish()
  t.strictSame(order.slice(2), ['expected shutdown', 'used shutdown', 'settle'])
  await shutdown.finish()
  t.equal(order.length, 5, 'there is nothing left to do')
})

t.test('ends streams at once, and those that come later', async (t) => {
  const { shutdown, order, begin } = stage(t)
  const call = await begin('call')
  const early = await begin('stream')
  early.record.endWith(() => {
    order.push('early')
    early.end()
  })
  const run = shutdown.run()
  t.strictSame(order, ['early'])
  const late = await begin('stream')
  late.record.endWith(() => {
    order.push('late')
    late.end()
  })
  await until(() => order.length === 2, 'it is ended')
  call.end()
  await run
})

t.test('cuts off a stream whose end does not reach its client', async (t) => {
  const { shutdown, begin } = stage(t)
  const { record } = await begin('stream')
  record.endWith(() => {})
  await shutdown.run()
  await until(() => record.isResponseOver, 'it is over')
})

t.test('says to who goes on with the sessions that it begins, once', async (t) => {
  let begun = 0
  const { shutdown } = stage(t, { drainTimeout: 0, successor: { begin () { begun++ }, notice: 100, async settle () {} } })
  const run = shutdown.run()
  t.equal(begun, 1)
  await Promise.all([run, shutdown.run()])
  t.equal(begun, 1)
})

t.test('hands sessions over', async (t) => {
  function stageHandOver (t: Test, drainTimeout = LONG): Stage {
    const successor: Successor = { begin () {}, notice: 100, async settle () { scene.order.push('settled') } }
    const scene = stage(t, { drainTimeout, successor })
    return scene
  }

  t.test('as soon as nothing but streams holds them', async (t) => {
    mock.timers.enable({ apis: ['setInterval'] })
    t.teardown(() => mock.timers.reset())
    const { sessions, shutdown, order, open, begin } = stageHandOver(t)
    open('idle')
    const streaming = open('streaming', 1)
    const calling = open('calling', 2)
    for (const session of [streaming, calling]) sessions.holdStream(session)
    const arriving = await begin('call')
    arriving.record.expect(open('expected'))
    const run = shutdown.run()
    t.ok(shutdown.handsOver)
    t.strictSame(order, ['idle shutdown', 'streaming shutdown'])
    mock.timers.tick(1000)
    t.equal(order.length, 2)
    sessions.release(calling)
    mock.timers.tick(1000)
    t.strictSame(order.slice(2), ['calling shutdown'])
    arriving.end()
    await run
    t.strictSame(order.slice(3), ['expected shutdown', 'settled', 'settled'])
  })

  t.test('also those that come back while it closes', async (t) => {
    const { shutdown, order, open } = stageHandOver(t)
    await shutdown.run()
    open('late')
    await until(() => order.includes('late shutdown'), 'it is handed over')
  })

  t.test('when they have had their time', async (t) => {
    const { shutdown, order, open, begin } = stageHandOver(t, 20)
    const { record } = await begin('call')
    record.hold(open('calling', 1))
    await shutdown.run()
    t.strictSame(order, ['calling shutdown', 'settled', 'settled'])
  })

  t.test('with their streams, and ends those first that hold none', async (t) => {
    const { shutdown, order, open, begin } = stageHandOver(t)
    const call = await begin('call')
    const [holding, passing] = [await begin('stream'), await begin('stream')]
    holding.record.hold(open('busy', 2))
    for (const [name, { record, end }] of Object.entries({ holding, passing })) {
      record.endWith(() => {
        order.push(name)
        end()
      })
    }
    const run = shutdown.run()
    await turns()
    t.strictSame(order, ['passing'])
    call.end()
    await run
    t.strictSame(order, ['passing', 'holding', 'settled', 'settled'])
  })
})
