import t, { type Test } from 'tap'
import { SessionLostError, type Directory, type StoredSession } from '../../lib/cluster/directory.js'
import type { Session } from '../../lib/session/session.js'
import { buildScene, LEASE, type Scene, type SceneNode } from '../helpers/cluster/cluster-scene.js'
import { createDeferred } from '../helpers/waiting/deferred.js'

function open ({ sessions }: SceneNode, metadata = {}): Session {
  const session = sessions.get(sessions.create(metadata, { principal: 'ann' }))
  if (session === undefined) throw new Error('The session is not there')
  return session
}

function never (): never {
  throw new Error('It is not there')
}

/** As a node does that takes the session over. */
async function claimFor (node: string, directory: Directory, id: string): Promise<StoredSession | undefined> {
  const located = await directory.get(id)
  return located && directory.claim(located.record, node, Date.now())
}

t.test('a session is in the directory a turn after it was opened, as it is then', async (t) => {
  const { directory, addNode, settle } = buildScene(t)
  const node = await addNode()
  const session = open(node, { n: 1 })
  node.ownedSessions.saveState(session, { initialized: true })
  t.equal(node.ownedSessions.isCurrent(session), false)
  await settle()
  t.equal(node.ownedSessions.isCurrent(session), true)
  t.equal(node.ownedSessions.isSettled(session), true)
  t.match(await directory.get(session.id), {
    record: { principal: 'ann', metadata: { n: 1 }, state: { initialized: true }, epoch: await node.ownedSessions.epochOf(session) },
    owner: { node: node.nodeLease.incarnation }
  })
  t.equal(directory.calls.get('create'), 1)
  t.equal(directory.calls.get('update'), undefined)
  t.strictSame(node.ownedSessions.readState(session), { initialized: true })
})

t.test('what changes is written a turn later, in one write', async (t) => {
  const { directory, addNode, settle } = buildScene(t)
  const node = await addNode()
  const session = open(node)
  await settle()
  node.sessions.update(session.id, { n: 1 })
  node.sessions.update(session.id, { n: 2 })
  t.equal(node.ownedSessions.isSettled(session), false)
  await settle()
  t.equal(directory.calls.get('update'), 1)
  t.match(await directory.get(session.id), { record: { metadata: { n: 2 } } })
})

t.test('what is being written is not settled, and neither is what changes meanwhile', async (t) => {
  const { directory, addNode } = buildScene(t)
  const node = await addNode()
  const session = open(node)
  await node.ownedSessions.settle(session)
  const gate = createDeferred()
  const update = directory.update.bind(directory)
  directory.update = async (...args) => {
    await gate.promise
    return update(...args)
  }
  node.sessions.update(session.id, { n: 1 })
  const first = node.ownedSessions.settle(session)
  await Promise.resolve().then(() => {}).then(() => {})
  t.equal(node.ownedSessions.isSettled(session), false, 'an answer has to wait for the write')
  node.sessions.update(session.id, { n: 2 })
  const second = node.ownedSessions.settle(session)
  gate.resolve()
  await Promise.all([first, second])
  t.match(await directory.get(session.id), { record: { metadata: { n: 2 } } })
  t.equal(node.ownedSessions.isSettled(session), true)
})

t.test('what changes at the moment at which a write is over is written too', async (t) => {
  const { directory, addNode } = buildScene(t)
  const node = await addNode()
  const session = open(node)
  await node.ownedSessions.settle(session)
  const update = directory.update.bind(directory)
  let late: Promise<void> | undefined
  directory.update = async (...args) => {
    const written = await update(...args)
    // Two microtasks later the loop has seen that nothing is dirty any more.
    queueMicrotask(() => queueMicrotask(() => queueMicrotask(() => queueMicrotask(() => {
      if (late !== undefined) return
      node.sessions.update(session.id, { n: 2 })
      late = node.ownedSessions.settle(session)
    }))))
    return written
  }
  node.sessions.update(session.id, { n: 1 })
  await node.ownedSessions.settle(session)
  for (let i = 0; i < 20; i++) await Promise.resolve()
  await late
  t.match(await directory.get(session.id), { record: { metadata: { n: 2 } } })
})

