// Nodes that are full, and nodes that hold more than others: several apps in this process, over one Redis.
import type { FastifyInstance } from 'fastify'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { createCluster, type ClusterApp } from '../helpers/cluster/cluster-apps.js'
import { needsRedis, startRedis } from '../helpers/redis/redis-server.js'

t.setTimeout(120_000)

const LEASE = 600

async function routes (app: FastifyInstance): Promise<void> {
  app.post('/count', { config: { mcpSession: 'required' } }, async ({ mcpSession }) => {
    const n = Number(mcpSession?.metadata?.['n'] ?? 0) + 1
    app.sessionManager.update(mcpSession?.id ?? '', { n })
    return { n }
  })
}

async function count ({ url }: ClusterApp, id: string): Promise<number | string> {
  const response = await fetch(`${url}/count`, { method: 'POST', headers: { 'mcp-session-id': id, authorization: 'ann', connection: 'close' } })
  const text = await response.text()
  const { n }: { n?: number } = JSON.parse(text)
  return n ?? `${response.status}, again after ${response.headers.get('retry-after')} s`
}

async function openSessions (nodes: readonly ClusterApp[], each: number): Promise<string[]> {
  const ids = nodes.flatMap(({ app }) => Array.from({ length: each }, () => app.sessionManager.create({}, { principal: 'ann' })))
  const answers = await Promise.all(ids.map((id, i) => count(nodes[Math.floor(i / each)] ?? never(), id)))
  t.ok(answers.every((n) => n === 1))
  return ids
}

function never (): never {
  throw new Error('There is no such node')
}

const held = (nodes: readonly ClusterApp[]): number[] => nodes.map(({ app }) => app.sessionManager.getActiveSessionCount())

t.test('when all nodes are full of sessions in use, the client is told when to come back', needsRedis(), async (t) => {
  const { url, stop } = await startRedis()
  t.teardown(stop)
  const addNode = createCluster(t, url)
  const add = (): Promise<ClusterApp> => addNode({ routes, plugin: { maxSessions: 2 }, cluster: { lease: LEASE } })
  const [one, two, leaver] = [await add(), await add(), await add()]
  const [id = ''] = await openSessions([leaver], 1)
  const busy = await openSessions([one, two], 2)
  for (const { app } of [one, two]) for (const { id } of app.sessionManager.list()) app.sessionManager.acquire(id)
  await leaver.app.close()
  await sleep(LEASE)
  for (const node of [one, two]) t.equal(await count(node, id), '503, again after 5 s')
  for (const session of one.app.sessionManager.list()) one.app.sessionManager.release(session)
  // Until the other node has heard of it.
  await sleep(LEASE)
  t.equal(await count(two, id), 2, 'it was not lost meanwhile')
  t.equal(one.app.sessionManager.getActiveSessionCount(), 2, 'one has gone back into the directory for it')
  for (const each of busy) t.ok(await one.redis.exists(await keyOf(one, each)), 'and is not lost either')
})

async function keyOf ({ app, redis, prefix }: ClusterApp, id: string): Promise<string> {
  for (const key of await redis.keys(`${prefix}session:*`)) if (await redis.hget(key, 'id') === id) return key
  t.fail(`${app.server.listening}: ${id} is not there`)
  return ''
}

t.test('idle sessions flow from the node that holds them all', needsRedis(), async (t) => {
  const { url, stop } = await startRedis()
  t.teardown(stop)
  const addNode = createCluster(t, url)
  const add = (balance?: boolean): Promise<ClusterApp> => addNode({ routes, cluster: { lease: LEASE, ...(balance !== undefined && { balance }) } })
  const full = await add()
  const ids = await openSessions([full], 60)
  const used = ids.slice(0, 5)
  for (const id of used) full.app.sessionManager.acquire(id)
  const nodes = [full, await add(), await add()]
  const until = performance.now() + 30_000
  while (performance.now() < until && Math.max(...held(nodes)) > 26) {
    // Each as an idle client does: every now and then.
    for (const id of ids.slice(5)) if (Math.random() < 0.05) await count(nodes[Math.floor(Math.random() * 3)] ?? never(), id)
    await sleep(100)
  }
  t.ok(Math.max(...held(nodes)) <= 26, `${held(nodes)}`)
  for (const id of used) t.ok(full.app.sessionManager.get(id), 'what is in use stays')
  for (const id of ids) t.equal(typeof await count(nodes[1] ?? never(), id), 'number', 'and nothing is lost')
})

t.test('balance: false leaves them where they are', needsRedis(), async (t) => {
  const { url, stop } = await startRedis()
  t.teardown(stop)
  const addNode = createCluster(t, url)
  const add = (): Promise<ClusterApp> => addNode({ routes, cluster: { lease: LEASE, balance: false } })
  const full = await add()
  await openSessions([full], 20)
  await add()
  await sleep(3 * LEASE)
  t.strictSame(held([full]), [20])
  await t.rejects(addNode({ cluster: { balance: Object('no') } }), /Option "cluster.balance" must be true or false/)
})
