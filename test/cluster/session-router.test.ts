import Fastify from 'fastify'
import { mock } from 'node:test'
import t, { type Test } from 'tap'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { NewSession, Peer } from '../../lib/cluster/directory.js'
import { Forwarder, type Hop } from '../../lib/cluster/forwarder.js'
import { ForwardError, type HopOutcome } from '../../lib/cluster/hop-outcome.js'
import { PeerTroubles } from '../../lib/cluster/peer-troubles.js'
import { SessionRouter } from '../../lib/cluster/session-router.js'
import { ThisNode } from '../../lib/cluster/this-node.js'
import type { SessionManagerOptions } from '../../lib/session/session-manager.js'
import { buildScene, LEASE, type Scene, type SceneNode } from '../helpers/cluster/cluster-scene.js'

type Answer = (reply: FastifyReply, hop: Hop) => Promise<HopOutcome>

class FakeForwarder extends Forwarder {
  readonly hops: Hop[] = []
  answer: Answer = async (reply) => {
    reply.send('from the owner')
    return { kind: 'answered' }
  }

  override async probe (): Promise<void> {}

  override async forward (_request: FastifyRequest, reply: FastifyReply, hop: Hop): Promise<HopOutcome> {
    this.hops.push(hop)
    return this.answer(reply, hop)
  }
}

const NEW_CODES = new Set(['FST_ERR_MCP_SESSION_OWNER_UNREACHABLE', 'FST_ERR_MCP_SESSION_MISDIRECTED'])
const OWN_URL = 'http://10.0.0.1:3000'
const EMPTIER: Peer = { node: 'emptier', url: 'http://10.0.0.2:3000' }

interface LocatorScene extends Scene {
  node: SceneNode
  forwarder: FakeForwarder
  /** What was logged, by its level. */
  logged: Array<[level: string, fields: object, message: string]>
  /** Has requests come from another node. To how many of them have been refused. */
  receive: (isForwarded: boolean) => void
  refused: () => number
  /** Asks for a session as a request does: to the id of the session, or what was answered. */
  locate: (id: string, principal?: string) => Promise<string>
  record: (changes?: Partial<NewSession>) => Promise<string>
  /** Where a session that nobody serves should go to; undefined: here. */
  place: (peer: Peer | undefined) => void
  avoided: Peer[]
  /** Whether each request that was served here has had to be given its body anew. */
  replayed: boolean[]
  /** From now on this node is closing. */
  leave: () => void
  /** The client that has asked last goes away. */
  vanish: () => void
}

