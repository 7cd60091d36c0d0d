import t from 'tap'
import { SessionLimitError } from '../../../index.js'
import { ListeningClients, type ListeningPlace } from '../../../lib/endpoint/modern/listening-clients.js'

interface Scene {
  readonly clients: ListeningClients
  /** The names of those that have made room, in their order. */
  readonly ended: string[]
  /** Opens a stream; undefined: it has none yet. */
  listen (principal: string | undefined, name: string | undefined): ListeningPlace
}

function stage (max: number, maxPerPrincipal = Infinity): Scene {
  const clients = new ListeningClients(max, maxPerPrincipal)
  const ended: string[] = []
  return {
    clients,
    ended,
    listen (principal, name) {
      const place = clients.admit(principal)
      if (name !== undefined) place.end = () => { ended.push(name) }
      return place
    }
  }
}

t.test('the anonymous make room for those who have said who they are, the oldest first, and not for each other', async (t) => {
  const { listen, ended } = stage(3)
  for (const name of ['first', 'second', 'third']) listen(undefined, name)
  t.throws(() => listen(undefined, 'fourth'), SessionLimitError)
  listen('ada', 'ada 1')
  listen('ada', 'ada 2')
  t.strictSame(ended, ['first', 'second'])
  t.throws(() => listen(undefined, 'fifth'), SessionLimitError)
  listen('ada', 'ada 3')
  t.throws(() => listen('ada', 'ada 4'), SessionLimitError, 'nobody else is left')
  t.throws(() => listen(undefined, 'sixth'), SessionLimitError, 'and the named make no room for the anonymous')
  t.strictSame(ended, ['first', 'second', 'third'])
})

t.test('the principal with the most makes room for one that has clearly fewer', async (t) => {
  const { listen, ended } = stage(6)
  for (const name of ['bob 1', 'bob 2']) listen('bob', name)
  for (const name of ['ada 1', 'ada 2', 'ada 3', 'ada 4']) listen('ada', name)
  listen('cyd', 'cyd 1')
  listen('cyd', 'cyd 2')
  t.strictSame(ended, ['ada 1', 'ada 2'])
  t.throws(() => listen('cyd', 'cyd 3'), SessionLimitError, 'all have as many')
  t.throws(() => listen('ada', 'ada 5'), SessionLimitError)
  listen('dan', 'dan 1')
  t.strictSame(ended, ['ada 1', 'ada 2', 'bob 1'])
  t.throws(() => listen('bob', 'bob 3'), SessionLimitError, 'who had to go does not take the place back from an equal')
})

t.test('one whose stream is not open yet cannot make room', async (t) => {
  const { listen, ended } = stage(2)
  const slow = listen(undefined, undefined)
  listen('ada', undefined)
  t.throws(() => listen('bob', 'bob'), SessionLimitError)
  slow.end = () => { ended.push('slow') }
  listen('bob', 'bob')
  t.strictSame(ended, ['slow'])

  const named = stage(2)
  const [first] = [named.listen('ada', undefined), named.listen('ada', undefined)]
  t.throws(() => named.listen('bob', 'bob'), SessionLimitError)
  first.end = () => { named.ended.push('first') }
  named.listen('bob', 'bob')
  t.strictSame(named.ended, ['first'])
})

t.test('one principal has no more than it may have, and the anonymous are no principal', async (t) => {
  const { listen, clients, ended } = stage(10, 2)
  for (const name of ['1', '2', '3']) listen(undefined, name)
  const place = listen('ada', 'ada 1')
  listen('ada', 'ada 2')
  t.throws(() => listen('ada', 'ada 3'), SessionLimitError)
  clients.leave(place)
  clients.leave(place)
  listen('ada', 'ada 3')
  t.throws(() => listen('ada', 'ada 4'), SessionLimitError)
  t.strictSame(ended, [])
})

t.test('who leaves makes room, once', async (t) => {
  const { listen, clients } = stage(2)
  const [first] = [listen('ada', '1'), listen('ada', '2')]
  clients.leave(first)
  clients.leave(first)
  listen('ada', '3')
  t.throws(() => listen('ada', '4'), SessionLimitError)
})