t.test('settling what is settled asks nobody', async (t) => {
  const { directory, addNode, settle } = buildScene(t)
  const node = await addNode()
  const session = open(node)
  await settle()
  const calls = new Map(directory.calls)
  await node.ownedSessions.settle(session)
  await node.ownedSessions.settleAll()
  t.strictSame(directory.calls, calls)
})

t.test('a session that another node has claimed is closed as moved, and its state is not written', async (t) => {
  const { directory, addNode, settle } = buildScene(t)
  const node = await addNode()
  const session = open(node, { by: 'old' })
  await settle()
  await claimFor('node-2', directory, session.id)
  node.sessions.update(session.id, { by: 'ghost' })
  await t.rejects(node.ownedSessions.settle(session), SessionLostError)
  t.strictSame(node.closed, ['moved'])
  t.match(await directory.get(session.id), { record: { owner: 'node-2', metadata: { by: 'old' } } })
  t.equal(node.ownedSessions.isSettled(session), false, 'it may not answer any more')
  await t.rejects(node.ownedSessions.settle(session), SessionLostError)
  t.strictSame(node.errors, [])
  node.ownedSessions.doubt(session)
  node.ownedSessions.saveState(session, {})
  t.equal(node.ownedSessions.readState(session), undefined)
  t.equal(await node.ownedSessions.epochOf(session), '')
})

t.test('a doubt that is unfounded costs a claim, and one that is not, the session', async (t) => {
  const { directory, addNode, settle } = buildScene(t)
  const node = await addNode()
  const session = open(node)
  await settle()
  const before = await node.ownedSessions.epochOf(session)
  node.ownedSessions.doubt(session)
  t.equal(node.ownedSessions.isCurrent(session), false)
  await settle()
  t.equal(node.ownedSessions.isCurrent(session), true)
  t.ok(await node.ownedSessions.epochOf(session) > before)
  await directory.remove(session.id)
  node.ownedSessions.doubt(session)
  await settle()
  t.strictSame(node.closed, ['moved'])
})

t.test('a write that was refused for nothing is made again under the new epoch', async (t) => {
  const { directory, addNode, settle } = buildScene(t)
  const node = await addNode()
  const session = open(node)
  await settle()
  const update = directory.update.bind(directory)
  directory.update = async () => {
    directory.update = update
    return false
  }
  node.sessions.update(session.id, { n: 1 })
  await node.ownedSessions.settle(session)
  t.match(await directory.get(session.id), { record: { metadata: { n: 1 } } })
})

t.test('an outage loses no change, and the next renewal writes it', async (t) => {
  const { directory, addNode, settle, pass } = buildScene(t)
  const node = await addNode()
  node.nodeLease.on('renewed', () => { node.ownedSessions.settleAll() })
  const session = open(node)
  await settle()
  directory.away = true
  node.sessions.update(session.id, { n: 1 })
  node.ownedSessions.saveState(session, { s: 1 })
  await t.rejects(node.ownedSessions.settle(session), { name: 'DirectoryUnavailableError' })
  await settle()
  t.ok(node.errors.length > 0)
  t.equal(node.ownedSessions.isSettled(session), false)
  directory.away = false
  await pass(LEASE / 2)
  t.match(await directory.get(session.id), { record: { metadata: { n: 1 }, state: { s: 1 } } })
  t.equal(node.ownedSessions.isSettled(session), true)
})

t.test('sessions opened while the directory is away are recorded when it is back', async (t) => {
  const { directory, addNode, pass } = buildScene(t)
  directory.away = true
  const node = await addNode()
  node.nodeLease.on('renewed', () => { node.ownedSessions.settleAll() })
  const ids = Array.from({ length: 150 }, () => open(node).id)
  await pass(2000)
  t.strictSame(node.closed, [])
  directory.away = false
  await pass(LEASE)
  t.equal(await directory.count(), ids.length)
})

