// Redis is not there: that is not the same as "no such session", and nothing hangs.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { eventually, initialize, openSession, readAnswer, send, startCluster, toolCall, type TestCluster } from '../../helpers/cluster/cluster.js'
import { needsRedisServer, RedisServer } from '../../helpers/redis/redis-server.js'

const LEASE = 3000
// Longer than any wait for Redis, shorter than a hang.
const PATIENCE = 3500

t.setTimeout(120_000)

interface Outage {
  begin (redis: RedisServer): Promise<void> | void
  end (redis: RedisServer): Promise<void> | void
  persistent?: boolean
}

const outages: Record<string, Outage> = {
  'killed, and back without its data': { begin: (redis) => redis.kill(), end: (redis) => redis.start() },
  'killed, and back with its data': { begin: (redis) => redis.kill(), end: (redis) => redis.start(), persistent: true },
  'connected, but silent': { begin: (redis) => redis.freeze(), end: (redis) => redis.thaw() }
}

for (const [what, outage] of Object.entries(outages)) {
  t.test(`Redis is ${what}`, needsRedisServer(), (t) => testOutage(t, outage))
}

async function testOutage (t: Test, { begin, end, persistent = false }: Outage): Promise<void> {
  const redis = await RedisServer.start(persistent ? { dir: temporaryFolder(t) } : {})
  t.teardown(() => redis.kill())
  const cluster = await startCluster(t, { redis: redis.address, lease: LEASE, nodes: 2 })
  const id = await openSession(cluster.node(0).url)
  const changed = await openSession(cluster.node(0).url)
  for (const each of [id, changed]) t.equal(readAnswer((await call(cluster, 1, each, 'count')).body), 1, 'the other node passes requests on')

  const began = performance.now()
  await begin(redis)
  t.equal(readAnswer((await call(cluster, 0, id, 'echo', { value: 'here' })).body), 'here', 'a session is served where it lives while the lease can be valid')
  testUnavailable(t, await call(cluster, 0, changed, 'count'), 'what a call has changed cannot be kept')
  await testAway(t, cluster, id)
  await wait(Math.max(0, LEASE - (performance.now() - began)))
  testUnavailable(t, await call(cluster, 0, id, 'echo', { value: 'here' }), 'the owner, after its lease')
  await testAway(t, cluster, id)

  await end(redis)
  await eventually('both nodes serve again', async () => {
    const answers = await Promise.all([id, changed].flatMap((each) => [0, 1].map((node) => call(cluster, node, each, 'echo', { value: 'here' }))))
    t.notOk(answers.some(({ status }) => status === 404), 'no session is ever taken for gone')
    return answers.every(({ status }) => status === 200)
  })
  t.equal(readAnswer((await call(cluster, 1, id, 'count')).body), 2, 'on the same session, with its metadata')
  // It was carried out where the session lived, which may have been taken over from there since.
  const next = readAnswer((await call(cluster, 1, changed, 'count')).body)
  t.ok(next === 2 || next === 3, `a call that got 503 may or may not count: ${next}`)
  t.match(readAnswer((await call(cluster, 1, id, 'describe')).body), { capabilities: { roots: {} } })
  const other = await openSession(cluster.node(1).url)
  t.equal(readAnswer((await call(cluster, 0, other, 'count')).body), 1, 'and new ones are opened')
  t.strictSame(await cluster.liveIds(), [id, changed, other].sort())
}

interface Answer {
  status: number
  retryAfter: string | null
  body: string
  took: number
}

function call (cluster: TestCluster, node: number, id: string, name: string, args: object = {}): Promise<Answer> {
  return ask(cluster.node(node).url, toolCall(name, args), { 'mcp-session-id': id })
}

function open (cluster: TestCluster, node: number): Promise<Answer> {
  return ask(cluster.node(node).url, initialize())
}

async function ask (url: URL, message: object, headers: Record<string, string> = {}): Promise<Answer> {
  const sent = performance.now()
  const response = await send(url, message, headers)
  const body = await response.text()
  return { status: response.status, retryAfter: response.headers.get('retry-after'), body, took: performance.now() - sent }
}

/** What cannot be answered without Redis. */
async function testAway (t: Test, cluster: TestCluster, id: string): Promise<void> {
  const elsewhere = call(cluster, 1, id, 'echo', { value: 'there' })
  const unknown = call(cluster, 0, 'nobody-knows', 'echo', { value: '' })
  const opened = [0, 1].map((node) => open(cluster, node))
  testUnavailable(t, await elsewhere, 'a session that lives elsewhere')
  testUnavailable(t, await unknown, 'a session that nobody knows')
  for (const answer of await Promise.all(opened)) testUnavailable(t, answer, 'a new session')
}

function testUnavailable (t: Test, { status, retryAfter, took }: Answer, what: string): void {
  t.equal(status, 503, what)
  t.equal(retryAfter, '1')
  t.ok(took < PATIENCE, `within bounds: ${Math.round(took)} ms`)
}

function temporaryFolder (t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'redis-away-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}
