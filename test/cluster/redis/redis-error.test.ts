// What is in an error of ioredis comes to logs with the error, whatever writes them.
import Fastify from 'fastify'
import { Redis } from 'ioredis'
import { inspect } from 'node:util'
import t from 'tap'
import { RedisCommands } from '../../../lib/cluster/redis/commands.js'
import { withoutArguments } from '../../../lib/cluster/redis/redis-error.js'
import { captureLog } from '../../helpers/observe/log-lines.js'
import { needsRedis, startRedis } from '../../helpers/redis/redis-server.js'

t.test('the arguments of a command that failed are nowhere in the error', needsRedis(), async (t) => {
  const { url, stop } = await startRedis()
  t.teardown(stop)
  const redis = new Redis(url)
  t.teardown(() => { redis.disconnect() })
  const prefix = `test-${Date.now()}:`
  const commands = new RedisCommands({ redis, prefix, timeout: 1000 })
  const key = commands.announcementsKey()
  await redis.set(key, 'of a wrong type')
  const error: unknown = await commands.run('publish', [key], ['secret-value', 'channel']).catch((error: unknown) => error)
  t.match(error, { name: 'DirectoryUnavailableError', cause: /WRONGTYPE/ })
  const log = captureLog()
  const app = Fastify({ logger: { stream: log.stream, serializers: { err: (error) => ({ all: inspect(error, { depth: 10, showHidden: true }), message: '', stack: '', type: '' }) } } })
  app.log.error(error, 'with a serializer that writes all there is')
  t.match(log.lines.join(''), 'WRONGTYPE')
  t.notMatch(log.lines.join('') + inspect(error, { depth: 10, showHidden: true }).replaceAll(key, ''), /secret-/)
})

t.test('nor what Redis quotes of a command that it does not know', async (t) => {
  const error = withoutArguments(new Error("ERR unknown command 'EVALSHA', with args beginning with: 'a' 'secret' \n'b' "))
  t.equal(error.message, "ERR unknown command 'EVALSHA'")
  t.notMatch(inspect(error, { showHidden: true }), 'secret')
  t.match(withoutArguments('a string'), { name: 'Error', message: /a string/ })
})

t.test('that a name has several addresses hides nothing', async (t) => {
  const errors = ['::1', '127.0.0.1'].map((address) => new Error(`connect ECONNREFUSED ${address}:6379`))
  t.match(withoutArguments(new AggregateError(errors)), {
    name: 'AggregateError', message: 'connect ECONNREFUSED ::1:6379, connect ECONNREFUSED 127.0.0.1:6379'
  })
})
