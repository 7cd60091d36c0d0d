import Fastify from 'fastify'
import { networkInterfaces } from 'node:os'
import t from 'tap'
import { findOwnUrl } from '../../lib/cluster/advertise.js'
import { portOf } from '../helpers/app.js'

t.test('an app is reached where it listens', async (t) => {
  for (const [host, shown] of [['127.0.0.1', '127.0.0.1'], ['::1', '[::1]']] as const) {
    const app = Fastify()
    t.teardown(() => app.close())
    t.equal(findOwnUrl(app), 'http://localhost:0', 'nowhere yet')
    await app.listen({ port: 0, host })
    t.equal(findOwnUrl(app), `http://${shown}:${portOf(app)}`)
  }
})

t.test('an app that listens everywhere is reached at an address of this machine', async (t) => {
  const own = Object.values(networkInterfaces()).flatMap((list) => list ?? []).filter(({ family, internal }) => family === 'IPv4' && !internal)
  const app = Fastify()
  t.teardown(() => app.close())
  await app.listen({ port: 0, host: '0.0.0.0' })
  t.equal(findOwnUrl(app), `http://${own[0]?.address ?? '127.0.0.1'}:${portOf(app)}`)
})
