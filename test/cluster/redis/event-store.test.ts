import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import {
  WebStandardStreamableHTTPServerTransport as Transport
} from '@modelcontextprotocol/sdk/server/webStandardStreamableHttp.js'
import type { JSONRPCMessage } from '@modelcontextprotocol/sdk/types.js'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import type { DirectoryUnavailableError } from '../../../lib/cluster/directory.js'
import { RedisDirectory } from '../../../lib/cluster/redis/directory.js'
import { scripts } from '../../../lib/cluster/redis/scripts.js'
import { RedisEventStore } from '../../../lib/cluster/redis/event-store.js'
import { RedisClusterServers, RedisServer, needsRedisServer } from '../../helpers/redis-server.js'

const STREAM = '_GET_stream'

const notification = (n: number): JSONRPCMessage => ({ jsonrpc: '2.0', method: 'notifications/test', params: { n } })
const response = (id: string | number): JSONRPCMessage => ({ jsonrpc: '2.0', id, result: {} })

interface Scene {
  server: RedisServer
  redis: Redis
  directory: RedisDirectory
  id: string
  epoch: number
  failures: DirectoryUnavailableError[]
  /** A copy of the session, at an epoch. */
  store: (changes?: { maxEvents?: number, epoch?: () => number }) => RedisEventStore
}

async function scene (t: Test, { ttl = 60_000, timeout = 1000 } = {}): Promise<Scene> {
  const server = await RedisServer.start()
  const redis = new Redis(server.url, { retryStrategy: () => 20 })
  redis.on('error', () => {})
  t.teardown(async () => {
    redis.disconnect()
    await server.kill()
  })
  const directory = new RedisDirectory({ redis, ttl, timeout })
  const { id, epoch } = await newSession(directory)
  const failures: DirectoryUnavailableError[] = []
  return {
    server,
    redis,
    directory,
    id,
    epoch,
    failures,
    store: ({ maxEvents = 100, epoch: current = () => epoch } = {}) => new RedisEventStore({
      commands: directory.commands, id, epoch: current, maxEvents, onUnavailable: error => { failures.push(error) }
    })
  }
}

async function newSession (directory: RedisDirectory): Promise<{ id: string, epoch: number }> {
  const id = randomUUID()
  const now = Date.now()
  const epoch = await directory.create({
    id, principal: undefined, owner: 'node-1', createdAt: now, lastAccessedAt: now, metadata: undefined, state: undefined
  })
  return { id, epoch: Number(epoch) }
}

async function replay (store: RedisEventStore, lastEventId: string): Promise<Array<[string, JSONRPCMessage]>> {
  const events: Array<[string, JSONRPCMessage]> = []
  await store.replayEventsAfter(lastEventId, { send: async (id, message) => { events.push([id, message]) } })
  return events
}

