import Fastify from 'fastify'
import t, { type Test } from 'tap'
import mcpSessions from '../../index.js'
import { resolveEndpointOptions } from '../../lib/endpoint/options.js'
import { SessionRuntimes } from '../../lib/endpoint/session-runtimes.js'
import { requirePluginContext } from '../../lib/http/plugin-context.js'
import type { SessionCluster } from '../../lib/http/session-cluster.js'
import { INITIALIZE_PARAMS } from '../helpers/apps/endpoint-stage.js'
import { serveRequest } from '../helpers/apps/served-request.js'
import { ToolServer } from '../helpers/mcp-servers/tool-server.js'
import { createDeferred } from '../helpers/waiting/deferred.js'
import { until } from '../helpers/waiting/until.js'

// One that has the session, and whose answers the test holds back.
function createCluster (barrier: () => Promise<void> | undefined): SessionCluster {
  const unasked = (): never => { throw new Error('Nobody asks for it here') }
  return {
    barrier,
    readState: () => ({ path: '/mcp', initialize: INITIALIZE_PARAMS }),
    saveState () {},
    createEventLog: unasked,
    isCurrent: unasked,
    locate: unasked,
    receive: unasked,
    replay: unasked,
    isForwarded: unasked,
    uses: { version: 0, ask: unasked, useOf: unasked, isParked: unasked, forget: unasked }
  }
}

async function stageRuntimes (t: Test, cluster: SessionCluster, createServer: () => Promise<ToolServer['mcp']>): Promise<{ ask: () => unknown }> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(mcpSessions, { drainTimeout: 0 })
  const { request } = await serveRequest(t)
  const runtimes = new SessionRuntimes({ ...requirePluginContext(app), cluster }, resolveEndpointOptions({ createServer }), app.log)
  const session = app.sessionManager.get(app.sessionManager.create())
  if (session === undefined) throw new Error('There is no session')
  return { ask: () => runtimes.find(session, request) }
}

t.test('while one attempt to bring a session back still fails, the next one makes one server for all who wait', async (t) => {
  const failed = createDeferred()
  const made = createDeferred()
  let attempts = 0
  const isLate = createDeferred()
  const { ask } = await stageRuntimes(t, createCluster(() => {
    failed.resolve()
    return isLate.promise
  }), async () => {
    if (++attempts === 1) throw new Error('no server today')
    await made.promise
    return new ToolServer().mcp
  })
  const first = Promise.resolve(ask()).catch(String)
  await failed.promise
  const second = ask()
  await until(() => attempts === 2, 'the next one has begun')
  isLate.resolve()
  t.match(await first, 'no server today')
  const third = ask()
  t.equal(third, second, 'it waits for the same')
  made.resolve()
  t.equal(await third, await second)
  t.equal(attempts, 2)
})
