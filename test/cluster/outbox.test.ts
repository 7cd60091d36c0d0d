import t, { type Test } from 'tap'
import { setImmediate as turn } from 'node:timers/promises'
import { Outbox } from '../../lib/cluster/outbox.js'
import { MemoryDirectory } from '../helpers/cluster/memory-directory.js'
import { createDeferred } from '../helpers/waiting/deferred.js'

interface Scene {
  directory: MemoryDirectory
  outbox: Outbox
  errors: string[]
  create: (id: string) => Promise<string>
}

function scene (t: Test): Scene {
  const directory = new MemoryDirectory()
  const errors: string[] = []
  const outbox = new Outbox({ directory, onError: (message) => { errors.push(message) } })
  t.teardown(() => outbox.flush())
  return {
    directory,
    outbox,
    errors,
    async create (id) {
      const now = Date.now()
      return String(await directory.create({ id, principal: undefined, owner: 'node-1', createdAt: now, lastAccessedAt: now, metadata: undefined, state: undefined }))
    }
  }
}

t.test('what has ended is told to the directory, and over until it knows', async (t) => {
  const { directory, outbox, create } = scene(t)
  const epoch = await create('a')
  const told = outbox.remove('a', epoch)
  t.equal(outbox.isOver('a'), true)
  await told
  t.equal(outbox.isOver('a'), false)
  t.equal(await directory.get('a'), undefined)
})

t.test('a release leaves the session to whoever asks first', async (t) => {
  const { directory, outbox, create } = scene(t)
  const epoch = await create('a')
  await outbox.release({ id: 'a', epoch, lastAccessedAt: Date.now() })
  t.match(await directory.get('a'), { record: { id: 'a', owner: undefined } })
  t.equal(outbox.isOver('a'), false)
})

t.test('a message that the directory did not take is sent again', async (t) => {
  const { directory, outbox, errors } = scene(t)
  await directory.announce({ node: 'node-1', url: '' }, 5000)
  directory.away = true
  await outbox.tell('node-1', { n: 1 })
  directory.away = false
  t.equal(errors.length, 1)
  await outbox.tell('node-2', { n: 2 })
  t.strictSame(await directory.renew('node-1', 5000), [{ n: 1 }])
  await outbox.flush()
  t.equal(directory.calls.get('send'), 3, 'also to a node that is gone, once')
})

t.test('sessions that end together go together', async (t) => {
  const { directory, outbox, create } = scene(t)
  const sessions = []
  for (let i = 0; i < 200; i++) sessions.push({ id: `s${i}`, epoch: await create(`s${i}`), lastAccessedAt: Date.now() })
  await Promise.all(sessions.slice(0, 100).map((session) => outbox.release(session)))
  t.equal(directory.calls.get('release'), 1)
  await Promise.all(sessions.slice(100).map(({ id, epoch }) => outbox.remove(id, epoch)))
  t.equal(await directory.count(), 100)
})

t.test('what the directory did not take is told again, with what has ended since, and logged once', async (t) => {
  const { directory, outbox, errors, create } = scene(t)
  const [a, b, c] = [await create('a'), await create('b'), await create('c')]
  directory.away = true
  await outbox.remove('a', a)
  await outbox.release({ id: 'b', epoch: b, lastAccessedAt: Date.now() })
  t.equal(outbox.isFailing, true)
  t.equal(outbox.isOver('a'), true)
  t.equal(errors.length, 1)
  directory.away = false
  await outbox.remove('c', c)
  t.equal(outbox.isFailing, false)
  t.strictSame([await directory.get('a'), await directory.get('c')], [undefined, undefined])
  t.equal((await directory.get('b'))?.record.owner, undefined)
  directory.away = true
  await outbox.remove('b', `${b}x`)
  t.equal(errors.length, 2, 'another outage is another entry')
  directory.away = false
})

t.test('one that cannot be reached keeps nobody waiting for all the others', async (t) => {
  const { directory, outbox } = scene(t)
  directory.away = true
  await Promise.all(Array.from({ length: 200 }, (_, i) => outbox.remove(`s${i}`, '1')))
  t.equal(directory.calls.get('remove'), 64, 'the first batch tells')
  directory.away = false
})

t.test('a session that ends again while its first end is on the way is told again', async (t) => {
  const { directory, outbox, create } = scene(t)
  const epoch = await create('a')
  const [first, second] = [createDeferred(), createDeferred()]
  const original = { remove: directory.remove.bind(directory), release: directory.release.bind(directory) }
  directory.remove = async (...args) => {
    await first.promise
    return original.remove(...args)
  }
  directory.release = async (...args) => {
    await second.promise
    return original.release(...args)
  }
  const removed = outbox.remove('a', `${epoch}x`)
  while (directory.calls.size === 0 && !outbox.isOver('a')) await turn()
  await turn()
  const removedAgain = outbox.remove('a', epoch)
  first.resolve()
  await removed
  t.equal(outbox.isOver('a'), true)
  await removedAgain
  t.equal(outbox.isOver('a'), false)
  t.equal(await directory.get('a'), undefined)

  const b = await create('b')
  const released = outbox.release({ id: 'b', epoch: `${b}x`, lastAccessedAt: 1 })
  await turn()
  const releasedAgain = outbox.release({ id: 'b', epoch: b, lastAccessedAt: Date.now() })
  second.resolve()
  await Promise.all([released, releasedAgain])
  t.equal((await directory.get('b'))?.record.owner, undefined)
})
