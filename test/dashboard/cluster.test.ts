// Two nodes of a cluster, each with a dashboard.
import t, { type Test } from 'tap'
import { hashSessionId, mcpEndpoint, type McpEndpointOptions } from '../../index.js'
import sessionsDashboard from '../../lib/dashboard/index.js'
import { portOf } from '../helpers/apps/app.js'
import { call, openSession } from '../helpers/clients/http-client.js'
import { createCluster, type ClusterApp } from '../helpers/cluster/cluster-apps.js'
import { eventually } from '../helpers/cluster/cluster.js'
import { ask, Events, readState } from '../helpers/apps/dashboard-app.js'
import { ToolServer } from '../helpers/mcp-servers/tool-server.js'
import { needsRedis, startRedis } from '../helpers/redis/redis-server.js'

t.setTimeout(60_000)

// Longer than the directory is left alone, so that a node that has left can be told from one that has died.
const LEASE = 5000
const POST = { method: 'POST', headers: { 'x-mcp-sessions-dashboard': 'end' } }

async function startNodes (t: Test, redisUrl: string, lease = LEASE, endpoint?: McpEndpointOptions): Promise<[ClusterApp, ClusterApp]> {
  const addNode = createCluster(t, redisUrl)
  const routes = async (app: ClusterApp['app']): Promise<void> => {
    await app.register(sessionsDashboard, { prefix: '/sessions', authorize: 'loopback' })
    if (endpoint !== undefined) await app.register(mcpEndpoint, endpoint)
  }
  const nodes: [ClusterApp, ClusterApp] = [await addNode({ routes, cluster: { lease } }), await addNode({ routes, cluster: { lease } })]
  await eventually('both have joined', async () => nodes.every(({ app }) => app.sessionDirectory.node !== undefined))
  return nodes
}

