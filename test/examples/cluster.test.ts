// The example with three nodes, started by its one command: a client keeps its session while the nodes are killed.
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import t from 'tap'
import { readScript, start } from '../helpers/processes/child.js'
import { needsRedisServer } from '../helpers/redis/redis-server.js'

// Four processes start, and the leases of two nodes run out.
t.setTimeout(120_000)

t.test('a client notices nothing of nodes that are killed, and Ctrl-C ends them all', needsRedisServer(), async (t) => {
  const cluster = start(t, ...readScript('start:cluster'), { PORT: '0' })
  // In order, or Redis and the nodes would be left.
  t.teardown(async () => {
    cluster.process.kill('SIGTERM')
    await cluster.ended
  })
  await cluster.says('Ctrl-C ends them all')
  const url = new URL(/MCP endpoint: (\S+)/.exec(cluster.stdout)?.[1] ?? '')
  const pids = Array.from(cluster.stdout.matchAll(/^Node \d, process (\d+):/gm), ([, pid]) => Number(pid))
  t.equal(pids.length, 3)
  const client = new Client({ name: 'test', version: '1.0.0' })
  const transport = new StreamableHTTPClientTransport(url)
  await client.connect(transport)
  const { sessionId } = transport
  for (const [i, pid] of pids.slice(0, 2).entries()) {
    process.kill(pid, 'SIGKILL')
    await cluster.says(`process ${pid}, has ended (SIGKILL), ${2 - i} left`)
    t.match(await client.callTool({ name: 'list_notes' }), { content: [{ type: 'text' }] }, `${2 - i} left`)
    t.equal(transport.sessionId, sessionId)
  }
  await client.close()
  cluster.process.kill('SIGINT')
  t.equal(await cluster.ended, 0)
  t.equal(cluster.stderr, '')
})