t.test('settling all stops at the first sign of an outage', async (t) => {
  const { directory, addNode, settle, pass } = buildScene(t)
  const node = await addNode()
  for (let i = 0; i < 150; i++) open(node)
  await settle()
  directory.wipe()
  await pass(LEASE / 2)
  let attempts = 0
  const { recover } = directory
  directory.recover = async () => {
    attempts++
    throw new Error('away')
  }
  node.errors.length = 0
  await node.ownedSessions.settleAll()
  t.equal(attempts, 64, 'one batch')
  await node.ownedSessions.settleAll()
  const failure = 'A session could not be written to the directory; this is tried again'
  t.strictSame(node.errors, [failure], 'told once')
  directory.recover = recover
  await node.ownedSessions.settleAll()
  directory.update = async () => { throw new Error('away') }
  node.sessions.update(String(node.sessions.list()[0]?.id), { n: 1 })
  await settle()
  t.strictSame(node.errors, [failure, failure], 'and once more when it fails again')
})

t.test('a node that lost its lease claims its sessions again, and drops those that others have', async (t) => {
  const { directory, addNode, settle, pass } = buildScene(t)
  const node = await addNode()
  node.nodeLease.on('renewed', () => { node.ownedSessions.settleAll() })
  const [kept, lost] = [open(node), open(node)]
  await settle()
  directory.away = true
  await pass(2 * LEASE)
  t.equal(node.ownedSessions.isCurrent(kept), false)
  directory.away = false
  await claimFor('node-2', directory, lost.id)
  await pass(LEASE / 2)
  t.equal(node.ownedSessions.isCurrent(kept), true)
  t.match(await directory.get(kept.id), { owner: { node: node.nodeLease.incarnation } })
  t.strictSame(node.closed, ['moved'])
  t.equal(node.sessions.get(lost.id), undefined)
})

t.test('a directory that has lost its data gets its sessions back from their owners', async (t) => {
  const { directory, addNode, settle, pass } = buildScene(t)
  const node = await addNode()
  node.nodeLease.on('renewed', () => { node.ownedSessions.settleAll() })
  const session = open(node, { n: 1 })
  node.ownedSessions.saveState(session, { s: 1 })
  await settle()
  directory.wipe()
  await pass(LEASE)
  t.match(await directory.get(session.id), { record: { metadata: { n: 1 }, state: { s: 1 } }, owner: { node: node.nodeLease.incarnation } })
  t.strictSame(node.closed, [])
})

/** Has the node learn of a loss of data while a claim of its is on its way. */
function loseDuringClaim ({ directory }: Scene, node: SceneNode, lose: () => void): void {
  const claim = directory.claim.bind(directory)
  directory.claim = async (...args) => {
    directory.claim = claim
    const claimed = claim(...args)
    lose()
    await node.nodeLease.hasForgotten()
    return claimed
  }
}

t.test('a session that was lost before it was claimed again is brought back, when that is known by then, too', async (t) => {
  const scene = buildScene(t)
  const node = await scene.addNode()
  const session = open(node)
  await scene.settle()
  scene.directory.wipe()
  loseDuringClaim(scene, node, () => {})
  node.ownedSessions.doubt(session)
  await node.ownedSessions.settle(session)
  t.match(await scene.directory.get(session.id), { owner: { node: node.nodeLease.incarnation } })
  t.strictSame(node.closed, [])
})

t.test('a takeover in which data are lost is undone, when that is known by then, too', async (t) => {
  const scene = buildScene(t)
  const [node, other] = [await scene.addNode(), await scene.addNode()]
  const { id } = open(node)
  await scene.settle()
  node.sessions.cleanup(id, 'shutdown')
  await scene.settle()
  const { record } = await scene.directory.get(id) ?? never()
  loseDuringClaim(scene, other, () => scene.directory.replicate()())
  t.equal(await other.ownedSessions.takeOver(record), undefined)
  t.match(await scene.directory.get(id), { owner: undefined, record: { owner: undefined } })
})

interface StaleCopy {
  scene: Scene
  /** Cut off from the directory. */
  stale: SceneNode
  reconnect: () => void
  /** Has taken the session over from it since. */
  current: SceneNode
  id: string
  /** To a replica of the directory that does not know of it. */
  failOver: () => void
}

