import Fastify from 'fastify'
import { mock } from 'node:test'
import t, { type Test } from 'tap'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { NewSession } from '../../lib/cluster/directory.js'
import { ForwardError, Forwarder, type Hop } from '../../lib/cluster/forwarder.js'
import { SessionRouter } from '../../lib/cluster/session-router.js'
import type { SessionManagerOptions } from '../../lib/session/session-manager.js'
import { buildScene, LEASE, type Scene, type SceneNode } from '../helpers/cluster-scene.js'

type Answer = (reply: FastifyReply, hop: Hop) => Promise<boolean>

class FakeForwarder extends Forwarder {
  readonly hops: Hop[] = []
  answer: Answer = async (reply) => {
    reply.send('from the owner')
    return true
  }

  override async forward (_request: FastifyRequest, reply: FastifyReply, hop: Hop): Promise<boolean> {
    this.hops.push(hop)
    return this.answer(reply, hop)
  }
}

interface LocatorScene extends Scene {
  node: SceneNode
  forwarder: FakeForwarder
  /** Asks for a session as a request does: to the id of the session, or what was answered. */
  locate: (id: string, principal?: string) => Promise<string>
  record: (changes?: Partial<NewSession>) => Promise<string>
  /** The client that has asked last goes away. */
  vanish: () => void
}

async function scene (t: Test, options: SessionManagerOptions = {}, { isJoined = true } = {}): Promise<LocatorScene> {
  const base = buildScene(t)
  base.directory.away = !isJoined
  const node = await base.addNode(options)
  base.directory.away = false
  const forwarder = new FakeForwarder()
  const locator = new SessionRouter({
    ...node, directory: base.directory, forwarder, patience: 1000, find: (id) => node.sessions.get(id)
  })
  const clients: FastifyReply[] = []
  const app = Fastify()
  t.teardown(() => app.close())
  app.get<{ Querystring: { id: string, principal?: string } }>('/', (request, reply) => {
    const { id, principal } = request.query
    clients.push(reply)
    locator.locate(request, reply, id, principal).then((outcome) => {
      if (outcome === 'answered') return
      reply.send(outcome instanceof Error ? outcome : `here: ${outcome.id}`)
    }, (error: unknown) => { reply.code(500).send(String(error)) })
  })
  await app.ready()
  let ids = 0
  return {
    ...base,
    node,
    forwarder,
    vanish: () => { clients.at(-1)?.raw.destroy() },
    async locate (id, principal) {
      const { statusCode, body } = await app.inject({ url: '/', query: { id, ...(principal !== undefined && { principal }) } })
      return statusCode === 200 ? body : String(statusCode)
    },
    async record (changes = {}) {
      const now = Date.now()
      const session = { id: `s${++ids}`, principal: undefined, owner: 'other', createdAt: now, lastAccessedAt: now, metadata: undefined, state: undefined, ...changes }
      await base.directory.create(session)
      return session.id
    }
  }
}

async function during<T> (pass: (ms: number) => Promise<void>, work: Promise<T>): Promise<T> {
  const running = new Set([work])
  const end = (): void => { running.clear() }
  work.then(end, end)
  while (running.size > 0) await pass(50)
  return work
}

t.test('a session that nobody serves is taken over once, however many ask', async (t) => {
  const { locate, record, node, directory, pass } = await scene(t)
  const id = await record()
  const answers = await during(pass, Promise.all(Array.from({ length: 10 }, () => locate(id))))
  t.strictSame(new Set(answers), new Set([`here: ${id}`]))
  t.equal(directory.calls.get('claim'), 1)
  t.strictSame(node.closed, [])
})

t.test('a session that came here while the directory was asked is not claimed again', async (t) => {
  const { locate, record, node, directory, pass } = await scene(t)
  const id = await record()
  const get = directory.get.bind(directory)
  directory.get = async (asked) => {
    const located = await get(asked)
    directory.get = get
    t.equal(await locate(asked), `here: ${id}`)
    return get(asked).then(() => located)
  }
  t.equal(await during(pass, locate(id)), `here: ${id}`)
  t.equal(directory.calls.get('claim'), 1)
  t.strictSame(node.closed, [])
})

t.test('nothing is done for a stranger', async (t) => {
  const { locate, record, forwarder, directory } = await scene(t)
  const id = await record({ principal: 'ann' })
  await directory.announce({ node: 'other', url: 'http://127.0.0.1:1' }, LEASE)
  t.equal(await locate(id, 'bob'), '404')
  t.equal(await locate(id), '404')
  t.equal(await locate('none'), '404')
  t.equal(forwarder.hops.length, 0)
  t.equal(directory.calls.get('claim'), undefined)
})

t.test('a living owner answers, and is asked again while it cannot be reached', async (t) => {
  const { locate, record, forwarder, directory, node } = await scene(t)
  const id = await record({ principal: 'ann' })
  await directory.announce({ node: 'other', url: 'http://127.0.0.1:1' }, 60_000)
  t.equal(await locate(id, 'ann'), 'from the owner')
  t.match(forwarder.hops[0], { to: { node: 'other' }, secret: node.nodeLease.secret })
  forwarder.answer = async () => false
  const started = performance.now()
  t.equal(await locate(id, 'ann'), '503')
  t.ok(performance.now() - started >= LEASE + 1000, 'for a lease and a second')
  t.ok(forwarder.hops.length > 5)
})

