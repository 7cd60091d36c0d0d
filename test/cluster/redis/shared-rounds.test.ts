import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { SharedRounds } from '../../../lib/cluster/redis/shared-rounds.js'
import { createDeferred, type Deferred } from '../../helpers/waiting/deferred.js'

t.test('who asks while a round is on its way waits for the next one, and shares it', async (t) => {
  const begun: Array<Deferred<number>> = []
  const rounds = new SharedRounds(() => {
    const round = createDeferred<number>()
    begun.push(round)
    return round.promise
  })
  const first = [rounds.ask(), rounds.ask()]
  await turn()
  const second = [rounds.ask(), rounds.ask()]
  await turn()
  t.equal(begun.length, 1)
  begun[0]?.resolve(1)
  t.strictSame(await Promise.all(first), [1, 1])
  await turn()
  t.equal(begun.length, 2)
  begun[1]?.resolve(2)
  t.strictSame(await Promise.all(second), [2, 2])
})

t.test('a round that fails does so for those who share it', async (t) => {
  let count = 0
  const rounds = new SharedRounds(async () => {
    if (++count === 1) throw new Error('away')
    return count
  })
  const failed = await Promise.allSettled([rounds.ask(), rounds.ask()])
  t.strictSame(failed.map(({ status }) => status), ['rejected', 'rejected'])
  t.equal(await rounds.ask(), 2)
})
