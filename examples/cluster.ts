// npm run start:cluster: three nodes of server.ts, a load balancer that sends each request to another of them, and a
// Redis of their own. Kill the nodes one by one: their sessions go on, only calls that were running there fail.
import { Redis } from 'ioredis'
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { connectionHelp } from './shared/connection-help.js'
import { createRoundRobinProxy } from './shared/round-robin-proxy.js'

const NODES = 3
const SERVER = fileURLToPath(new URL('./server.ts', import.meta.url))

const port = Number(process.env['PORT'] ?? 3000)
const redisPort = await freePort()
const nodePorts = await Promise.all(Array.from({ length: NODES }, freePort))
const proxy = createRoundRobinProxy(nodePorts)
const nodes = new Set<ChildProcess>()
let redis: ChildProcess | undefined
let stopping: Promise<void> | undefined

// With on() and not once(): Ctrl-C reaches a process more than once when a package runner passes it on.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => { stopping ??= stop() })
}

try {
  redis = await startRedis()
  const pids = await Promise.all(nodePorts.map(startNode))
  proxy.listen(port, '127.0.0.1')
  await once(proxy, 'listening')
  if (stopping === undefined) explain(pids)
} catch (error) {
  // A cluster that was told to stop while it started has not failed.
  if (stopping === undefined) {
    console.error(`\nThe cluster has not started: ${error instanceof Error ? error.message : error}\n`)
    process.exitCode = 1
  }
  stopping ??= stop()
}

function explain (pids: Array<number | undefined>): void {
  const address = proxy.address()
  const listening = typeof address === 'object' && address !== null ? address.port : port
  console.log(connectionHelp(`http://127.0.0.1:${listening}`))
  console.log(`Redis, process ${redis?.pid}, on port ${redisPort}`)
  for (const [i, nodePort] of nodePorts.entries()) console.log(`Node ${i + 1}, process ${pids[i]}: http://127.0.0.1:${nodePort}/`)
  console.log(`
Each of them shows the sessions of all, and so does the load balancer. The notes are in memory: each node has its own.
Ready to be killed one by one: kill -9 ${pids[0]}, or kill ${pids[0]} for an orderly end. Ctrl-C ends them all.
`)
}

// Redis and the nodes run in process groups of their own, so that Ctrl-C reaches only this process, which ends them in order.
async function startRedis (): Promise<ChildProcess> {
  const child = spawn('redis-server', ['--port', `${redisPort}`, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'], {
    detached: true, stdio: ['ignore', 'ignore', 'inherit']
  })
  try {
    await once(child, 'spawn')
  } catch {
    throw new Error('redis-server is not installed. Get it with: apt-get install redis-server, or: brew install redis')
  }
  redis = child
  child.once('exit', () => report('Redis has ended. Nodes serve what they have for as long as their leases run'))
  const client = new Redis(redisPort, '127.0.0.1', { retryStrategy: () => 50, maxRetriesPerRequest: null })
  client.on('error', () => {})
  const ended = once(child, 'exit').then(() => { throw new Error('redis-server has ended') })
  await Promise.race([client.ping(), ended]).finally(() => client.disconnect())
  return child
}

async function startNode (nodePort: number): Promise<number | undefined> {
  const child = spawn(process.execPath, [...process.execArgv, SERVER], {
    detached: true,
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, PORT: `${nodePort}`, REDIS_URL: `redis://127.0.0.1:${redisPort}` }
  })
  nodes.add(child)
  child.once('exit', (code, signal) => {
    nodes.delete(child)
    report(`The node on port ${nodePort}, process ${child.pid}, has ended (${signal ?? code}), ${nodes.size} left`)
  })
  const ended = once(child, 'exit').then(() => { throw new Error(`The node on port ${nodePort} has ended`) })
  await Promise.race([listens(child.stdout), ended])
  return child.pid
}

// Resolves when the node has printed how to connect to it. The rest of its output is read and thrown away.
async function listens (output: Readable): Promise<void> {
  let text = ''
  const collect = (chunk: Buffer): void => { text += chunk }
  output.on('data', collect)
  while (!text.includes('MCP endpoint')) await once(output, 'data')
  output.off('data', collect).resume()
}

function report (what: string): void {
  if (stopping === undefined) console.log(what)
}

async function stop (): Promise<void> {
  proxy.close()
  await Promise.all(Array.from(nodes, end))
  proxy.closeAllConnections()
  if (redis !== undefined) await end(redis)
}

async function end (child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exited = once(child, 'exit')
  child.kill('SIGTERM')
  // A process that was paused by hand (SIGSTOP) cannot end before it goes on.
  child.kill('SIGCONT')
  await exited
}

async function freePort (): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  return typeof address === 'object' && address !== null ? address.port : 0
}
