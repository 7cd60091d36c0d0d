import Fastify from 'fastify'
import { syncBuiltinESMExports } from 'node:module'
import os, { networkInterfaces } from 'node:os'
import { mock } from 'node:test'
import t from 'tap'
import { findLoopbackFault, findOwnUrl } from '../../lib/cluster/advertise.js'
import { portOf } from '../helpers/apps/app.js'

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

t.test('an app that speaks TLS is reached by it', async (t) => {
  const app = Fastify({ https: {} })
  t.teardown(() => app.close())
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.equal(findOwnUrl(app), `https://127.0.0.1:${portOf(app)}`)
})

t.test('a machine without a network reaches itself', async (t) => {
  const { networkInterfaces: real } = os
  t.teardown(() => {
    mock.restoreAll()
    syncBuiltinESMExports()
  })
  const internal = Object.values(real()).flatMap((list) => list ?? []).filter(({ internal }) => internal)
  const app = Fastify()
  t.teardown(() => app.close())
  await app.listen({ port: 0, host: '0.0.0.0' })
  for (const interfaces of [{ lo: internal }, { none: undefined }, {}]) {
    mock.method(os, 'networkInterfaces', () => interfaces)
    syncBuiltinESMExports()
    t.equal(findOwnUrl(app), `http://127.0.0.1:${portOf(app)}`)
  }
})

t.test('a loopback URL is no good where Redis is on another machine', (t) => {
  const url = 'http://127.0.0.1:3000'
  t.equal(findLoopbackFault(url, 'redis.example.com'), `This node advertises ${url}, and Redis is at redis.example.com`)
  t.equal(findLoopbackFault('http://[::1]:3000', '10.0.0.7'), 'This node advertises http://[::1]:3000, and Redis is at 10.0.0.7')
  for (const host of ['localhost', '127.0.0.1', '::1', undefined]) t.equal(findLoopbackFault(url, host), undefined, `with Redis at ${host}`)
  for (const other of ['http://10.0.0.7:3000', 'https://node-1.example.com', 'not a URL']) t.equal(findLoopbackFault(other, 'redis.example.com'), undefined, other)
  t.end()
})
