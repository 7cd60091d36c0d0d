// What a client must be able to do, and a stranger must not, on every node alike.
import t, { type Test } from 'tap'
import { createHmac } from 'node:crypto'
import { request } from 'node:http'
import { connectClients, eventually, openSession, readAnswer, send, startCluster, toolCall, type ClusterNode } from '../../helpers/cluster/cluster.js'
import { needsRedisServer, RedisServer } from '../../helpers/redis/redis-server.js'

const LEASE = 1000

t.setTimeout(120_000)

t.test('events that one node has sent are resumed on another', needsRedisServer(), async (t) => {
  const redis = await RedisServer.start()
  t.teardown(() => redis.stop())
  const cluster = await startCluster(t, { redis: redis.address, lease: LEASE, resumable: true })
  const [owner, other, third] = [cluster.node(0), cluster.node(1), cluster.node(2)]
  const id = await openSession(owner.url)
  const log = async (node: ClusterNode, ...values: string[]): Promise<void> => {
    const response = await send(node.url, toolCall('log', { values }), { 'mcp-session-id': id })
    t.equal(readAnswer(await response.text()), 'logged')
  }

  const first = await openStream(t, owner, id)
  await log(owner, 'one', 'two')
  await first.sees('two')
  const seen = first.idOf('one')
  first.close()
  await log(owner, 'three')

  const second = await openStream(t, other, id, seen)
  await second.sees('three')
  await log(third, 'four')
  await second.sees('four')
  t.strictSame(second.values(), ['two', 'three', 'four'], 'all that came after it, once, in order')

  t.comment('the node that sent them dies')
  await owner.end('SIGKILL')
  const last = await openStream(t, third, id, seen)
  await last.sees('four')
  await log(other, 'five')
  await last.sees('five')
  t.strictSame(last.values(), ['two', 'three', 'four', 'five'])

  await t.test('a call that ran on a node that died is told so', async (t) => {
    const [client] = await connectClients(t, cluster.url, 1, [third])
    if (client === undefined) throw new Error('No client')
    // Without one there is nothing to come back for.
    let hasEventId = false
    const call = client.client.callTool({ name: 'sleep', arguments: { seconds: 60 } }, undefined, {
      onresumptiontoken: () => { hasEventId = true }
    })
    call.catch(() => {})
    await eventually('the stream of the call has begun', async () => hasEventId)
    const killed = performance.now()
    await third.end('SIGKILL')
    await t.rejects(call, { message: /The process that worked on this request has died/ })
    t.ok(performance.now() - killed < LEASE + 2000, `the client knows after ${Math.round(performance.now() - killed)} ms`)
  })
})

t.test('a stranger gets the same answer everywhere', needsRedisServer(), async (t) => {
  const redis = await RedisServer.start()
  t.teardown(() => redis.stop())
  const { nodes } = await startCluster(t, { redis: redis.address, lease: LEASE })
  const [home] = nodes
  if (home === undefined) throw new Error('No node')
  const alice = { authorization: 'alice' }
  const id = await openSession(home.url, alice)
  const ask = async (url: URL, headers: Record<string, string>): Promise<{ status: number, body: string }> => {
    const response = await send(url, toolCall('count'), { 'mcp-session-id': id, ...headers })
    return { status: response.status, body: await response.text() }
  }
  const notFound = await ask(home.url, { ...alice, 'mcp-session-id': 'nobody-knows' })
  t.equal(notFound.status, 404)

  const claims = (from: string): string => Buffer.from(JSON.stringify({ from, principal: 'alice' })).toString('base64url')
  const sign = (text: string, key: string): string => createHmac('sha256', key).update(text).digest('base64url')
  const forged = ['', 'x', 'x.y', `${claims('n')}.`, `${claims('n')}.${sign(claims('n'), '')}`, `${claims('n')}.${sign(JSON.stringify([claims('n'), '', 'POST', '/mcp', id]), '')}`]
  for (const [i, { url }] of nodes.entries()) {
    t.strictSame(await ask(url, { authorization: 'mallory' }), notFound, `another principal, node ${i}`)
    t.strictSame(await ask(url, {}), notFound, `nobody, node ${i}`)
    for (const method of ['GET', 'DELETE']) {
      const headers = { authorization: 'mallory', accept: 'text/event-stream', 'mcp-session-id': id }
      const response = await fetch(url, { method, headers })
      t.strictSame({ status: response.status, body: await response.text() }, notFound, `${method}, node ${i}`)
    }
    for (const header of forged) {
      t.strictSame(await ask(url, { authorization: 'mallory', 'mcp-session-forwarded': header }), notFound, `a forged header, node ${i}`)
      t.equal(await statusWithHost(url, 'evil.example', { ...alice, 'mcp-session-id': id, 'mcp-session-forwarded': header }), 403, 'does not get past the check of Host')
    }
    const answer = await ask(url, { ...alice, 'mcp-session-forwarded': String(forged[4]) })
    t.equal(readAnswer(answer.body), i + 1, 'nor does it keep the owner of the session out')
  }

  t.comment('the same when it has to be taken over first')
  await home.end('SIGKILL')
  const others = nodes.slice(1)
  for (const { url } of others) t.strictSame(await ask(url, { authorization: 'mallory' }), notFound)
  for (const [i, { url }] of others.entries()) t.equal(readAnswer((await ask(url, alice)).body), nodes.length + i + 1)
  for (const { url } of others) t.strictSame(await ask(url, { authorization: 'mallory' }), notFound)
})

interface Stream {
  /** Resolves when an event with that value has come. */
  sees (value: string): Promise<void>
  idOf (value: string): string
  values (): unknown[]
  close (): void
}

/** The GET stream of a session. */
async function openStream (t: Test, node: ClusterNode, id: string, lastEventId?: string): Promise<Stream> {
  const controller = new AbortController()
  t.teardown(() => controller.abort())
  const headers = { 'mcp-session-id': id, ...(lastEventId !== undefined && { 'last-event-id': lastEventId }) }
  const response = await send(node.url, undefined, headers, controller.signal)
  t.equal(response.status, 200)
  const events: Array<{ id: string, value: unknown }> = []
  collect(response, events).catch(() => {})
  return {
    sees: (value) => eventually(`there is ${value}`, async () => events.some((event) => event.value === value)),
    idOf: (value) => events.find((event) => event.value === value)?.id ?? '',
    // The level of the session was never set, so there is more than this.
    values: () => events.map(({ value }) => value).filter((value) => !String(value).startsWith('debug ')),
    close: () => controller.abort()
  }
}

async function collect ({ body }: Response, events: Array<{ id: string, value: unknown }>): Promise<void> {
  let text = ''
  for await (const chunk of body?.pipeThrough(new TextDecoderStream()) ?? []) {
    const blocks = (text + chunk).split('\n\n')
    text = blocks.pop() ?? ''
    for (const block of blocks) {
      const [, id] = /^id: (.*)$/m.exec(block) ?? []
      const [, data] = /^data: (\{.*)$/m.exec(block) ?? []
      if (id !== undefined && data !== undefined) events.push({ id, value: JSON.parse(data).params?.data })
    }
  }
}

/** fetch() does not let a Host be chosen. */
function statusWithHost (url: URL, host: string, headers: Record<string, string>): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const message = JSON.stringify(toolCall('count'))
    const outgoing = request(url, {
      method: 'POST',
      headers: { host, accept: 'application/json, text/event-stream', 'content-type': 'application/json', ...headers }
    }, (response) => {
      response.resume()
      resolve(response.statusCode)
    })
    outgoing.on('error', reject)
    outgoing.end(message)
  })
}
