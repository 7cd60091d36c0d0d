import t, { type Test } from 'tap'
import { setImmediate as turn } from 'node:timers/promises'
import { Endings } from '../../lib/cluster/outbox.js'
import { MemoryDirectory } from '../helpers/memory-directory.js'
import { createDeferred } from '../helpers/deferred.js'

interface Scene {
  directory: MemoryDirectory
  endings: Endings
  errors: string[]
  create: (id: string) => Promise<number>
}

function scene (t: Test): Scene {
  const directory = new MemoryDirectory()
  const errors: string[] = []
  const endings = new Endings({ directory, onError: (message) => { errors.push(message) } })
  t.teardown(() => endings.flush())
  return {
    directory,
    endings,
    errors,
    async create (id) {
      const now = Date.now()
      return Number(await directory.create({ id, principal: undefined, owner: 'node-1', createdAt: now, lastAccessedAt: now, metadata: undefined, state: undefined }))
    }
  }
}

t.test('what has ended is told to the directory, and over until it knows', async (t) => {
  const { directory, endings, create } = scene(t)
  const epoch = await create('a')
  const told = endings.remove('a', epoch)
  t.equal(endings.isOver('a'), true)
  await told
  t.equal(endings.isOver('a'), false)
  t.equal(await directory.get('a'), undefined)
})

t.test('a release leaves the session to whoever asks first', async (t) => {
  const { directory, endings, create } = scene(t)
  const epoch = await create('a')
  await endings.release({ id: 'a', epoch, lastAccessedAt: Date.now() })
  t.match(await directory.get('a'), { record: { id: 'a', owner: undefined } })
  t.equal(endings.isOver('a'), false)
})

t.test('a message that the directory did not take is sent again', async (t) => {
  const { directory, endings, errors } = scene(t)
  await directory.announce({ node: 'node-1', url: '' }, 5000)
  directory.away = true
  await endings.tell('node-1', { n: 1 })
  directory.away = false
  t.equal(errors.length, 1)
  await endings.tell('node-2', { n: 2 })
  t.strictSame(await directory.renew('node-1', 5000), [{ n: 1 }])
  await endings.flush()
  t.equal(directory.calls.get('send'), 3, 'also to a node that is gone, once')
})

t.test('sessions that end together go together', async (t) => {
  const { directory, endings, create } = scene(t)
  const sessions = []
  for (let i = 0; i < 200; i++) sessions.push({ id: `s${i}`, epoch: await create(`s${i}`), lastAccessedAt: Date.now() })
  await Promise.all(sessions.slice(0, 100).map((session) => endings.release(session)))
  t.equal(directory.calls.get('release'), 1)
  await Promise.all(sessions.slice(100).map(({ id, epoch }) => endings.remove(id, epoch)))
  t.equal(await directory.count(), 100)
})

t.test('what the directory did not take is told again, with what has ended since, and logged once', async (t) => {
  const { directory, endings, errors, create } = scene(t)
  const [a, b, c] = [await create('a'), await create('b'), await create('c')]
  directory.away = true
  await endings.remove('a', a)
  await endings.release({ id: 'b', epoch: b, lastAccessedAt: Date.now() })
  t.equal(endings.isFailing, true)
  t.equal(endings.isOver('a'), true)
  t.equal(errors.length, 1)
  directory.away = false
  await endings.remove('c', c)
  t.equal(endings.isFailing, false)
  t.strictSame([await directory.get('a'), await directory.get('c')], [undefined, undefined])
  t.equal((await directory.get('b'))?.record.owner, undefined)
  directory.away = true
  await endings.remove('b', b + 1)
  t.equal(errors.length, 2, 'another outage is another entry')
  directory.away = false
})

t.test('one that cannot be reached keeps nobody waiting for all the others', async (t) => {
  const { directory, endings } = scene(t)
  directory.away = true
  await Promise.all(Array.from({ length: 200 }, (_, i) => endings.remove(`s${i}`, 1)))
  t.equal(directory.calls.get('remove'), 64, 'the first batch tells')
  directory.away = false
})

t.test('a session that ends again while its first end is on the way is told again', async (t) => {
  const { directory, endings, create } = scene(t)
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
  const removed = endings.remove('a', epoch - 1)
  while (directory.calls.size === 0 && !endings.isOver('a')) await turn()
  await turn()
  const removedAgain = endings.remove('a', epoch)
  first.resolve()
  await removed
  t.equal(endings.isOver('a'), true)
  await removedAgain
  t.equal(endings.isOver('a'), false)
  t.equal(await directory.get('a'), undefined)

  const b = await create('b')
  const released = endings.release({ id: 'b', epoch: b - 1, lastAccessedAt: 1 })
  await turn()
  const releasedAgain = endings.release({ id: 'b', epoch: b, lastAccessedAt: Date.now() })
  second.resolve()
  await Promise.all([released, releasedAgain])
  t.equal((await directory.get('b'))?.record.owner, undefined)
})