t.test('a request that its owner may have begun is nobody else\'s', async (t) => {
  const { locate, record, forwarder, directory } = await scene(t)
  const id = await record()
  await directory.announce({ node: 'other', url: 'http://127.0.0.1:1' }, LEASE)
  forwarder.answer = async () => { throw new ForwardError('It failed') }
  t.equal(await locate(id), '502')
  forwarder.answer = async () => { throw new Error('a bug') }
  t.equal(await locate(id), '500')
})

t.test('an owner whose lease lapses is given up, and its session taken over', async (t) => {
  const { locate, record, forwarder, directory, pass } = await scene(t)
  const id = await record()
  await directory.announce({ node: 'other', url: 'http://127.0.0.1:1' }, LEASE)
  forwarder.answer = (_reply, { signal }) => new Promise((resolve) => signal?.addEventListener('abort', () => resolve(false)))
  t.equal(await during(pass, locate(id)), `here: ${id}`)
  t.equal(forwarder.hops.length, 1)
  const calls = Number(directory.calls.get('peer'))
  await pass(3 * LEASE)
  t.equal(directory.calls.get('peer'), calls, 'nobody watches it any more')
})

t.test('an outage of the directory does not end a request that its owner works on', async (t) => {
  const { locate, record, forwarder, directory, pass } = await scene(t)
  const id = await record()
  await directory.announce({ node: 'other', url: 'http://127.0.0.1:1' }, 10 * LEASE)
  forwarder.answer = async (reply) => {
    directory.away = true
    await pass(LEASE)
    directory.away = false
    reply.send('at last')
    return true
  }
  t.equal(await locate(id), 'at last')
})

t.test('what has ended here does not come back from the directory', async (t) => {
  const { locate, node, directory, settle } = await scene(t)
  const id = node.sessions.create()
  await settle()
  directory.away = true
  node.sessions.cleanup(id)
  await settle()
  directory.away = false
  t.equal(await locate(id), '404')
  t.equal(directory.calls.get('claim'), undefined)
  await node.outbox.flush()
  t.equal(await directory.get(id), undefined)
})

t.test('a copy that is not this node\'s any more is dropped, and its owner asked', async (t) => {
  const { locate, node, directory, settle } = await scene(t)
  const id = node.sessions.create()
  await settle()
  await directory.announce({ node: 'other', url: 'http://127.0.0.1:1' }, 10 * LEASE)
  const located = await directory.get(id)
  if (located === undefined) throw new Error('The session is not there')
  await directory.claim(located.record, 'other', Date.now())
  mock.timers.tick(2 * LEASE)
  await settle()
  t.equal(await locate(id), 'from the owner')
  t.strictSame(node.closed, ['moved'])
})

t.test('a session that cannot be read is let go of', async (t) => {
  const { locate, record, node, directory } = await scene(t)
  const id = await record()
  node.sessions.register = () => { throw new TypeError('broken') }
  t.equal(await locate(id), '500')
  await node.outbox.flush()
  t.equal((await directory.get(id))?.record.owner, undefined)
})

t.test('a lease that was lost while a session was claimed under it is not served under', async (t) => {
  const { locate, record, node, directory, pass } = await scene(t)
  const id = await record()
  const claim = directory.claim.bind(directory)
  directory.claim = async (...args) => {
    directory.claim = claim
    const claimed = await claim(...args)
    directory.away = true
    await pass(2 * LEASE)
    directory.away = false
    await pass(LEASE)
    return claimed
  }
  t.equal(await during(pass, locate(id)), `here: ${id}`)
  t.match(await directory.get(id), { owner: { node: node.nodeLease.incarnation } })
})

t.test('without a lease and without a directory, it is not known where the session is', async (t) => {
  const { locate, record, directory, pass } = await scene(t)
  const id = await record()
  directory.away = true
  t.equal(await locate(id), '503')
  await pass(2 * LEASE)
  const get = directory.get.bind(directory)
  directory.get = async (asked) => {
    directory.away = false
    const located = await get(asked)
    directory.away = true
    return located
  }
  t.equal(await during(pass, locate(id)), '503')
  t.equal(directory.calls.get('claim'), undefined)
})

t.test('a stranger does not find what lives here', async (t) => {
  const { locate, node, settle } = await scene(t)
  const id = node.sessions.create(undefined, { principal: 'ann' })
  await settle()
  t.equal(await locate(id, 'ann'), `here: ${id}`)
  t.equal(await locate(id, 'bob'), '404')
})

t.test('a directory that has lost its data is given time to learn of its sessions again', async (t) => {
  const { locate, record, directory, pass } = await scene(t)
  const id = await record()
  directory.wipe()
  const found = locate(id)
  await pass(LEASE / 2)
  t.equal(await record({ id }), id)
  t.equal(await during(pass, found), `here: ${id}`)
})

t.test('a node that never had a lease cannot tell that the directory has lost its data', async (t) => {
  const { locate, node } = await scene(t, {}, { isJoined: false })
  t.equal(node.nodeLease.incarnation, undefined)
  t.equal(await locate('none'), '404')
})

t.test('nothing is passed on for a client that has gone', async (t) => {
  const { locate, record, forwarder, directory, vanish } = await scene(t)
  const id = await record()
  await directory.announce({ node: 'other', url: 'http://127.0.0.1:1' }, LEASE)
  const get = directory.get.bind(directory)
  directory.get = async (asked) => {
    vanish()
    return get(asked)
  }
  t.equal(await locate(id), '502')
  t.equal(forwarder.hops.length, 0)
})