async function buildStaleCopy (t: Test): Promise<StaleCopy> {
  const scene = buildScene(t)
  const { directory, addNode, settle, pass } = scene
  const [stale, current] = [await addNode(), await addNode()]
  for (const node of [stale, current]) node.nodeLease.on('renewed', () => { node.ownedSessions.settleAll() })
  const copy = open(stale, { n: 1 })
  await settle()
  const failOver = directory.replicate()
  const renew = directory.renew.bind(directory)
  directory.renew = async (node, lease) => {
    if (node === stale.nodeLease.incarnation) throw new Error('It is cut off')
    return renew(node, lease)
  }
  await pass(2 * LEASE)
  const located = await directory.get(copy.id)
  t.equal(located?.owner, undefined)
  if (located !== undefined) t.ok(await current.ownedSessions.takeOver(located.record))
  current.sessions.update(copy.id, { n: 2 })
  await settle()
  t.notOk(stale.ownedSessions.isCurrent(copy))
  return { scene, stale, current, id: copy.id, failOver, reconnect: () => { directory.renew = renew } }
}

t.test('a directory that has lost a takeover hears of it from the new owner, and never has two', async (t) => {
  const { scene: { directory, pass, settle }, stale, reconnect, current, id, failOver } = await buildStaleCopy(t)
  const epoch = (await directory.get(id))?.record.epoch
  failOver()
  t.match(await directory.get(id), { record: { metadata: { n: 1 } }, owner: undefined }, 'it says that nobody serves the session')
  reconnect()
  await stale.nodeLease.join()
  await settle()
  t.match(await directory.get(id), { record: { metadata: { n: 1 } }, owner: { node: stale.nodeLease.incarnation } }, 'the stale one offers its copy')
  t.notOk(stale.ownedSessions.isCurrent(stale.sessions.get(id) ?? never()), 'but does not serve it')
  current.nodeLease.on('joined', () => { t.notOk(current.ownedSessions.isCurrent(current.sessions.get(id) ?? never()), 'the lease first') })
  await pass(LEASE / 2)
  t.match(await directory.get(id), { record: { metadata: { n: 2 } }, owner: { node: current.nodeLease.incarnation } })
  t.ok(String((await directory.get(id))?.record.epoch) > String(epoch))
  t.ok(current.ownedSessions.isCurrent(current.sessions.get(id) ?? never()))
  await pass(LEASE)
  t.strictSame(stale.closed, ['moved'])
})

t.test('nobody takes a session over before a loss of data is a lease old', async (t) => {
  const { scene: { directory, addNode, pass }, current, id, failOver } = await buildStaleCopy(t)
  const third = await addNode()
  const session = current.sessions.get(id) ?? never()
  failOver()
  const located = await directory.get(id) ?? never()
  t.equal(await third.ownedSessions.takeOver(located.record), undefined, 'before it has noticed')
  t.match((await directory.get(id))?.record.metadata, { n: 1 })
  t.equal(await third.ownedSessions.takeOver((await directory.get(id) ?? never()).record), undefined, 'after it has')
  t.ok(current.ownedSessions.isCurrent(session), 'the owner goes on meanwhile')
  await pass(LEASE / 2)
  t.ok(current.ownedSessions.isCurrent(session))
  t.match(await directory.get(id), { record: { metadata: { n: 2 } } })
})

t.test('of several copies the latest comes back, when Redis has lost its data and all leases are over', async (t) => {
  const { scene: { directory, pass }, stale, reconnect, current, id } = await buildStaleCopy(t)
  reconnect()
  directory.away = true
  await pass(2 * LEASE)
  directory.wipe()
  directory.away = false
  await pass(LEASE / 2)
  const session = current.sessions.get(id) ?? never()
  t.notOk(current.ownedSessions.isCurrent(session), 'before it is known that it is the latest')
  t.equal(current.ownedSessions.phaseOf(session), 'doubtful')
  await t.rejects(current.ownedSessions.settle(session), { name: 'SessionRecoveringError' })
  await pass(LEASE)
  t.ok(current.ownedSessions.isCurrent(session))
  t.match(await directory.get(id), { record: { metadata: { n: 2 } } })
  t.strictSame(stale.closed, ['moved'])
})