t.test('on one Redis', needsRedis(), async (t) => {
  const { url: redisUrl, stop } = await startRedis()
  t.teardown(stop)

  t.test('each node shows the sessions of both, and the nodes', async (t) => {
    const [one, two] = await startNodes(t, redisUrl)
    const [nodeOne, nodeTwo] = [one.app.sessionDirectory.node ?? '', two.app.sessionDirectory.node ?? '']
    const mine = one.app.sessionManager.create({}, { principal: 'ann', clientInfo: { name: 'one', version: '1' } })
    const theirs = two.app.sessionManager.create({}, { principal: 'bob', clientInfo: { name: 'two', version: '2' }, protocolVersion: '2025-11-25' })
    await eventually('both are in the directory, and counted', async () => {
      const nodes = await one.app.sessionDirectory.nodes()
      return await one.app.sessionDirectory.count() === 2 && nodes.length === 2 && nodes.every(({ sessions }) => sessions === 1)
    })
    const answer = await ask(portOf(one.app), '/sessions/state?sort=client')
    const state = readState(answer)
    t.equal(state.node, nodeOne)
    t.match(state.sessions, {
      total: 2,
      matching: 2,
      rows: [
        { hash: hashSessionId(mine), principal: 'ann', node: nodeOne, client: { name: 'one' }, endable: true },
        { hash: hashSessionId(theirs), principal: 'bob', node: nodeTwo, client: { name: 'two' }, revision: '2025-11-25', endable: true }
      ]
    })
    t.equal(state.totals.sessions, 1, 'the totals are of this node')
    t.strictSame(new Set(state.nodes.map(({ id, url, self, sessions }) => [id, url, self, sessions].join())), new Set([[nodeOne, one.url, true, 1].join(), [nodeTwo, two.url, false, 1].join()]))
    for (const { lease } of state.nodes) t.ok(lease > 0 && lease <= LEASE)
    for (const id of [mine, theirs]) t.notMatch(answer.text, id)
    t.match(readState(await ask(portOf(one.app), `/sessions/state?search=${nodeTwo}`)).sessions, { matching: 1, rows: [{ node: nodeTwo }] })
  })

  t.test('a session is ended from any node', async (t) => {
    const [one, two] = await startNodes(t, redisUrl)
    const theirs = two.app.sessionManager.create()
    await eventually('it is in the directory', async () => await one.app.sessionDirectory.count() === 1)
    const events = await Events.open(t, one.app)
    await events.see('the session of the other node', ({ sessions }) => sessions.total === 1)
    t.equal((await ask(portOf(one.app), `/sessions/sessions/${hashSessionId(theirs)}/end`, POST)).status, 204)
    await events.see('that it has gone', ({ sessions, nodes }) => sessions.total === 0 && nodes.length === 2)
    await eventually('its owner has heard of it', async () => two.app.sessionManager.getActiveSessionCount() === 0)

    const later = two.app.sessionManager.create()
    await eventually('it is in the directory', async () => await one.app.sessionDirectory.count() === 1)
    t.equal((await ask(portOf(one.app), `/sessions/sessions/${hashSessionId(later)}/end`, POST)).status, 204, 'also one that this node has not looked at yet')
    t.equal((await ask(portOf(one.app), `/sessions/sessions/${hashSessionId(later)}/end`, POST)).status, 404)
  })

  t.test('what a session of another node has under way is shown while a page is open', async (t) => {
    // Nodes read what they are sent with every renewal of their leases.
    const [one, two] = await startNodes(t, redisUrl, 1000)
    const sessions = two.app.sessionManager
    const [idle, busy] = [sessions.create(), sessions.create()]
    const [working, listening] = [sessions.acquire(busy), sessions.acquire(busy)]
    if (working === undefined || listening === undefined) throw new Error('It is there')
    sessions.holdStream(listening)
    await eventually('both are in the directory', async () => await one.app.sessionDirectory.count() === 2)
    const unasked = readState(await ask(portOf(one.app), '/sessions/state'))
    t.strictSame(unasked.sessions.rows.map(({ inFlight, streams }) => [inFlight, streams]), [[null, null], [null, null]])
    const events = await Events.open(t, one.app, '/sessions/events?sort=inFlight&order=desc')
    const { sessions: { rows } } = await events.see('what the other node says', ({ sessions: { rows } }) => rows.every(({ inFlight }) => inFlight !== null))
    t.match(rows, [{ hash: hashSessionId(busy), inFlight: 1, streams: 1, idle: 0 }, { hash: hashSessionId(idle), inFlight: 0, streams: 0 }])
    sessions.release(working)
    await events.see('that it is over', ({ sessions: { rows } }) => rows.every(({ inFlight }) => inFlight === 0))
  })

  t.test('a session that is parked on another node is shown as parked while a page is open', async (t) => {
    const [one, two] = await startNodes(t, redisUrl, 1000, { createServer: () => new ToolServer().mcp, parkAfter: 200 })
    const session = await openSession(t, new URL('/mcp', two.url))
    await eventually('it is in the directory', async () => await one.app.sessionDirectory.count() === 1)
    t.match(readState(await ask(portOf(one.app), '/sessions/state')).sessions.rows, [{ parked: null }])
    const events = await Events.open(t, one.app)
    await events.see('that it is parked', ({ sessions: { rows } }) => rows[0]?.parked === true)
    // A call without an end keeps its session from being parked again.
    session.post(call(2, 'wait')).catch(() => {})
    await events.see('that it is not any more', ({ sessions: { rows } }) => rows[0]?.parked === false && rows[0].inFlight === 1)
  })

  t.test('a node that goes is not shown any more, and its sessions are', async (t) => {
    const [one, two] = await startNodes(t, redisUrl)
    const theirs = two.app.sessionManager.create()
    await eventually('it is in the directory', async () => await one.app.sessionDirectory.count() === 1)
    const events = await Events.open(t, one.app)
    await events.see('both nodes', ({ nodes }) => nodes.length === 2)
    await two.app.close()
    const { sessions } = await events.see('one node', ({ nodes, sessions }) => nodes.length === 1 && sessions.rows[0]?.node === '')
    t.match(sessions.rows, [{ hash: hashSessionId(theirs) }])
  })
})

t.test('without Redis the own sessions are shown and ended, and those of others not ended', needsRedis(), async (t) => {
  const { url: redisUrl, stop } = await startRedis()
  const [one, two] = await startNodes(t, redisUrl)
  const [mine, theirs] = [one.app.sessionManager.create(), two.app.sessionManager.create()]
  await eventually('both are in the directory', async () => await one.app.sessionDirectory.count() === 2)
  const events = await Events.open(t, one.app)
  await events.see('both', ({ sessions }) => sessions.total === 2)
  await stop()
  const refused = await ask(portOf(one.app), `/sessions/sessions/${hashSessionId(theirs)}/end`, POST)
  t.equal(refused.status, 503)
  t.match(JSON.parse(refused.text), { error: 'Service Unavailable', message: /storage is not available/ })
  t.equal((await ask(portOf(one.app), `/sessions/sessions/${hashSessionId(mine)}/end`, POST)).status, 204)
  t.match(readState(await ask(portOf(one.app), '/sessions/state')), { totals: { sessions: 0 }, sessions: { total: 1 } })
  t.notMatch(one.log.join(''), theirs)
})