t.test('on one Redis', needsRedisServer(), async t => {
  t.test('replays what a stream has had since, and no other stream', async t => {
    const { store } = await scene(t)
    const [here, there] = [store(), store()]
    const ids = []
    for (let n = 0; n < 4; n++) {
      ids.push(await here.storeEvent(STREAM, notification(n)))
      await here.storeEvent('another stream / of a POST\n', notification(100 + n))
    }
    t.strictSame(await replay(there, String(ids[1])), [[ids[2], notification(2)], [ids[3], notification(3)]])
    t.strictSame(await replay(there, String(ids[3])), [])
    t.equal(await there.replayEventsAfter(String(ids[0]), { send: async () => {} }), STREAM)
    t.match(ids[0], /^[\x21-\x7e]+$/, 'an id fits in a header')
    const [other] = await replay(there, await here.storeEvent('another stream / of a POST\n', {}))
    t.equal(other, undefined)
  })

  t.test('keeps priming events, and does not send them as messages', async t => {
    const { store } = await scene(t)
    const events = store()
    const primed = await events.storeEvent('post-1', {})
    await events.storeEvent('post-1', {})
    const answered = await events.storeEvent('post-1', response(1))
    t.strictSame(await replay(store(), primed), [[answered, response(1)]])
  })

  t.test('tells ids it has never given from those it has trimmed', async t => {
    const { store } = await scene(t)
    const events = store({ maxEvents: 3 })
    await t.rejects(events.locate(`1-1/${STREAM}`), { name: 'UnknownEventError' }, 'nothing is stored yet')
    const ids: string[] = []
    for (let n = 0; n < 5; n++) ids.push(await events.storeEvent(STREAM, notification(n)))
    const [first = '', , third = '', , last = ''] = ids
    t.match(await events.locate(first), { gap: true, streamId: STREAM })
    t.strictSame((await replay(events, first)).map(([id]) => id), ids.slice(2), 'what is left is sent')
    t.match(await events.locate(third), { gap: false })
    const [time, number] = String(last.split('/')[0]).split('-')
    const unknown = [
      `${Number(time) + 1}-0/${STREAM}`, `${time}-${Number(number) + 1}/${STREAM}`, `${String(third.split('/')[0])}/post-1`,
      '', 'x', '1-1', '1-1/', '/x', `1-1/${STREAM}\n`, '1-1/%', `1-1/${'%E0%A4%A'}`, `-1-1/${STREAM}`, `${'9'.repeat(30)}-1/x`
    ]
    for (const id of unknown) {
      await t.rejects(events.locate(id), { name: 'UnknownEventError' }, id)
      await t.rejects(replay(events, id), { name: 'UnknownEventError' }, id)
    }
  })

  t.test('is bounded, and gone with its session', async t => {
    const { store, directory, redis, id, epoch } = await scene(t, { ttl: 2000 })
    const [, key] = directory.commands.sessionKeys(id)
    const events = store({ maxEvents: 10 })
    for (let n = 0; n < 30; n++) await events.storeEvent(STREAM, notification(n))
    t.equal(await redis.xlen(key), 10)
    await sleep(1200)
    await directory.touch([{ id, epoch, lastAccessedAt: Date.now() }])
    await sleep(1000)
    t.equal(await redis.xlen(key), 10, 'lives as long as the session')
    await sleep(1050)
    t.equal(await redis.exists(key), 0, 'expires with it')
    const other = await newSession(directory)
    await new RedisEventStore({
      commands: directory.commands, ...other, epoch: () => other.epoch, maxEvents: 1, onUnavailable: t.fail
    }).storeEvent(STREAM, {})
    t.equal(await redis.exists(directory.commands.sessionKeys(other.id)[1]), 1)
    await directory.remove(other.id)
    t.equal(await redis.exists(directory.commands.sessionKeys(other.id)[1]), 0, 'is removed with it')
  })

  t.test('outlives its session for no ttl, and none with ttl 0', async t => {
    const { store, directory, redis, id } = await scene(t, { ttl: 0 })
    await store().storeEvent(STREAM, {})
    t.equal(await redis.pttl(directory.commands.sessionKeys(id)[1]), -1)
  })

  t.test('refuses the events of an owner that was replaced', async t => {
    const { store, directory, id, epoch } = await scene(t)
    const old = store()
    const seen = await old.storeEvent(STREAM, notification(1))
    const claimed = await directory.claim(id, epoch, 'node-2', Date.now())
    await t.rejects(old.storeEvent(STREAM, notification(2)), { name: 'SessionLostError' })
    const now = store({ epoch: () => Number(claimed?.epoch) })
    const next = await now.storeEvent(STREAM, notification(3))
    t.strictSame(await replay(now, seen), [[next, notification(3)]])
    await directory.remove(id)
    await t.rejects(now.storeEvent(STREAM, notification(4)), { name: 'SessionLostError' })
  })

  t.test('says when a stream has had all its responses', async t => {
    const { store } = await scene(t)
    const here = store()
    const there = store()
    await here.during([1, 'two'], async () => {
      const first = await here.storeEvent('post-1', {})
      t.strictSame(await there.locate(first),
        { streamId: 'post-1', gap: false, complete: false, pending: [1, 'two'], live: false })
      t.match(await here.locate(first), { live: true })
      await here.storeEvent('post-1', notification(1))
      await here.storeEvent('post-1', { jsonrpc: '2.0', id: 1, method: 'roots/list' })
      t.match(await there.locate(first), { complete: false, pending: [1, 'two'] }, 'the server\'s own requests are no responses')
      await here.storeEvent('post-1', response('two'))
      t.match(await there.locate(first), { complete: false, pending: [1] })
      const last = await here.storeEvent('post-1', { jsonrpc: '2.0', id: 1, error: { code: 1, message: '' } })
      t.match(await there.locate(first), { complete: true, pending: [] })
      t.match(await there.locate(last), { complete: true, pending: [] })
      const standalone = await here.storeEvent(STREAM, notification(1))
      t.match(await there.locate(standalone), { complete: false, pending: [] }, 'a GET answers nothing')
    })
    const unnamed = await here.storeEvent('post-2', {})
    t.match(await here.locate(unnamed), { complete: false, pending: [] })
    await here.storeEvent('post-2', response(1))
    t.match(await here.locate(unnamed), { complete: true })
  })

  t.test('an outage costs ids, not messages, and one wait', async t => {
    const { server, store, failures } = await scene(t, { timeout: 150 })
    const events = store()
    const before = await events.storeEvent(STREAM, notification(0))
    await server.kill()
    const started = Date.now()
    for (let n = 0; n < 10; n++) t.equal(await events.storeEvent(STREAM, notification(n)), '')
    t.ok(Date.now() - started < 700)
    t.match(failures, [{ name: 'DirectoryUnavailableError' }])
    await t.rejects(events.locate(before), { name: 'DirectoryUnavailableError' })
    await t.rejects(replay(events, before), { name: 'DirectoryUnavailableError' })
    await server.start()
    await sleep(200)
    await t.rejects(events.storeEvent(STREAM, notification(0)), { name: 'SessionLostError' }, 'asks again: it has lost its data')
  })

  t.test('nothing that is sent during a replay slips through', async t => {
    const { store } = await scene(t)
    const events = store()
    const seen = await events.storeEvent(STREAM, notification(0))
    for (let n = 1; n < 4; n++) await events.storeEvent(STREAM, notification(n))
    let registered = false
    const replaying = events.replayEventsAfter(seen, { send: () => sleep(20) }).then(() => { registered = true })
    await events.storeEvent(STREAM, notification(4))
    t.ok(registered)
    await replaying
  })

  t.test('lets the SDK resume on another node', async t => {
    const { store, directory, id, epoch } = await scene(t)
    const open = async (eventStore: RedisEventStore): Promise<Transport> => {
      const server = new McpServer({ name: 'test', version: '1.0.0' })
      server.registerTool('count', {}, async extra => {
        for (let n = 0; n < 3; n++) await extra.sendNotification({ method: 'notifications/progress', params: { progressToken: 1, progress: n } })
        return { content: [{ type: 'text', text: 'counted' }] }
      })
      const transport = new Transport({ sessionIdGenerator: () => id, eventStore })
      t.teardown(() => transport.close())
      await server.connect(transport)
      const initialize = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'test', version: '1' } }
      await (await post(transport, { id: 0, method: 'initialize', params: initialize })).text()
      return transport
    }
    const headers = {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      'mcp-session-id': id,
      'mcp-protocol-version': '2025-11-25'
    }
    const post = (transport: Transport, message: object): Promise<Response> => transport.handleRequest(new Request(
      'http://localhost/mcp', { method: 'POST', headers, body: JSON.stringify({ jsonrpc: '2.0', ...message }) }))

    const first = store()
    const here = await open(first)
    const called = await first.during([7], () => post(here, { id: 7, method: 'tools/call', params: { name: 'count', _meta: { progressToken: 1 } } }))
    const events = [...(await called.text()).matchAll(/^id: (.*)$/mg)].map(match => String(match[1]))
    t.equal(events.length, 5, 'a priming event, three notifications, the response')
    t.notMatch(events[0], STREAM)

    const claimed = await directory.claim(id, epoch, 'node-2', Date.now())
    const second = store({ epoch: () => Number(claimed?.epoch) })
    const there = await open(second)
    t.match(await second.locate(String(events[1])), { complete: true, pending: [], live: false })
    const resumed = await there.handleRequest(new Request('http://localhost/mcp', {
      headers: { ...headers, 'last-event-id': String(events[1]) }
    }))
    t.equal(resumed.status, 200)
    let text = ''
    for await (const chunk of resumed.body ?? []) {
      text += Buffer.from(chunk).toString()
      if (text.includes('counted')) break
    }
    t.strictSame([...text.matchAll(/^id: (.*)$/mg)].map(match => match[1]), events.slice(2))
    const standalone = await there.handleRequest(new Request('http://localhost/mcp', { headers }))
    const reader = standalone.body?.getReader()
    await there.send(notification(1))
    const chunk: unknown = (await reader?.read())?.value
    t.match(chunk instanceof Uint8Array && Buffer.from(chunk).toString(), `/${STREAM}\n`)
  })
})