t.test('a copy of a node that stood still does not come back by itself', async (t) => {
  const { directory, addNode, settle, pass } = buildScene(t)
  const node = await addNode()
  const session = open(node)
  await settle()
  const first = node.nodeLease.incarnation
  node.nodeLease.hasSlept = (incarnation) => incarnation === first
  directory.away = true
  await pass(2 * LEASE)
  directory.away = false
  directory.wipe()
  await pass(LEASE)
  await t.rejects(node.ownedSessions.settle(session), SessionLostError)
  t.strictSame(node.closed, ['moved'])
  t.equal(await directory.get(session.id), undefined)
})

t.test('a write of which the directory has lost the record waits for the lease, and brings it back', async (t) => {
  const { directory, addNode, settle } = buildScene(t)
  const node = await addNode()
  const session = open(node, { n: 1 })
  await settle()
  const { incarnation } = node.nodeLease
  directory.wipe()
  node.sessions.update(session.id, { n: 2 })
  await node.ownedSessions.settle(session)
  t.not(node.nodeLease.incarnation, incarnation)
  t.match(await directory.get(session.id), { record: { metadata: { n: 2 } }, owner: { node: node.nodeLease.incarnation } })
})

t.test('a session that has ended leaves the directory, whatever ended it', async (t) => {
  const { directory, addNode, settle } = buildScene(t)
  const node = await addNode({ maxSessions: 3 })
  const first = open(node)
  const [second] = [open(node), open(node)]
  await settle()
  open(node)
  await settle()
  t.equal(await directory.get(first.id), undefined, 'evicted')
  node.sessions.cleanup(second.id)
  t.equal(node.ownedSessions.isSettled(second), false, 'the answer to DELETE waits')
  await node.ownedSessions.settle(second)
  t.equal(node.ownedSessions.isSettled(second), true)
  t.equal(await directory.get(second.id), undefined, 'deleted')
  node.sessions.clearAll()
  await node.ownedSessions.whenAllLeft()
  t.equal(await directory.count(), 0, 'cleared')
})

t.test('the end of a session counts when the directory knows of it: until then another node can still serve it', async (t) => {
  const { directory, addNode, settle } = buildScene(t)
  const node = await addNode()
  const session = open(node)
  await settle()
  directory.away = true
  node.sessions.cleanup(session.id)
  await t.rejects(node.ownedSessions.settle(session), { name: 'DirectoryUnavailableError' })
  t.equal(node.ownedSessions.isSettled(session), false)
  directory.away = false
  await t.rejects(node.ownedSessions.settle(session), { name: 'DirectoryUnavailableError' }, 'nor does it before it is told again')
  await node.outbox.flush()
  await node.ownedSessions.settle(session)
  t.equal(node.ownedSessions.isSettled(session), true)
  t.equal(await directory.count(), 0)
})

t.test('a session that ends while it is being recorded leaves nothing behind', async (t) => {
  const { directory, addNode, settle } = buildScene(t)
  const node = await addNode()
  const early = open(node)
  node.sessions.cleanup(early.id)
  const late = open(node)
  const settling = node.ownedSessions.settle(late)
  await Promise.resolve()
  node.sessions.cleanup(late.id)
  await settling.catch(() => {})
  await settle()
  t.equal(await directory.count(), 0)
  t.strictSame(node.errors, [])
})

t.test('a session whose changes never stop ends all the same', async (t) => {
  const { directory, addNode } = buildScene(t)
  const node = await addNode()
  const session = open(node)
  await node.ownedSessions.settle(session)
  const update = directory.update.bind(directory)
  directory.update = async (...args) => {
    node.sessions.update(session.id, { again: true })
    node.sessions.cleanup(session.id)
    return update(...args)
  }
  node.sessions.update(session.id, { n: 1 })
  // An answer of it may still go out, as one that was settled after its end.
  await node.ownedSessions.settle(session)
  t.strictSame(node.closed, ['deleted'])
  t.equal(await directory.get(session.id), undefined, 'the directory knows')
})

