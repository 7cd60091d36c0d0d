import t from 'tap'
import { Outbox } from '../../lib/cluster/outbox.js'
import { ClusterDirectory } from '../../lib/cluster/cluster-directory.js'
import { MemoryDirectory } from '../helpers/cluster/memory-directory.js'

t.test('a session is terminated, also when its owner cannot be told at once', async (t) => {
  const directory = new MemoryDirectory()
  const now = Date.now()
  await directory.announce({ node: 'owner', url: '' }, 5000)
  await directory.create({ id: 'a', principal: undefined, owner: 'owner', createdAt: now, lastAccessedAt: now, metadata: undefined, state: undefined })
  const errors: string[] = []
  const outbox = new Outbox({ directory, onError: (message) => { errors.push(message) } })
  const sessions = new ClusterDirectory(directory, outbox, { incarnation: 'this' }, () => false)

  const { send } = directory
  directory.send = async () => { throw new Error('Its part of the directory is away') }
  t.equal(await sessions.terminate('a'), true)
  t.equal(errors.length, 1)
  t.equal(await directory.get('a'), undefined)
  directory.send = send
  await outbox.flush()
  t.strictSame(await directory.renew('owner', 5000), [{ type: 'terminated', id: 'a' }])
})
