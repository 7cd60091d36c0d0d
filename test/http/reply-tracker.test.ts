import Fastify, { type FastifyReply } from 'fastify'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { decorateWithRecord, ReplyTracker, type ReplyKind, type ReplyRecord } from '../../lib/http/reply-tracker.js'
import { SessionManager } from '../../lib/session/session-manager.js'
import type { Session } from '../../lib/session/session.js'
import { createDeferred } from '../helpers/waiting/deferred.js'
import { until } from '../helpers/waiting/until.js'

interface Stage {
  readonly sessions: SessionManager
  readonly replies: ReplyTracker
  /** A request that has come, and its record. */
  begin: (kind?: ReplyKind) => Promise<Begun>
  acquire: () => Session
}

interface Begun {
  readonly record: ReplyRecord
  readonly reply: FastifyReply
  /** Sends the head, and keeps the response open. */
  open: () => void
  /** Ends the response; resolves when it is over. */
  end: () => Promise<void>
  /** What the client has got; rejects when it was cut off. */
  readonly body: Promise<string>
}

function stage (t: Test): Stage {
  const sessions = new SessionManager()
  const replies = new ReplyTracker(sessions)
  const app = Fastify()
  t.teardown(() => app.close())
  decorateWithRecord(app)
  // In an object, because a reply is thenable.
  const come: Array<(come: { reply: FastifyReply }) => void> = []
  app.get('/', (_request, reply) => { come.shift()?.({ reply }) })

  async function begin (kind: ReplyKind = 'call'): Promise<Begun> {
    const came = createDeferred<{ reply: FastifyReply }>()
    come.push(came.resolve)
    const body = app.inject('/').then((response) => response.body)
    body.catch(() => {})
    const { reply } = await came.promise
    const record = replies.begin(reply.request, reply, kind)
    return {
      record,
      reply,
      body,
      open () {
        reply.hijack()
        reply.raw.writeHead(200)
        reply.raw.write('open')
      },
      async end () {
        if (!reply.raw.headersSent) reply.hijack()
        reply.raw.end('end')
        await until(() => record.isResponseOver, 'the response is over')
      }
    }
  }

  function acquire (): Session {
    const session = sessions.acquire(sessions.create())
    if (session === undefined) throw new Error('There is no session')
    return session
  }

  return { sessions, replies, begin, acquire }
}

/** Whether it has resolved by the time that all has happened which needs no time. */
async function hasResolved (work: Promise<unknown>): Promise<boolean> {
  let resolved = false
  work.then(() => { resolved = true })
  for (let i = 0; i < 5; i++) await turn()
  return resolved
}

t.test('a reply has the record that was begun for it, also when it is over', async (t) => {
  const { replies, begin } = stage(t)
  const { record, reply, end } = await begin('request')
  t.equal(replies.get(reply), record)
  t.match(record, { reply, request: reply.request, kind: 'request', session: undefined, expected: undefined, isResponseOver: false })
  await end()
  t.equal(replies.get(reply), record)
  t.equal(record.isResponseOver, true)
})

t.test('a reply of no interest has none', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  const replies = new ReplyTracker(new SessionManager())
  app.get('/', async (_request, reply) => String(replies.get(reply)))
  t.equal((await app.inject('/')).body, 'undefined')
})

t.test('a session is held until the response is over', async (t) => {
  const { begin, acquire } = stage(t)
  const { record, end } = await begin()
  const session = acquire()
  record.hold(session)
  t.equal(record.session, session)
  t.equal(session.activeRequests, 1)
  await end()
  t.equal(session.activeRequests, 0)
})

t.test('one whose client has gone before it began holds nothing', async (t) => {
  const { replies, begin, acquire } = stage(t)
  const { reply, end } = await begin('request')
  await end()
  reply.raw.destroy()
  const late = replies.begin(reply.request, reply, 'stream')
  t.equal(late.isResponseOver, true)
  const session = acquire()
  late.expect(session)
  t.equal(replies.expected().size, 0)
  late.endWith(() => t.fail('it is over'))
  late.hold(session)
  t.match(session, { activeRequests: 0, openStreams: 0 })
  replies.endStreams()
})

t.test('a session is expected until it is held', async (t) => {
  const { replies, begin, acquire } = stage(t)
  const [arriving, vanishing] = [await begin(), await begin()]
  const session = acquire()
  const other = acquire()
  arriving.record.expect(session)
  vanishing.record.expect(other)
  t.strictSame(new Set([session, other]), replies.expected())
  await vanishing.end()
  t.strictSame(new Set([session]), replies.expected())
  t.equal(other.activeRequests, 1, 'of the test itself')
  arriving.record.hold(session)
  t.equal(replies.expected().size, 0)
})

t.test('a stream counts as one when it is open, however the two come to know of each other', async (t) => {
  const { begin, acquire } = stage(t)
  const [first, second] = [await begin('stream'), await begin('stream')]
  const [one, two] = [acquire(), acquire()]
  first.record.hold(one)
  t.match(one, { activeRequests: 1, openStreams: 0 }, 'its session must not be taken for idle before')
  first.record.endWith(() => {})
  t.match(one, { activeRequests: 1, openStreams: 1 })
  second.record.endWith(() => {})
  second.record.hold(two)
  t.match(two, { activeRequests: 1, openStreams: 1 })
  second.record.endWith(() => {})
  t.match(two, { openStreams: 1 }, 'once')
  await Promise.all([first.end(), second.end()])
  for (const session of [one, two]) t.match(session, { activeRequests: 0, openStreams: 0 })
})

