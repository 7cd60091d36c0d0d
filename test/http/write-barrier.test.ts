import Fastify, { type FastifyInstance } from 'fastify'
import { Readable } from 'node:stream'
import t, { type Test } from 'tap'
import '../../lib/plugin/augmentation.js'
import { ClusterUnavailableError, OwnerFailedError, type SessionError } from '../../lib/base/errors.js'
import { createWriteBarrier } from '../../lib/http/write-barrier.js'
import { Rejections } from '../../lib/http/rejection.js'
import { SessionManager } from '../../lib/session/session-manager.js'
import { createDeferred, type Deferred } from '../helpers/waiting/deferred.js'

interface Scene {
  app: FastifyInstance
  /** What answers wait for, and what came of it; undefined: nothing. */
  written: Deferred<SessionError | 'written'> | undefined
  /** How often the barrier was asked. */
  asked: number
}

/** An app whose requests have a session, unless they say that they have none. */
function scene (t: Test): Scene {
  const app = Fastify()
  t.teardown(() => app.close())
  const sessions = new SessionManager()
  const session = sessions.get(sessions.create()) ?? null
  const scene: Scene = { app, written: createDeferred(), asked: 0 }
  const cluster = {
    barrier () {
      scene.asked++
      return scene.written?.promise.then((outcome) => { if (outcome instanceof Error) throw outcome })
    }
  }
  app.decorateRequest('mcpSession', null)
  app.addHook('onRequest', async (request) => { request.mcpSession = request.headers['x-none'] === undefined ? session : null })
  app.addHook('onSend', createWriteBarrier({ cluster, reject: new Rejections().reject }))
  app.get('/', async (_request, reply) => {
    reply.header('content-length', 13)
    return { told: 'it' }
  })
  return scene
}

async function isAnswered (answer: PromiseLike<unknown>): Promise<boolean> {
  let answered = false
  answer.then(() => { answered = true })
  for (let turns = 0; turns < 10; turns++) await new Promise((resolve) => setImmediate(resolve))
  return answered
}

t.test('an answer waits until what it follows from is written', async (t) => {
  const { app, written } = scene(t)
  const answer = app.inject('/')
  t.notOk(await isAnswered(answer))
  written?.resolve('written')
  const { statusCode, body } = await answer
  t.strictSame({ statusCode, body }, { statusCode: 200, body: '{"told":"it"}' })
})

t.test('where nothing is to be written, and where there is no session, nothing is waited for', async (t) => {
  const setting = scene(t)
  t.equal((await setting.app.inject({ url: '/', headers: { 'x-none': '' } })).statusCode, 200)
  t.equal(setting.asked, 0)
  setting.written = undefined
  t.equal((await setting.app.inject('/')).statusCode, 200)
  t.equal(setting.asked, 1)
})

t.test('a client hears what has become of its request when that is not what it would have been told', async (t) => {
  for (const [error, status, retryAfter] of [[new ClusterUnavailableError(), 503, '1'], [new OwnerFailedError(), 502, undefined]] as const) {
    const setting = scene(t)
    setting.written?.resolve(error)
    const answer = await setting.app.inject('/')
    t.equal(answer.statusCode, status)
    t.equal(answer.headers['retry-after'], retryAfter)
    t.equal(answer.headers['content-length'], `${Buffer.byteLength(answer.body)}`)
    t.match(answer.json(), { jsonrpc: '2.0', error: { code: -32000, message: error.message }, id: null })
    t.equal(setting.asked, 1, 'which waits for nothing')
  }
})

t.test('the head of a stream waits, and one that is not sent is destroyed', async (t) => {
  const streams: Readable[] = []
  const { app, written } = scene(t)
  app.get('/stream', async () => {
    const stream = Readable.from(['told', ' it'])
    streams.push(stream)
    return stream
  })
  const answer = app.inject('/stream')
  t.notOk(await isAnswered(answer))
  written?.resolve(new OwnerFailedError())
  t.equal((await answer).statusCode, 502)
  t.ok(streams[0]?.destroyed)
})

t.test('the routes of an endpoint wait by themselves', async (t) => {
  const setting = scene(t)
  setting.app.get('/mcp', { config: { mcpSession: 'ignore' } }, async () => 'told it')
  t.equal((await setting.app.inject('/mcp')).body, 'told it')
  t.equal(setting.asked, 0)
})