t.test('an id that is registered again follows the session that had it', async (t) => {
  const { directory, addNode, settle } = buildScene(t)
  const node = await addNode()
  node.sessions.register('same', { n: 1 }, { principal: 'ann' })
  await settle()
  node.sessions.register('same', { n: 2 }, { principal: 'bob' })
  await settle()
  t.strictSame(node.closed, ['replaced'])
  t.match(await directory.get('same'), { record: { principal: 'bob', metadata: { n: 2 } } })

  t.comment('also when the directory hears of it late')
  directory.away = true
  node.sessions.register('same', { n: 3 }, { principal: 'cat' })
  node.sessions.register('same', { n: 4 }, { principal: 'dan' })
  await settle()
  t.equal(node.ownedSessions.isOver('same'), true)
  directory.away = false
  const remove = directory.remove.bind(directory)
  directory.remove = async () => { throw new Error('away') }
  await node.ownedSessions.settleAll()
  t.match(await directory.get('same'), { record: { principal: 'bob' } }, 'not over the other one')
  directory.remove = remove
  await node.outbox.flush()
  await node.ownedSessions.settleAll()
  t.match(await directory.get('same'), { record: { principal: 'dan', metadata: { n: 4 } } })
})

t.test('an id that another node has is not for this one', async (t) => {
  const { addNode, settle, directory } = buildScene(t)
  const [one, two] = [await addNode(), await addNode()]
  one.sessions.register('same', { n: 1 })
  await settle()
  two.sessions.register('same', { n: 2 })
  await settle()
  t.strictSame(two.closed, ['moved'])
  t.match(await directory.get('same'), { record: { metadata: { n: 1 } } })
})

t.test('shutdown leaves the session to others, with all that it has become', async (t) => {
  const { directory, addNode, settle } = buildScene(t)
  const [one, two] = [await addNode(), await addNode()]
  const session = open(one, { n: 1 })
  await settle()
  one.sessions.update(session.id, { n: 2 })
  one.ownedSessions.saveState(session, { s: 1 })
  const fresh = open(one, { fresh: true })
  one.sessions.clearAll('shutdown')
  await one.ownedSessions.whenAllLeft()
  const { record, owner } = await directory.get(session.id) ?? {}
  t.equal(owner, undefined)
  t.match(record, { owner: undefined, metadata: { n: 2 }, state: { s: 1 } })
  t.match(await directory.get(fresh.id), { record: { owner: undefined, metadata: { fresh: true } } }, 'one that is not recorded yet, too')

  const claimed = await claimFor(String(two.nodeLease.incarnation), directory, session.id)
  if (claimed === undefined) throw new Error('It could not be claimed')
  const adopted = two.ownedSessions.adopt(claimed)
  t.match(adopted, { id: session.id, principal: 'ann', metadata: { n: 2 }, createdAt: session.createdAt })
  t.equal(two.ownedSessions.isCurrent(adopted ?? session), true)
  t.strictSame(two.ownedSessions.readState(adopted ?? session), record?.state)
  t.strictSame(one.errors, [])
})

t.test('shutdown while the directory is away says what is not handed over, and goes on', async (t) => {
  const { directory, addNode, settle, pass } = buildScene(t)
  const node = await addNode()
  const session = open(node)
  await settle()
  directory.away = true
  node.sessions.update(session.id, { n: 2 })
  node.sessions.clearAll('shutdown')
  await node.ownedSessions.whenAllLeft()
  t.strictSame(node.errors, [
    'A session is handed over without its latest changes',
    'Sessions that have ended are still in the directory; this is tried again'
  ])
  open(node)
  await pass(2 * LEASE)
  node.errors.length = 0
  node.sessions.clearAll('shutdown')
  await node.ownedSessions.whenAllLeft()
  t.strictSame(node.errors, [], 'without a lease it does not even try')
})

