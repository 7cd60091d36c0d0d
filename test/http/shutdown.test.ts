import { mock } from 'node:test'
import t from 'tap'
import { SessionManager } from '../../lib/session/session-manager.js'
import { Shutdown, type Drainer } from '../../lib/http/shutdown.js'
import { createDeferred } from '../helpers/deferred.js'

t.test('drains, then closes all sessions, then waits for what belonged to them', async (t) => {
  const order: string[] = []
  const manager = new SessionManager({ logger: { sendLog ({ data }) { order.push(String(data)) } } })
  manager.startTTLCleanup()
  manager.create()
  order.length = 0
  manager.on('closed', (_session, reason) => { order.push(`closed ${reason}`) })
  const drained = createDeferred()
  const shutdown = new Shutdown(manager, { drainTimeout: 1234, handsOver: false })
  for (const name of ['a', 'b']) {
    shutdown.add({
      async drain (timeout) {
        order.push(`${name} drains for ${timeout}`)
        await drained.promise
      },
      async settle () { order.push(`${name} settles`) }
    })
  }
  t.notOk(shutdown.hasStarted)
  const end = shutdown.run()
  t.ok(shutdown.hasStarted)
  t.strictSame(order, ['a drains for 1234', 'b drains for 1234'])
  drained.resolve()
  await end
  t.strictSame(order.slice(2), [
    'Stopped TTL cleanup', 'closed shutdown', 'All sessions cleared: 1 session(s) removed', 'a settles', 'b settles'
  ])
})

t.test('runs once, however often it is called', async (t) => {
  const calls: string[] = []
  const drainer: Drainer = {
    async drain () { calls.push('drain') },
    async settle () { calls.push('settle') }
  }
  const shutdown = new Shutdown(new SessionManager(), { drainTimeout: 0, handsOver: false })
  shutdown.add(drainer)
  await Promise.all([shutdown.run(), shutdown.run()])
  await shutdown.run()
  t.strictSame(calls, ['drain', 'settle'])
})

t.test('hands a session over as soon as nothing but its streams is open', async (t) => {
  mock.timers.enable({ apis: ['setInterval'] })
  t.teardown(() => mock.timers.reset())
  const manager = new SessionManager()
  const [idle, streaming, calling] = ['idle', 'streaming', 'calling'].map((id) => {
    manager.register(id)
    return manager.get(id)
  })
  if (idle === undefined || streaming === undefined || calling === undefined) throw new Error('There are no sessions')
  for (const { id } of [streaming, calling, calling]) manager.acquire(id)
  const closed: string[] = []
  manager.on('closed', ({ id }, reason) => { closed.push(`${id} ${reason}`) })
  const drained = createDeferred()
  const shutdown = new Shutdown(manager, { drainTimeout: 0, handsOver: true })
  shutdown.add({ drain: () => drained.promise, async settle () {} }, {
    has: () => true,
    countStreams: (session) => session === idle ? 0 : 1
  })
  const end = shutdown.run()
  t.strictSame(closed, ['idle shutdown', 'streaming shutdown'])
  mock.timers.tick(1000)
  t.equal(closed.length, 2)
  manager.release(calling)
  mock.timers.tick(1000)
  t.strictSame(closed.slice(2), ['calling shutdown'])
  drained.resolve()
  await end
})
