// npm start: a REST API with MCP beside it, and the dashboard at /. With REDIS_URL it is a node of a cluster.
import { setTimeout as wait } from 'node:timers/promises'
import sessionsDashboard from 'fastify-mcp-sessions/dashboard'
import { connectionHelp } from './shared/connection-help.js'
import { buildApp } from './shared/notes-app.js'
import { buildHandWiredApp } from './hand-wired.js'
import { connectRedis } from './shared/connect-redis.js'

// How long a load balancer may take to see that this node is not ready any more, in milliseconds.
const NOTICE = 500

const port = Number(process.env['PORT'] ?? 3000)
const redis = await connectRedis(process.env['REDIS_URL'])
let stopping: Promise<void> | undefined
const app = process.argv[2] === 'hand-wired'
  ? await buildHandWiredApp({}, true)
  : await buildApp(
    redis === undefined ? {} : { cluster: { redis } },
    // A node of a cluster goes on serving while it hands its sessions over. Any other closes idle connections at once, or
    // Ctrl-C would wait for the spare ones that browsers and fetch() open.
    { logger: true, return503OnClosing: redis === undefined, forceCloseConnections: redis === undefined },
    { isReady: () => stopping === undefined }
  )

// For whoever sits at this machine: a server that others reach needs an authorize hook instead.
await app.register(sessionsDashboard, { authorize: 'loopback' })

// With on() and not once(): Ctrl-C reaches a process more than once when a package runner passes it on.
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => { stopping ??= stop() })
}

try {
  const url = await app.listen({ port, host: '127.0.0.1' })
  console.log(connectionHelp(url))
} catch (error) {
  console.error(`\nCannot listen on port ${process.env['PORT'] ?? port}: ${error instanceof Error ? error.message : error}`)
  console.error('Choose another port: PORT=3001 npm start\n')
  process.exitCode = 1
  await stop()
}

async function stop (): Promise<void> {
  // In a cluster the load balancer first has to notice that this node takes no more requests.
  if (redis !== undefined && app.server.listening) await wait(NOTICE)
  await app.close()
  redis?.disconnect()
}