async function scene (t: Test, options: SessionManagerOptions = {}, { isJoined = true } = {}): Promise<LocatorScene> {
  const base = buildScene(t)
  base.directory.away = !isJoined
  const node = await base.addNode(options)
  const thisNode = new ThisNode(node.nodeLease, () => OWN_URL, Date.now)
  // It has been here for longer than a lease, or else it would take every other node at its address for dead.
  if (isJoined) node.nodeLease.emit('joined', String(node.nodeLease.incarnation), undefined)
  const logged: LocatorScene['logged'] = []
  const logAt = (level: string) => (fields: object, message: string): void => { logged.push([level, fields, message]) }
  const log = { info: logAt('info'), error: logAt('error') }
  const warnOfLoopback = (what: string): void => { logged.push(['warn', {}, what]) }
  const troubles = new PeerTroubles({ lease: LEASE, log, warnOfLoopback, now: Date.now })
  let isForwarded = false
  let refused = 0
  const receiver = { isForwarded: () => isForwarded, refuse: () => { refused++ } }
  base.directory.away = false
  const forwarder = new FakeForwarder()
  let place: Peer | undefined
  const avoided: Peer[] = []
  const loads = {
    isLeaving: false,
    findPlace: () => place,
    avoid (peer: Peer) {
      avoided.push(peer)
      place = undefined
    }
  }
  const locator = new SessionRouter({
    ...node, loads, directory: base.directory, forwarder, receiver, thisNode, troubles, patience: 1000, find: (id) => node.sessions.get(id)
  })
  const clients: FastifyReply[] = []
  const replayed: boolean[] = []
  const app = Fastify()
  t.teardown(() => app.close())
  app.get<{ Querystring: { id: string, principal?: string } }>('/', (request, reply) => {
    const { id, principal } = request.query
    clients.push(reply)
    locator.locate(request, reply, id, principal).then((outcome) => {
      if (outcome === 'answered') return
      replayed.push(locator.replay(request) !== undefined)
      reply.send(outcome instanceof Error ? outcome : `here: ${outcome.id}`)
    }, (error: unknown) => { reply.code(500).send(String(error)) })
  })
  await app.ready()
  let ids = 0
  return {
    ...base,
    node,
    forwarder,
    logged,
    place: (peer) => { place = peer },
    avoided,
    leave: () => { loads.isLeaving = true },
    receive: (value) => { isForwarded = value },
    refused: () => refused,
    replayed,
    vanish: () => { clients.at(-1)?.raw.destroy() },
    async locate (id, principal) {
      const { statusCode, body } = await app.inject({ url: '/', query: { id, ...(principal !== undefined && { principal }) } })
      if (statusCode === 200) return body
      const { code }: { code?: string } = JSON.parse(body.startsWith('{') ? body : '{}')
      return code !== undefined && NEW_CODES.has(code) ? code : String(statusCode)
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
  forwarder.answer = async () => ({ kind: 'unreachable', cause: new Error('refused') })
  const started = performance.now()
  t.equal(await locate(id, 'ann'), 'FST_ERR_MCP_SESSION_OWNER_UNREACHABLE')
  t.ok(performance.now() - started >= LEASE + 1000, 'for a lease and a second')
  t.ok(forwarder.hops.length > 5)
})

t.test('an owner that has just answered is asked again without the directory', async (t) => {
  const { locate, record, forwarder, directory } = await scene(t)
  const id = await record({ principal: 'ann' })
  await directory.announce({ node: 'other', url: 'http://127.0.0.1:1' }, 60_000)
  t.equal(await locate(id, 'ann'), 'from the owner')
  const asked = directory.calls.get('get')
  for (let i = 0; i < 3; i++) t.equal(await locate(id, 'ann'), 'from the owner')
  t.equal(directory.calls.get('get'), asked)
  t.equal(await locate(id, 'bob'), '404', 'of somebody else the directory knows more')
  t.equal(forwarder.hops.length, 4)

  forwarder.answer = async () => {
    const epoch = (await directory.get(id))?.record.epoch ?? ''
    await directory.release([{ id, epoch, lastAccessedAt: Date.now() }])
    return { kind: 'refused' }
  }
  t.equal(await locate(id, 'ann'), `here: ${id}`, 'one that has let go of the session says so')
  t.equal(forwarder.hops.length, 5)
})

t.test('a request that its owner may have begun is nobody else\'s', async (t) => {
  const { locate, record, forwarder, directory, logged, vanish } = await scene(t)
  const id = await record()
  await directory.announce({ node: 'other', url: 'http://10.0.0.2:3000' }, LEASE)
  forwarder.answer = async () => {
    vanish()
    throw new ForwardError('The client has gone away')
  }
  await Promise.allSettled([locate(id)])
  forwarder.answer = async () => { throw new Error('a bug') }
  t.equal(await locate(id), '500')
  t.strictSame(logged, [])
  forwarder.answer = async () => { throw new ForwardError('It failed') }
  t.equal(await locate(id), '502')
  t.match(logged, [['error', { node: 'other', err: { message: 'It failed' } }, /broken off/]])
})

t.test('an owner whose lease lapses is given up, and its session taken over', async (t) => {
  const { locate, record, forwarder, directory, pass } = await scene(t)
  const id = await record()
  await directory.announce({ node: 'other', url: 'http://127.0.0.1:1' }, LEASE)
  forwarder.answer = (_reply, { signal }) => new Promise((resolve) => signal?.addEventListener('abort', () => resolve({ kind: 'lost' })))
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
    return { kind: 'answered' }
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

t.test('what is not in a directory that has lost its data is gone when its owners have had time', async (t) => {
  const { locate, node, directory, pass } = await scene(t)
  directory.wipe()
  await pass(LEASE)
  const began = performance.now()
  t.equal(await locate('none'), '503', 'its owner may be late')
  t.ok(performance.now() - began >= LEASE + 1000)
  while (node.nodeLease.isRebuilding()) await pass(100)
  t.equal(await locate('none'), '404')
})

t.test('what another node has passed on goes back to it before it has waited here as well', async (t) => {
  const { locate, directory, receive, refused, pass } = await scene(t)
  directory.wipe()
  await pass(LEASE)
  receive(true)
  const began = performance.now()
  t.equal(await locate('none'), '503')
  t.equal(refused(), 1, 'to be looked for anew')
  t.ok(performance.now() - began < 2000)
})

t.test('an owner that is asked late has what is left of the time to say that it has the request', async (t) => {
  const { locate, record, forwarder, directory } = await scene(t)
  const id = await record()
  await directory.announce({ node: 'other', url: 'http://10.0.0.2:3000' }, 10 * LEASE)
  forwarder.answer = async () => ({ kind: 'refused' })
  t.equal(await locate(id), '503')
  const patiences = forwarder.hops.map(({ patience }) => patience)
  const bounded = patiences.filter((patience) => patience !== undefined)
  t.equal(patiences[0], undefined, 'at first it is found out before the end')
  t.ok(bounded.length > 2 && bounded.every((patience) => patience < LEASE), patiences.join())
  t.strictSame(bounded, bounded.toSorted((a, b) => b - a), 'then it is less and less')
  t.equal(bounded.at(-1), 1000, 'but never so little that it could not be told')
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

t.test('a node passes nothing on before it has a lease, and with it the secret', async (t) => {
  const { locate, record, forwarder, directory, node, pass } = await scene(t, {}, { isJoined: false })
  const id = await record()
  await directory.announce({ node: 'other', url: 'http://10.0.0.2:3000' }, LEASE)
  t.equal(node.nodeLease.isValid(), false)
  let hasPassedOnWithoutLease = false
  forwarder.answer = async (reply) => {
    hasPassedOnWithoutLease = !node.nodeLease.isValid()
    reply.send('from the owner')
    return { kind: 'answered' }
  }
  t.equal(await during(pass, locate(id)), 'from the owner')
  t.equal(hasPassedOnWithoutLease, false)
})

t.test('what another node has passed on is never passed on again', async (t) => {
  const { locate, record, forwarder, directory, receive, refused } = await scene(t)
  const id = await record()
  await directory.announce({ node: 'other', url: 'http://10.0.0.2:3000' }, LEASE)
  receive(true)
  t.equal(await locate(id), '503')
  t.equal(refused(), 1, 'and the node that it came from looks anew')
  t.equal(forwarder.hops.length, 0)
  receive(false)
  t.equal(await locate(id), 'from the owner')
})

t.test('a node that closes takes over nothing that another has passed on to it: who stays does', async (t) => {
  const { locate, record, receive, refused, leave } = await scene(t)
  const id = await record()
  leave()
  receive(true)
  t.equal(await locate(id), '503')
  t.equal(refused(), 1)
  receive(false)
  t.equal(await locate(id), `here: ${id}`, 'but what has come to it from its client, where there is nobody else')
})

t.test('a session that has gone from its owner meanwhile is looked for again', async (t) => {
  const { locate, record, forwarder, directory } = await scene(t)
  const id = await record()
  await directory.announce({ node: 'other', url: 'http://10.0.0.2:3000' }, 10 * LEASE)
  forwarder.answer = async () => {
    const epoch = (await directory.get(id))?.record.epoch ?? ''
    await directory.release([{ id, epoch, lastAccessedAt: Date.now() }])
    return { kind: 'refused' }
  }
  t.equal(await locate(id), `here: ${id}`)
})

t.test('a node that was at the own address before has died, and is not waited for', async (t) => {
  const { locate, record, forwarder, directory } = await scene(t)
  const id = await record()
  await directory.announce({ node: 'other', url: `${OWN_URL}/` }, LEASE)
  t.equal(await locate(id), `here: ${id}`)
  t.equal(forwarder.hops.length, 0)
})

t.test('another that lives at the own address is a mistake, and said once', async (t) => {
  const { locate, record, forwarder, directory, pass, logged } = await scene(t)
  await pass(LEASE + 50)
  const id = await record()
  await directory.announce({ node: 'other', url: OWN_URL }, LEASE)
  for (let i = 0; i < 3; i++) t.equal(await locate(id), 'FST_ERR_MCP_SESSION_MISDIRECTED')
  t.equal(forwarder.hops.length, 0)
  t.match(logged, [['error', { node: 'other', url: OWN_URL }, /leads to another node.*cluster\.advertise/]])
  t.equal(logged.length, 1)
})

t.test('so is one whose address leads to another node', async (t) => {
  const { locate, record, forwarder, directory, logged } = await scene(t)
  const id = await record()
  await directory.announce({ node: 'other', url: 'http://10.0.0.2:3000' }, LEASE)
  forwarder.answer = async () => ({ kind: 'misdirected' })
  t.equal(await locate(id), 'FST_ERR_MCP_SESSION_MISDIRECTED')
  t.equal(forwarder.hops.length, 1)
  t.equal(logged.length, 1)
})

t.test('why a node cannot be reached is said once, until it answers', async (t) => {
  const { locate, record, forwarder, directory, pass, logged } = await scene(t)
  const id = await record()
  await directory.announce({ node: 'other', url: 'http://10.0.0.2:3000' }, 100 * LEASE)
  const cause = new Error('certificate')
  forwarder.answer = async () => ({ kind: 'unreachable', cause })
  t.equal(await during(pass, locate(id)), 'FST_ERR_MCP_SESSION_OWNER_UNREACHABLE')
  await pass(LEASE)
  const tried = forwarder.hops.length
  t.equal(await locate(id), 'FST_ERR_MCP_SESSION_OWNER_UNREACHABLE', 'at once, for it lives')
  t.equal(forwarder.hops.length, tried + 1)
  t.strictSame(logged.map(([level, fields]) => [level, fields]), [['error', { err: cause, node: 'other', url: 'http://10.0.0.2:3000' }]])
  forwarder.answer = async (reply) => {
    reply.send('again')
    return { kind: 'answered' }
  }
  t.equal(await locate(id), 'again')
  t.equal(await locate(id), 'again')
  t.match(logged.slice(1), [['info', { node: 'other', attempts: tried + 1 }, /answers again/]])
  t.equal(logged.length, 2)
})

t.test('an owner that has just answered is looked for once the directory has lost its data', async (t) => {
  const { locate, record, directory, pass } = await scene(t)
  const owner = { node: 'other', url: 'http://10.0.0.2:3000' }
  const id = await record()
  await directory.announce(owner, 10 * LEASE)
  t.equal(await locate(id), 'from the owner')
  directory.wipe()
  await pass(LEASE / 3)
  await directory.announce(owner, 10 * LEASE)
  await record({ id })
  const asked = directory.calls.get('get')
  t.equal(await locate(id), 'from the owner')
  t.not(directory.calls.get('get'), asked, 'it may not know the new secret before it has written its sessions again')
})

t.test('a stranger at the address of the owner', async (t) => {
  const { locate, record, forwarder, directory, logged } = await scene(t)
  const id = await record()
  await directory.announce({ node: 'other', url: 'http://10.0.0.2:3000' }, 10 * LEASE)
  forwarder.answer = async (_reply, { body }) => {
    body.wasRead = true
    return { kind: 'stranger', cause: new Error('it says 404') }
  }
  t.equal(await locate(id), 'FST_ERR_MCP_SESSION_OWNER_UNREACHABLE')
  t.equal(forwarder.hops.length, 1, 'who may have acted on the request')
  t.equal(logged.length, 1)
})

t.test('an owner that has fallen silent may be at work on what it has been sent, and on nothing else', async (t) => {
  for (const wasRead of [true, false]) {
    const { locate, record, forwarder, directory, logged } = await scene(t)
    const id = await record()
    await directory.announce({ node: 'other', url: 'http://10.0.0.2:3000' }, 10 * LEASE)
    forwarder.answer = async (_reply, { body }) => {
      body.wasRead = wasRead
      return { kind: 'silent', cause: new Error('no answer') }
    }
    t.equal(await locate(id), 'FST_ERR_MCP_SESSION_OWNER_UNREACHABLE')
    t.equal(forwarder.hops.length, 1, 'it has waited for long enough')
    t.match(logged, [['error', { node: 'other' }, /does not answer this one/]])
    mock.timers.reset()
  }
})

t.test('a request that is served here after all is given the body that was taken from it, and no other', async (t) => {
  for (const isTaken of [true, false]) {
    const { locate, record, forwarder, place, replayed, pass } = await scene(t)
    const id = await record()
    place(EMPTIER)
    forwarder.answer = async (_reply, { body }) => {
      body.isTaken = isTaken
      return { kind: 'refused' }
    }
    t.equal(await during(pass, locate(id)), `here: ${id}`)
    t.strictSame(replayed, [isTaken])
    mock.timers.reset()
  }
})

t.test('a body that cannot be sent again is not', async (t) => {
  const { locate, record, forwarder, directory } = await scene(t)
  const id = await record()
  await directory.announce({ node: 'other', url: 'http://10.0.0.2:3000' }, 10 * LEASE)
  forwarder.answer = async (_reply, { body }) => {
    Object.defineProperty(body, 'isWhole', { value: false })
    return { kind: 'refused' }
  }
  t.equal(await locate(id), '503')
  t.equal(forwarder.hops.length, 1)
})

t.test('a loopback address is no good to other machines', async (t) => {
  const { locate, record, directory, logged } = await scene(t)
  for (const [node, url] of [['remote', 'http://10.0.0.2:3000'], ['local', 'http://localhost:3000'], ['again', 'http://[::1]:3000']] as const) {
    await directory.announce({ node, url }, 10 * LEASE)
    const id = await record({ owner: node })
    t.equal(await locate(id), 'from the owner')
  }
  t.strictSame(logged, [['warn', {}, `Nodes of this cluster advertise ${OWN_URL} and http://localhost:3000`]])
  t.equal(logged.length, 1)
})

t.test('a session that nobody serves is left to a node that has room for it', async (t) => {
  const { locate, record, forwarder, directory, place, pass } = await scene(t)
  const id = await record()
  place(EMPTIER)
  t.equal(await during(pass, locate(id)), 'from the owner')
  t.strictSame(forwarder.hops.map(({ to }) => to), [EMPTIER])
  t.equal(directory.calls.get('claim'), undefined)
})

t.test('it is taken over here when that node cannot be reached, or does not take it', async (t) => {
  for (const kind of ['lost', 'refused', 'misdirected', 'unreachable'] as const) {
    const { locate, record, forwarder, place, avoided, pass } = await scene(t)
    const id = await record()
    place(EMPTIER)
    forwarder.answer = async () => kind === 'unreachable' ? { kind, cause: new Error('refused') } : { kind }
    t.equal(await during(pass, locate(id)), `here: ${id}`, kind)
    t.strictSame(avoided, [EMPTIER])
    mock.timers.reset()
  }
})

t.test('it is not when that node may have acted on the request', async (t) => {
  const { locate, record, forwarder, place, avoided, node, pass } = await scene(t)
  const id = await record()
  place(EMPTIER)
  forwarder.answer = async (_reply, { body }) => {
    body.wasRead = true
    return { kind: 'silent', cause: new Error('no answer') }
  }
  t.equal(await during(pass, locate(id)), 'FST_ERR_MCP_SESSION_OWNER_UNREACHABLE')
  t.strictSame(avoided, [EMPTIER])
  t.equal(node.sessions.get(id), undefined)
})

t.test('what another node has passed on is not left to a third one, nor to one at the same address', async (t) => {
  const { locate, record, forwarder, place, receive, pass } = await scene(t)
  const [first, second] = [await record(), await record()]
  place(EMPTIER)
  receive(true)
  t.equal(await during(pass, locate(first)), `here: ${first}`)
  receive(false)
  place({ node: 'predecessor', url: OWN_URL })
  t.equal(await during(pass, locate(second)), `here: ${second}`)
  t.equal(forwarder.hops.length, 0)
})

t.test('a full node from which nobody can go says so, and leaves the session to the others', async (t) => {
  const { locate, record, node, directory, pass } = await scene(t, { maxSessions: 1 })
  node.sessions.acquire(node.sessions.create())
  const id = await record()
  t.equal(await during(pass, locate(id)), '503')
  t.equal(directory.calls.get('claim'), undefined)
})
