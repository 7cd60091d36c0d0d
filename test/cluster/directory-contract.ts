import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import type { Directory, NewSession, NodeLoad, StoredSession } from '../../lib/cluster/directory.js'

export interface Store {
  /** Directories of two nodes, over one empty store. */
  one: Directory
  two: Directory
  /** Lets time pass for the store, and for `now`. */
  pass: (ms: number) => Promise<void>
  now: () => number
}

export type StoreFactory = (t: Test, ttl: number) => Promise<Store>

export const realTime = {
  pass: async (ms: number): Promise<void> => { await sleep(ms) },
  now: Date.now
}

/** What every directory must do. `ttl` is short enough to wait for. */
export function testDirectory (t: Test, open: StoreFactory): void {
  const ttl = 400
  // For what is not about time: a slow machine must not lose sessions on the way.
  const LONG = 60_000

  function session (store: Store, changes: Partial<NewSession> = {}): NewSession {
    const now = store.now()
    return {
      id: randomUUID(),
      principal: undefined,
      owner: 'node-1',
      createdAt: now,
      lastAccessedAt: now,
      metadata: undefined,
      state: undefined,
      ...changes
    }
  }

  async function created (store: Store, changes: Partial<NewSession> = {}): Promise<StoredSession> {
    const record = session(store, changes)
    return { ...record, epoch: String(await store.one.create(record)) }
  }

  t.test('returns what was recorded', async t => {
    const store = await open(t, LONG)
    const record = await created(store, {
      principal: '',
      metadata: { cart: ['€', { n: 1.5 }], empty: [], none: null },
      state: { initialize: { capabilities: {} }, level: 'debug' }
    })
    t.strictSame(await store.two.get(record.id), { record, owner: undefined })
    const bare = await created(store)
    t.strictSame(await store.two.get(bare.id), { record: bare, owner: undefined })
  })

  t.test('knows nothing of a session that was never created', async t => {
    const { one } = await open(t, LONG)
    t.equal(await one.get('nobody'), undefined)
    t.equal(await one.claim({ id: 'nobody', epoch: '1', owner: undefined }, 'node-1', Date.now()), undefined)
    t.strictSame(await one.touch([{ id: 'nobody', epoch: '1', lastAccessedAt: Date.now() }]), ['nobody'])
    t.equal(await one.update('nobody', '1', { metadata: {} }), false)
    t.strictSame(await one.release([{ id: 'nobody', epoch: '1', lastAccessedAt: Date.now() }]), ['nobody'])
    t.equal(await one.remove('nobody'), undefined)
    t.equal(await one.get('nobody'), undefined, 'and none of that made one')
  })

  t.test('creates an id only once', async t => {
    const store = await open(t, LONG)
    const first = session(store)
    const epochs = await Promise.all([
      store.one.create(first), store.two.create({ ...first, owner: 'node-2' }), store.one.create({ ...first, createdAt: first.createdAt + 1 })
    ])
    t.equal(epochs.filter(epoch => epoch !== undefined).length, 1)
  })

  t.test('lets a node create again what it has created, in case it was not told', async t => {
    const store = await open(t, LONG)
    const first = session(store, { metadata: { n: 1 } })
    const again = { ...first, metadata: undefined }
    const epochs = [await store.one.create(first), await store.one.create(again)].map(String)
    t.ok(String(epochs[1]) > String(epochs[0]), 'so that what comes late for the first does nothing')
    t.strictSame((await store.two.get(first.id))?.record, { ...again, epoch: epochs[1] })
    await store.two.claim({ ...first, epoch: String(epochs[1]) }, 'node-2', store.now())
    t.equal(await store.one.create(first), undefined, 'but not when it belongs to another')
    t.equal(await store.one.count(), 1)
  })

  t.test('starts an id that is used again above every epoch it had', async t => {
    const store = await open(t, LONG)
    const first = await created(store)
    const claimed = await store.two.claim(first, 'node-2', store.now())
    await store.one.remove(first.id)
    const again = await created(store, { id: first.id })
    t.ok(again.epoch > String(claimed?.epoch))
    t.equal(await store.two.claim(first, 'node-2', store.now()), undefined)
  })

  t.test('takes any visible ASCII characters as an id', async t => {
    const store = await open(t, LONG)
    const all = Array.from({ length: 94 }, (_, i) => String.fromCharCode(33 + i)).join('')
    const ids = [all, '{', '}', '{}', '{a}b', '{a}c', '*', '?', '[a-z]', '\\', ':', '!'.repeat(256), 'a', 'A']
    for (const id of ids) {
      const record = await created(store, { id })
      t.ok(await store.one.update(id, record.epoch, { metadata: { id } }))
      t.strictSame(await store.one.touch([record]), [])
    }
    for (const id of ids) t.strictSame((await store.two.get(id))?.record.metadata, { id })
    const listed = []
    for await (const { id } of store.two.list()) listed.push(id)
    t.strictSame(listed.sort(), [...ids].sort())
    for (const id of ids) t.equal((await store.one.remove(id))?.id, id)
    t.equal(await store.one.count(), 0)
  })

  t.test('names the owner while its lease runs', async t => {
    const store = await open(t, 0)
    const peer = { node: 'node-1', url: 'http://127.0.0.1:3001' }
    const { id } = await created(store)
    t.equal((await store.two.get(id))?.owner, undefined, 'never announced')
    t.ok(await store.one.announce(peer, 200))
    t.strictSame((await store.two.get(id))?.owner, peer)
    t.strictSame((await store.two.get(id))?.owner, peer, 'also when it is remembered')
    await store.pass(210)
    t.equal((await store.two.get(id))?.owner, undefined, 'lapsed')
    t.equal((await store.two.get(id))?.record.owner, 'node-1')
  })

  t.test('lets exactly one of many claims win', async t => {
    const store = await open(t, LONG)
    const free = await created(store)
    const claims = await Promise.all(Array.from({ length: 20 }, (_, i) => {
      return (i % 2 ? store.one : store.two).claim(free, `other-${i}`, store.now())
    }))
    const winners = claims.filter(claim => claim !== undefined)
    t.equal(winners.length, 1)
    const { record } = await store.one.get(free.id) ?? {}
    t.strictSame(record, winners[0])
    t.ok(String(record?.epoch) > free.epoch)
  })

  t.test('refuses every write of an owner that was replaced', async t => {
    const store = await open(t, LONG)
    const old = await created(store, { metadata: { by: 'old' } })
    const now = await store.two.claim(old, 'node-2', store.now())
    t.strictSame(await store.one.touch([{ ...old, lastAccessedAt: 1 }]), [old.id])
    t.equal(await store.one.update(old.id, old.epoch, { metadata: { by: 'ghost' }, state: {} }), false)
    t.strictSame(await store.one.release([old]), [old.id])
    t.equal(await store.one.remove(old.id, old.epoch), undefined)
    t.strictSame((await store.one.get(old.id))?.record, now)
  })

  t.test('updates what it is told to and nothing else', async t => {
    const store = await open(t, LONG)
    const record = await created(store, { metadata: { a: 1 }, state: { level: 'info' } })
    t.ok(await store.one.update(record.id, record.epoch, { state: { level: 'debug' } }))
    t.strictSame((await store.two.get(record.id))?.record, { ...record, state: { level: 'debug' } })
    t.ok(await store.one.update(record.id, record.epoch, { metadata: undefined }))
    t.strictSame((await store.two.get(record.id))?.record,
      { ...record, metadata: undefined, state: { level: 'debug' } })
    t.ok(await store.one.update(record.id, record.epoch, {}), 'also tells whether it is still held')
  })

  t.test('forgets a session one ttl after its last use', async t => {
    const store = await open(t, ttl)
    const used = await created(store)
    const idle = await created(store)
    await store.pass(ttl / 2)
    t.strictSame(await store.one.touch([{ ...used, lastAccessedAt: store.now() }]), [])
    await store.pass(ttl / 2 + 50)
    t.equal((await store.one.get(used.id))?.record.id, used.id)
    t.equal(await store.one.get(idle.id), undefined)
    t.equal(await store.one.count(), 1)
  })

  t.test('never brings an expired record back', async t => {
    const store = await open(t, ttl)
    const record = await created(store)
    await store.pass(ttl + 20)
    t.strictSame(await store.one.touch([{ ...record, lastAccessedAt: store.now() }]), [record.id])
    t.equal(await store.one.update(record.id, record.epoch, { metadata: {} }), false)
    t.strictSame(await store.one.release([record]), [record.id])
    t.equal(await store.one.claim(record, 'node-2', store.now()), undefined)
    t.equal(await store.one.get(record.id), undefined)
    t.ok(await store.one.create(session(store, { id: record.id })), 'but the id is free again')
  })

  t.test('counts the ttl from the last use, not from the write', async t => {
    const store = await open(t, ttl)
    const record = await created(store)
    t.strictSame(await store.one.touch([{ ...record, lastAccessedAt: store.now() - ttl + 100 }]), [])
    t.ok(await store.one.get(record.id))
    await store.pass(130)
    t.equal(await store.one.get(record.id), undefined)
  })

  t.test('gives a claimed session a whole ttl', async t => {
    const store = await open(t, ttl)
    const record = await created(store, { lastAccessedAt: store.now() - ttl + 150 })
    const at = store.now()
    t.equal((await store.two.claim(record, 'node-2', at))?.lastAccessedAt, at)
    await store.pass(200)
    t.ok(await store.two.get(record.id))
  })

  t.test('keeps a session for ever with ttl 0', async t => {
    const store = await open(t, 0)
    const record = await created(store, { lastAccessedAt: 1 })
    t.strictSame(await store.one.touch([{ ...record, lastAccessedAt: 2 }]), [])
    await store.pass(20)
    t.equal((await store.one.get(record.id))?.record.lastAccessedAt, 2)
  })

  t.test('hands sessions over', async t => {
    const store = await open(t, LONG)
    t.ok(await store.one.announce({ node: 'node-1', url: 'http://127.0.0.1:1' }, 5000))
    const mine = await created(store, { metadata: { a: 1 } })
    const foreign = await created(store)
    await store.two.claim(foreign, 'node-2', store.now())
    const at = store.now()
    t.strictSame(await store.one.release([{ ...mine, lastAccessedAt: at }, foreign]), [foreign.id])
    const { record, owner } = await store.two.get(mine.id) ?? {}
    t.equal(owner, undefined)
    t.match(record, { owner: undefined, metadata: { a: 1 }, lastAccessedAt: at })
    t.strictSame(await store.one.touch([mine]), [mine.id], 'a late write of who let go is refused')
    t.ok(await store.two.claim({ ...mine, owner: undefined, epoch: String(record?.epoch) }, 'node-2', store.now()))
  })

  t.test('says which of many sessions are lost', async t => {
    const store = await open(t, 60_000)
    const records = await Promise.all(Array.from({ length: 300 }, () => created(store)))
    const gone = [0, 130, 299].map(i => String(records[i]?.id))
    await Promise.all(gone.map(id => store.two.remove(id)))
    t.strictSame(await store.one.touch(records), gone)
    t.equal(await store.one.count(), 297)
    t.strictSame((await store.one.release(records)), gone)
    t.strictSame(await store.one.touch([]), [])
  })

  t.test('removes a session whoever owns it, and says who that was', async t => {
    const store = await open(t, LONG)
    const record = await created(store)
    t.strictSame(await store.two.remove(record.id), record)
    t.equal(await store.one.get(record.id), undefined)
    t.equal(await store.two.remove(record.id), undefined)
    const other = await created(store)
    t.equal(await store.one.remove(other.id, `${other.epoch}-`), undefined)
    t.strictSame(await store.one.remove(other.id, other.epoch), other)
  })

  t.test('lists every session once', async t => {
    const store = await open(t, 60_000)
    const records = await Promise.all(Array.from({ length: 50 }, (_, i) => created(store, { principal: `p${i}` })))
    const listed: StoredSession[] = []
    for await (const record of store.two.list()) listed.push(record)
    const byId = (a: StoredSession, b: StoredSession): number => a.id < b.id ? -1 : 1
    t.strictSame(listed.sort(byId), records.sort(byId))
  })

  t.test('ends a lease that is not renewed, for good', async t => {
    const store = await open(t, LONG)
    const peer = { node: 'node-1', url: 'http://127.0.0.1:1' }
    t.equal(await store.one.renew('node-1', 200), undefined)
    t.ok(await store.one.announce(peer, 200))
    t.notOk(await store.two.announce({ ...peer, url: 'http://127.0.0.1:2' }, 200))
    await store.pass(120)
    t.strictSame(await store.one.renew('node-1', 200), [])
    await store.pass(120)
    t.strictSame(await store.two.peer('node-1'), peer)
    await store.pass(120)
    t.equal(await store.two.peer('node-1'), undefined)
    t.equal(await store.one.renew('node-1', 200), undefined)
  })

  t.test('ends a lease on request', async t => {
    const store = await open(t, LONG)
    await store.one.announce({ node: 'node-1', url: 'http://127.0.0.1:1' }, 5000)
    await store.two.send('node-1', { late: true })
    await store.one.withdraw('node-1')
    t.equal(await store.two.peer('node-1'), undefined)
    await store.one.announce({ node: 'node-1', url: 'http://127.0.0.1:1' }, 5000)
    t.strictSame(await store.one.renew('node-1', 5000), [], 'and its mail is gone')
  })

  t.test('carries messages to living nodes', async t => {
    const store = await open(t, LONG)
    t.equal(await store.two.send('node-1', { n: 0 }), false)
    await store.one.announce({ node: 'node-1', url: 'http://127.0.0.1:1' }, 5000)
    t.ok(await store.two.send('node-1', { n: 1, text: '€' }))
    t.ok(await store.two.send('node-1', { n: 2 }))
    t.strictSame(await store.one.renew('node-1', 5000), [{ n: 1, text: '€' }, { n: 2 }])
    t.strictSame(await store.one.renew('node-1', 5000), [])
  })

  t.test('bounds the mailbox of a node that does not read it', async t => {
    const store = await open(t, LONG)
    await store.one.announce({ node: 'node-1', url: 'http://127.0.0.1:1' }, 60_000)
    await Promise.all(Array.from({ length: 1030 }, (_, n) => store.two.send('node-1', { n })))
    const messages = await store.one.renew('node-1', 60_000)
    t.equal(messages?.length, 1024)
    t.strictSame(messages?.at(-1), { n: 1029 })
  })

  t.test('lets nobody claim what has another owner or another epoch', async t => {
    const store = await open(t, LONG)
    const record = await created(store)
    t.equal(await store.two.claim({ ...record, owner: 'node-3' }, 'node-2', store.now()), undefined)
    t.equal(await store.two.claim({ ...record, owner: undefined }, 'node-2', store.now()), undefined)
    t.equal(await store.two.claim({ ...record, epoch: `${record.epoch}x` }, 'node-2', store.now()), undefined)
    t.strictSame((await store.one.get(record.id))?.record, record)
  })

  t.test('lets a node claim again what it has claimed, in case it was not told', async t => {
    const store = await open(t, LONG)
    const record = await created(store)
    const first = await store.two.claim(record, 'node-2', store.now())
    const second = await store.two.claim(record, 'node-2', store.now())
    t.match(second, { id: record.id, owner: 'node-2' })
    t.ok(String(second?.epoch) > String(first?.epoch))
    t.equal(await store.one.claim(record, 'node-3', store.now()), undefined, 'and nobody else')
  })

  t.test('recovers a session that is lost, under a new epoch', async t => {
    const store = await open(t, LONG)
    const lost = session(store, { principal: 'ann', metadata: { n: 1 }, state: { s: 1 } })
    const before = await created(store)
    const epoch = await store.one.recover(lost, { epoch: before.epoch, isCertain: true, mustExist: false })
    t.ok(String(epoch) > before.epoch)
    t.strictSame((await store.two.get(lost.id))?.record, { ...lost, epoch })
    t.equal(await store.one.recover(session(store), { epoch: before.epoch, isCertain: false, mustExist: true }), undefined, 'but not a stale one')
  })

  t.test('keeps the latest of several copies, until one is claimed', async t => {
    const store = await open(t, LONG)
    // One after the other: masters of a Redis Cluster may give two sessions epochs of the same microsecond.
    const old = (await created(store)).epoch
    const newer = (await created(store)).epoch
    const newest = (await created(store)).epoch
    const id = randomUUID()
    const offer = (owner: string, epoch: unknown): Promise<string | undefined> => {
      return store.one.recover(session(store, { id, owner, metadata: { by: owner } }), { epoch: String(epoch), isCertain: false, mustExist: false })
    }
    t.ok(await offer('b', newer))
    t.equal(await offer('a', old), undefined, 'an older one')
    t.ok(await offer('b', newer), 'the same again')
    const epoch = await offer('c', newest)
    t.match((await store.two.get(id))?.record, { owner: 'c', metadata: { by: 'c' } })
    const claimed = await store.two.claim({ id, owner: 'c', epoch: String(epoch) }, 'c', store.now())
    t.ok(claimed)
    t.equal(await offer('d', epoch), undefined, 'it is decided')
  })

  t.test('compares what was claimed by mistake as if it had not been', async t => {
    const store = await open(t, LONG)
    const old = await created(store)
    const { epoch } = await created(store)
    const claimed = await store.one.claim(old, 'node-2', store.now())
    t.strictSame(await store.one.release([{ ...old, ...claimed, from: old.epoch }]), [])
    const copy = { epoch, isCertain: true, mustExist: false }
    t.ok(await store.two.recover(session(store, { id: old.id, owner: 'node-3' }), copy))
  })

  t.test('gives what was claimed by mistake to who knew it before, as if it had not been', async t => {
    const store = await open(t, LONG)
    const old = await created(store)
    const claimed = await store.one.claim(old, 'node-2', store.now())
    t.equal(await store.two.claim(old, 'node-3', store.now()), undefined, 'not while it is claimed')
    t.strictSame(await store.one.release([{ ...old, ...claimed, from: old.epoch }]), [])
    t.match(await store.two.claim(old, 'node-3', store.now()), { owner: 'node-3' })
    t.equal(await store.one.claim(old, 'node-2', store.now()), undefined, 'once')
  })

  t.test('prefers a copy that is certain to what is older', async t => {
    const store = await open(t, LONG)
    const old = await created(store, { metadata: { by: 'old' } })
    const { epoch } = await created(store)
    const certain = { epoch, isCertain: true, mustExist: false }
    const fresh = session(store, { id: old.id, owner: 'node-2', metadata: undefined })
    const recovered = await store.two.recover(fresh, certain)
    t.strictSame((await store.one.get(old.id))?.record, { ...fresh, epoch: recovered })
    t.equal(await store.one.update(old.id, old.epoch, {}), false)
    t.ok(await store.two.recover(fresh, certain), 'also again, when the answer was lost')
    t.equal(await store.one.recover({ ...fresh, owner: 'node-3' }, certain), undefined, 'but it is certain for one')
  })

  t.test('tells all nodes the loads of all, for as long as they count', async t => {
    const store = await open(t, LONG)
    const load = (node: string, held: number, room = Infinity): NodeLoad => ({ node, url: `http://${node}:1`, held, room, spare: held > 5 })
    t.strictSame(await store.one.report(load('one', 3, 0), 5000), [load('one', 3, 0)])
    await store.two.report(load('short', 1), 100)
    const all = await store.two.report(load('two', 7), 5000)
    t.strictSame(all.sort((a, b) => a.node < b.node ? -1 : 1), [load('one', 3, 0), load('short', 1), load('two', 7)])
    const known = await store.one.loads()
    t.strictSame(known.map(({ node, held }) => [node, held]).sort(), [['one', 3], ['short', 1], ['two', 7]], 'to be read without telling anything')
    t.ok(known.every(({ node, left }) => left > 0 && left <= (node === 'short' ? 100 : 5000)))
    await store.pass(120)
    t.strictSame((await store.one.loads()).map(({ node }) => node).sort(), ['one', 'two'])
    t.equal((await store.one.report(load('one', 4), 5000)).length, 2)
    t.strictSame(await store.one.report(load('one', 4), 0), [load('two', 7)], 'one that leaves')
  })

  t.test('has one history, and one secret for all nodes', async t => {
    const { one, two, pass } = await open(t, LONG)
    const [a, b] = await Promise.all([one.history(), two.history()])
    t.equal(a.id, b.id)
    t.equal(a.secret, b.secret)
    t.ok(a.secret.length >= 32)
    await pass(20)
    const later = await one.history()
    t.equal(later.id, a.id)
    t.equal(later.secret, a.secret)
    t.ok(later.age >= a.age + 15 || a.age === Infinity)
  })
}