t.test('a client whose stream cannot be looked for hears why', needsRedisServer(), async t => {
  const { server, redis, store } = await scene(t, { timeout: 200 })
  const event = await store().storeEvent(STREAM, notification(0))
  await server.kill()
  await t.rejects(store().find(event), { statusCode: 503, code: 'FST_ERR_MCP_SESSION_CLUSTER_UNAVAILABLE' })
  Object.assign(redis, { [scripts.events.command]: undefined })
  await t.rejects(store().find(event), { name: 'TypeError', message: 'the Redis client has lost its commands' })
})

t.test('on Redis Cluster', needsRedisServer(), async t => {
  const servers = await RedisClusterServers.start()
  const redis = servers.connect()
  t.teardown(async () => {
    redis.disconnect()
    await servers.stop()
  })
  await once(redis, 'ready')
  const directory = new RedisDirectory({ redis, ttl: 60_000 })
  for (let i = 0; i < 10; i++) {
    const { id, epoch } = await newSession(directory)
    const events = new RedisEventStore({
      commands: directory.commands, id, epoch: () => epoch, maxEvents: 10, onUnavailable: t.fail
    })
    const seen = await events.storeEvent(STREAM, notification(0))
    const next = await events.storeEvent(STREAM, notification(1))
    t.strictSame(await replay(events, seen), [[next, notification(1)]])
    t.strictSame(await directory.touch([{ id, epoch, lastAccessedAt: Date.now() }]), [])
  }
})
