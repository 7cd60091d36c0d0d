import t from 'tap'
import { testDirectory } from '../../cluster/directory-contract.js'
import { MemoryDirectory } from './memory-directory.js'

testDirectory(t, async (_, ttl) => {
  let time = 1_700_000_000_000
  const now = (): number => time
  const directory = new MemoryDirectory({ ttl, now })
  return { one: directory, two: directory, pass: async ms => { time += ms }, now }
})

t.test('is unavailable on demand, and forgets on demand', async t => {
  const directory = new MemoryDirectory()
  const { id, secret } = await directory.history()
  directory.away = true
  await t.rejects(directory.count(), { name: 'DirectoryUnavailableError' })
  directory.away = false
  directory.wipe()
  t.notOk(Object.values(await directory.history()).some((value) => value === id || value === secret))
  t.equal(directory.calls.get('count'), 1)
})