t.test('those who wait for the end of a response are told once, and at once when it is over', async (t) => {
  const { begin } = stage(t)
  const { record, end } = await begin()
  const told: string[] = []
  record.onResponseEnd(() => told.push('one'))
  record.onResponseEnd(() => told.push('two'))
  t.strictSame(told, [])
  await end()
  record.onResponseEnd(() => told.push('late'))
  t.strictSame(told, ['one', 'two', 'late'])
})

t.test('a call that outlives its response', async (t) => {
  t.test('holds its session until it is over', async (t) => {
    const { replies, begin, acquire } = stage(t)
    const { record, end } = await begin()
    const session = acquire()
    record.hold(session)
    const [over, otherOver] = [record.outlive(), record.outlive()]
    await end()
    t.equal(record.isResponseOver, true)
    over()
    over()
    t.equal(session.activeRequests, 1, 'two calls of one batch')
    const answered = replies.whenAnswered(60_000)
    t.notOk(await hasResolved(answered))
    otherOver()
    t.equal(session.activeRequests, 0)
    await answered
  })

  t.test('may be over before its response', async (t) => {
    const { begin, acquire } = stage(t)
    const { record, end } = await begin()
    const session = acquire()
    record.hold(session)
    record.outlive()()
    t.equal(session.activeRequests, 1)
    await end()
    t.equal(session.activeRequests, 0)
  })

  t.test('holds it again when its client was gone before it began', async (t) => {
    const { replies, sessions, begin, acquire } = stage(t)
    const { record, end } = await begin()
    const session = acquire()
    record.hold(session)
    await end()
    t.equal(session.activeRequests, 0)
    const over = record.outlive()
    t.equal(session.activeRequests, 1)
    t.notOk(await hasResolved(replies.whenAnswered(60_000)))
    over()
    t.equal(session.activeRequests, 0)
    sessions.cleanup(session.id)
    record.outlive()()
    t.equal(record.session, undefined, 'if it is still there')
  })

  t.test('needs no session', async (t) => {
    const { replies, begin } = stage(t)
    const { record, end } = await begin()
    await end()
    const over = record.outlive()
    t.notOk(await hasResolved(replies.whenAnswered(60_000)))
    over()
    t.ok(await hasResolved(replies.whenAnswered(60_000)))
  })
})

t.test('waiting for calls', async (t) => {
  t.test('takes no time where there is none', async (t) => {
    const { replies, begin } = stage(t)
    await begin('request')
    await begin('stream')
    t.ok(await hasResolved(replies.whenAnswered(60_000)))
  })

  t.test('includes those that come meanwhile', async (t) => {
    const { replies, begin } = stage(t)
    const first = await begin()
    const answered = replies.whenAnswered(60_000)
    const second = await begin()
    await first.end()
    t.notOk(await hasResolved(answered))
    await second.end()
    await answered
  })

  t.test('has an end, which is not before its time', async (t) => {
    const { replies, begin } = stage(t)
    await begin()
    for (const timeout of [30, 0]) {
      const start = performance.now()
      await replies.whenAnswered(timeout)
      t.ok(performance.now() - start >= timeout)
    }
  })
})

t.test('waiting for what is under way now', async (t) => {
  t.test('leaves out the requests of the app, and what comes later', async (t) => {
    const { replies, begin } = stage(t)
    await begin('request')
    t.ok(await hasResolved(replies.whenOver(60_000)))
    const [call, stream] = [await begin('call'), await begin('stream')]
    const over = replies.whenOver(60_000)
    await begin('call')
    await call.end()
    t.notOk(await hasResolved(over))
    await stream.end()
    await over
  })

  t.test('includes calls whose response is over', async (t) => {
    const { replies, begin } = stage(t)
    const { record, end } = await begin()
    const finish = record.outlive()
    const over = replies.whenOver(60_000)
    await end()
    t.notOk(await hasResolved(over))
    finish()
    await over
  })

  t.test('has an end', async (t) => {
    const { replies, begin } = stage(t)
    await begin()
    await replies.whenOver(10)
    t.pass()
  })
})

t.test('ending streams', async (t) => {
  t.test('asks each once, and leaves everything else alone', async (t) => {
    const { replies, begin } = stage(t)
    const ended: string[] = []
    for (const kind of ['request', 'call', 'stream'] as const) {
      const { record, open } = await begin(kind)
      open()
      record.endWith(() => ended.push(kind))
    }
    replies.endStreams()
    replies.endStreams()
    t.strictSame(ended, ['stream'])
  })

  t.test('asks those that it is told to', async (t) => {
    const { replies, begin, acquire } = stage(t)
    const ended: string[] = []
    const [holding, holdingNone] = [await begin('stream'), await begin('stream')]
    holding.record.hold(acquire())
    holding.record.endWith(() => ended.push('holding'))
    holdingNone.record.endWith(() => ended.push('holding none'))
    replies.endStreams(({ session }) => session === undefined)
    t.strictSame(ended, ['holding none'])
  })

  t.test('cuts off one that knows no better end, when it is open', async (t) => {
    const { replies, begin } = stage(t)
    const { record, reply, open, body } = await begin('stream')
    replies.endStreams()
    t.equal(reply.raw.destroyed, false, 'what it will be is not known yet')
    open()
    replies.endStreams()
    await t.rejects(body)
    t.equal(record.isResponseOver, true)
  })

  t.test('can be done with force', async (t) => {
    const { replies, begin } = stage(t)
    const [stream, call] = [await begin('stream'), await begin('call')]
    stream.record.endWith(() => {})
    replies.endStreams()
    replies.destroyStreams()
    await t.rejects(stream.body)
    t.equal(call.record.isResponseOver, false)
  })
})