t.test('a claimed session for which there is no room is let go of', async (t) => {
  const { directory, addNode, settle } = buildScene(t)
  const [one, two] = [await addNode(), await addNode({ maxSessions: 1 })]
  const busy = open(two)
  two.sessions.acquire(busy.id)
  const session = open(one)
  await settle()
  const claimed = await claimFor(String(two.nodeLease.incarnation), directory, session.id)
  if (claimed === undefined) throw new Error('It could not be claimed')
  t.throws(() => two.ownedSessions.adopt(claimed), { code: 'FST_ERR_MCP_SESSION_LIMIT' })
  await two.outbox.flush()
  t.match(await directory.get(session.id), { record: { owner: undefined } })
})

t.test('a listener that closes an adopted session at once leaves none', async (t) => {
  const { directory, addNode, settle } = buildScene(t)
  const [one, two] = [await addNode(), await addNode()]
  const session = open(one)
  await settle()
  two.sessions.on('created', ({ id }) => { two.sessions.cleanup(id) })
  const claimed = await claimFor(String(two.nodeLease.incarnation), directory, session.id)
  if (claimed === undefined) throw new Error('It could not be claimed')
  t.equal(two.ownedSessions.adopt(claimed), undefined)
  await two.ownedSessions.whenAllLeft()
  t.equal(await directory.get(session.id), undefined)
})

t.test('metadata that are not JSON are logged, and stay here', async (t) => {
  const { directory, addNode, settle } = buildScene(t)
  const node = await addNode()
  const session = open(node, { big: 1n })
  await settle()
  t.strictSame(node.errors, ['The metadata of a session is not JSON, and will not be there on another node'])
  t.equal((await directory.get(session.id))?.record.metadata, undefined)
  t.equal(session.metadata?.['big'], 1n)
  t.equal(node.ownedSessions.isSettled(session), true)
})

t.test('the last use of sessions is written, once for each time that they were used', async (t) => {
  const { directory, addNode, settle, pass } = buildScene(t)
  const node = await addNode()
  const [idle, used, active] = [open(node), open(node), open(node)]
  await settle()
  await node.ownedSessions.writeLiveness()
  t.equal(directory.calls.get('touch'), undefined, 'nothing was used')
  await pass(1000)
  node.sessions.touch(used.id)
  node.sessions.acquire(active.id)
  await pass(500)
  await node.ownedSessions.writeLiveness()
  const at = async ({ id }: Session): Promise<number | undefined> => (await directory.get(id))?.record.lastAccessedAt
  t.equal(await at(idle), idle.createdAt)
  t.equal(await at(used), used.lastAccessedAt)
  t.equal(await at(active), Date.now(), 'a request that runs is a use')
  await node.ownedSessions.writeLiveness()
  t.equal(directory.calls.get('touch'), 1)
  await pass(500)
  await node.ownedSessions.writeLiveness()
  t.equal(await at(active), Date.now())
})

t.test('a last use that could not be written is written the next time', async (t) => {
  const { directory, addNode, settle, pass } = buildScene(t)
  const node = await addNode()
  const session = open(node)
  await settle()
  await pass(100)
  node.sessions.touch(session.id)
  directory.away = true
  await node.ownedSessions.writeLiveness()
  t.strictSame(node.errors, ['The last use of sessions could not be written; this is tried again'])
  directory.away = false
  await node.ownedSessions.writeLiveness()
  t.equal((await directory.get(session.id))?.record.lastAccessedAt, session.lastAccessedAt)
})

t.test('a session found lost as its last use is written is closed', async (t) => {
  const { directory, addNode, settle, pass } = buildScene(t)
  const node = await addNode()
  const session = open(node)
  await settle()
  await directory.remove(session.id)
  await pass(100)
  node.sessions.touch(session.id)
  await node.ownedSessions.writeLiveness()
  await settle()
  t.strictSame(node.closed, ['moved'])
})

t.test('without a lease no last use is written', async (t) => {
  const { directory, addNode, settle, pass } = buildScene(t)
  const node = await addNode()
  const session = open(node)
  await settle()
  directory.away = true
  await pass(2 * LEASE)
  node.sessions.touch(session.id)
  await node.ownedSessions.writeLiveness()
  t.equal(directory.calls.get('touch'), undefined)
})

