// The plugin with `cluster.waitForReplicas`: nothing is answered before a replica of Redis has what it follows from.
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { mcpEndpoint } from '../../index.js'
import { initialize } from '../helpers/clients/http-client.js'
import { createCluster, type ClusterApp } from '../helpers/cluster/cluster-apps.js'
import { recordServers } from '../helpers/apps/endpoint-app.js'
import { startReplica } from '../helpers/redis/redis-replica.js'
import { needsRedisServer, RedisServer } from '../helpers/redis/redis-server.js'
import { until } from '../helpers/waiting/until.js'

t.setTimeout(60_000)

const TIMEOUT = 500
const NOT_REPLICATED = 'FST_ERR_MCP_SESSION_NOT_REPLICATED'

async function routes (app: FastifyInstance): Promise<void> {
  await app.register(mcpEndpoint, { createServer: recordServers().createServer })
  app.post('/count', { config: { mcpSession: 'required' } }, async (request) => {
    const { id, metadata } = request.mcpSession ?? { id: '' }
    const n = Number(metadata?.['n'] ?? 0) + 1
    app.sessionManager.update(id, { n })
    return { n }
  })
}

interface Answer {
  readonly status: number
  readonly sessionId: string | null
  readonly text: string
}

async function ask ({ url }: ClusterApp, path: string, id: string | undefined, init: RequestInit): Promise<Answer> {
  const response = await fetch(url + path, {
    ...init,
    headers: {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      authorization: 'ann',
      connection: 'close',
      ...(id !== undefined && { 'mcp-session-id': id })
    }
  })
  return { status: response.status, sessionId: response.headers.get('mcp-session-id'), text: await response.text() }
}

const open = (node: ClusterApp): Promise<Answer> => ask(node, '/mcp', undefined, { method: 'POST', body: JSON.stringify(initialize()) })
const count = (node: ClusterApp, id: string): Promise<Answer> => ask(node, '/count', id, { method: 'POST', body: '{}' })
const end = (node: ClusterApp, id: string): Promise<Answer> => ask(node, '/mcp', id, { method: 'DELETE', body: '{}' })

/** 503 with its own code, no later than what waits for one wait and has one of its own. */
async function refused (t: Test, answer: Promise<Answer>, what: string): Promise<void> {
  const began = performance.now()
  const { status, text } = await answer
  t.equal(status, 503, what)
  t.match(text, NOT_REPLICATED)
  t.ok(performance.now() - began < 2 * TIMEOUT + 1000, 'in time')
}

const shortages = ({ log }: ClusterApp): number => log.filter((line) => line.includes('Too few replicas of Redis')).length

t.test('while no replica follows, callers get 503 with a code of its own, and nothing is half done', needsRedisServer(), async (t) => {
  const redis = await RedisServer.start({ args: ['--repl-diskless-sync-delay', '0'] })
  t.teardown(() => redis.kill())
  const replica = await startReplica(redis)
  t.teardown(() => replica.stop())
  const addNode = createCluster(t, redis.url)
  const node = (): Promise<ClusterApp> => addNode({ routes, cluster: { waitForReplicas: { count: 1, timeout: TIMEOUT }, balance: false } })
  const [one, two, three] = [await node(), await node(), await node()]

  const [held, ended, terminated, left] = [await open(one), await open(one), await open(one), await open(three)].map(({ sessionId }) => String(sessionId))
  if (held === undefined || ended === undefined || terminated === undefined || left === undefined) throw new Error('unreachable')
  t.equal((await count(two, held)).text, '{"n":1}')
  await three.app.close()

  replica.server.freeze()
  t.teardown(() => replica.server.thaw())
  await refused(t, open(one), 'a session that is opened')
  await until(async () => one.app.sessionManager.getActiveSessionCount() === 3, 'it is not here')
  await until(async () => await one.app.sessionDirectory.count() === 4, 'nor in the directory')
  await refused(t, count(one, held), 'an answer that follows from a change')
  await refused(t, count(two, held), 'also through another node')
  await refused(t, count(two, left), 'a session that is taken over')
  t.equal(two.app.sessionManager.get(left), undefined)
  await refused(t, end(one, ended), 'a session that is ended')
  t.equal(one.app.sessionManager.get(ended), undefined, 'its end is told again until it is copied')
  await t.rejects(two.app.sessionDirectory.terminate(terminated), { name: 'NotAcknowledgedError' })
  await until(() => one.app.sessionManager.get(terminated) === undefined, 'its owner hears of it all the same')
  t.strictSame([one, two].map(shortages), [1, 1], 'told once')

  replica.server.thaw()
  await until(async () => (await open(one)).status === 200, 'sessions are opened again')
  t.equal((await count(two, held)).text, '{"n":4}', 'what was refused may have been carried out')
  t.equal((await count(two, left)).text, '{"n":1}', 'it can be taken over')
  t.equal((await count(one, ended)).status, 404)
  t.equal((await end(one, held)).status, 200)
  t.strictSame([one, two].map(shortages), [1, 1])
  t.strictSame(one.log.concat(two.log).filter((line) => /could not be written|still in the directory/.test(line)), [], 'and nothing else of it')
})
