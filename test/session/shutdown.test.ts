import t from 'tap'
import { SessionManager } from '../../lib/session/session-manager.js'
import { Shutdown, type Drainer } from '../../lib/session/shutdown.js'
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
      has: () => false,
      countStreams: () => 0,
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
    has: () => false,
    countStreams: () => 0,
    async settle () { calls.push('settle') }
  }
  const shutdown = new Shutdown(new SessionManager(), { drainTimeout: 0, handsOver: false })
  shutdown.add(drainer)
  await Promise.all([shutdown.run(), shutdown.run()])
  await shutdown.run()
  t.strictSame(calls, ['drain', 'settle'])
})