t.test('a session that is closed before this node has heard of it is never in the directory', async (t) => {
  const { directory, addNode, settle } = buildScene(t)
  const node = await addNode()
  node.sessions.prependListener('created', ({ id }) => { node.sessions.cleanup(id) })
  node.sessions.register('short')
  await settle()
  t.equal(directory.calls.get('create'), undefined)
  t.equal(await directory.get('short'), undefined)
})

t.test('what is said of a session before this node has heard of it is written with it', async (t) => {
  const { directory, addNode, settle } = buildScene(t)
  const node = await addNode()
  node.sessions.prependListener('created', ({ id }) => { node.sessions.update(id, { early: true }) })
  node.sessions.register('tagged')
  await settle()
  t.match(await directory.get('tagged'), { record: { metadata: { early: true } } })
  t.equal(directory.calls.get('update'), undefined)
})

t.test('a session that this node does not hold has no epoch here', async (t) => {
  const { addNode, settle } = buildScene(t)
  const node = await addNode()
  const session = open(node)
  t.not(await node.ownedSessions.epochOf(session), '', 'but one that it does, has one as soon as it is asked for')
  await settle()
  node.sessions.cleanup(session.id)
  t.equal(await node.ownedSessions.epochOf(session), '')
})

t.test('for a session that is taken over, an idle one goes back into the directory', async (t) => {
  const { directory, addNode, settle, pass } = buildScene(t)
  const [one, two] = [await addNode(), await addNode({ maxSessions: 2, maxSessionsPerPrincipal: 2 })]
  const coming = open(one)
  const [busy, idle] = [open(two, { busy: true }), open(two, { n: 1 })]
  two.sessions.acquire(busy.id)
  await settle()
  one.sessions.clearAll('shutdown')
  await one.ownedSessions.whenAllLeft()
  const { record } = await directory.get(coming.id) ?? never()
  await t.rejects(two.ownedSessions.takeOver(record), { code: 'FST_ERR_MCP_SESSION_LIMIT' }, 'but none that was opened a moment ago')
  t.equal(directory.calls.get('claim'), undefined)
  await pass(LEASE)
  two.sessions.update(idle.id, { n: 2 })
  t.ok(await two.ownedSessions.takeOver(record))
  await two.ownedSessions.whenAllLeft()
  t.strictSame(two.closed, ['moved'])
  t.match(await directory.get(idle.id), { record: { owner: undefined, metadata: { n: 2 } } }, 'with all that it has become')
  t.ok(two.sessions.get(busy.id))
  two.sessions.acquire(coming.id)
  const back = await directory.get(idle.id) ?? never()
  await t.rejects(two.ownedSessions.takeOver(back.record), { code: 'FST_ERR_MCP_SESSION_LIMIT' }, 'and stays there while all are in use')
})

t.test('a node lets go of some that are idle, each at most once a minute', async (t) => {
  const { directory, addNode, settle, pass } = buildScene(t)
  const [one, two] = [await addNode(), await addNode()]
  const ids = Array.from({ length: 5 }, () => open(one).id)
  await settle()
  t.equal(one.ownedSessions.letGo(3), 0, 'they were used a moment ago')
  await pass(LEASE)
  one.sessions.acquire(String(ids[0]))
  one.sessions.touch(String(ids[1]))
  t.equal(one.ownedSessions.letGo(0), 0)
  t.equal(one.ownedSessions.letGo(2), 2)
  await one.ownedSessions.whenAllLeft()
  t.strictSame(one.closed, ['moved', 'moved'])
  t.equal(one.ownedSessions.letGo(9), 1, 'neither those in use, nor those used a moment ago')
  t.equal(one.sessions.getActiveSessionCount(), 2)

  const { record } = await directory.get(String(ids[2])) ?? never()
  t.equal(record.owner, undefined)
  t.ok(await two.ownedSessions.takeOver(record))
  await pass(2 * LEASE)
  t.equal(two.ownedSessions.letGo(1), 0, 'it has just moved')
  await pass(60_000)
  t.equal(two.ownedSessions.letGo(1), 1)
})
