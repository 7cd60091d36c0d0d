import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { createRoundRobinProxy } from '../../../examples/shared/round-robin-proxy.js'
import type { McpSessionsOptions } from '../../../index.js'
import { cleanEnv } from '../processes/child.js'
import type { IoredisMajor, RedisAddress } from '../redis/redis-client.js'
import { freePort, killWithThisProcess } from '../redis/redis-server.js'

// Longer than it takes a node to close, shorter than a hang, in milliseconds.
const END_TIMEOUT = 25_000
const NODE = fileURLToPath(new URL('../../fixtures/cluster-node.ts', import.meta.url))

export interface ClusterOptions extends Omit<NodeSettings, 'port'> {
  nodes?: number
}

/** How the node of test/fixtures/cluster-node.ts is set up. */
export interface NodeSettings {
  port: number
  redis: RedisAddress
  ioredis?: IoredisMajor
  /** What its keys begin with. */
  prefix?: string
  /** Milliseconds. */
  lease: number
  /** Whether the ways to the other nodes are links of `TcpLink` that greet. */
  isLinked?: boolean
  /** Where the other nodes reach it. */
  advertise?: string
  resumable?: boolean
  /** Whether its servers are of SDK 2, for clients of both eras; it then tells them that the tools have changed as it starts. */
  modern?: boolean
  plugin?: Pick<McpSessionsOptions, 'ttl' | 'cleanupInterval' | 'maxSessions' | 'drainTimeout'>
  /** Milliseconds for which it keeps a connection on which nothing is said. Default: that of Fastify. */
  keepAliveTimeout?: number
  /** The level of its log. */
  log?: string
}

/** An order to a node: to answer with a report, or to block its event loop for some milliseconds. */
export type NodeOrder = { report: true } | { block: number }

export interface NodeReport {
  sessions: LocalSession[]
  /** What keeps its event loop alive, by kind. */
  resources: string[]
}

export interface LocalSession {
  id: string
  activeRequests: number
}

/** A node in a process of its own, which can be killed and frozen. */
export class ClusterNode {
  readonly port: number
  readonly url: URL
  readonly #env: NodeJS.ProcessEnv
  #child: ChildProcess | undefined

  constructor (...settings: [NodeSettings, ...NodeSettings[]]) {
    this.port = settings[0].port
    this.url = new URL(`http://127.0.0.1:${this.port}/mcp`)
    this.#env = cleanEnv({ NODE_SETTINGS: JSON.stringify(settings) })
  }

  get pid (): number | undefined {
    return this.#child?.pid
  }

  /**
   * Resolves when it listens. After its end it can be started again, on the same port.
   *
   * @param clockShift milliseconds by which its clock is wrong
   */
  async start (clockShift = 0): Promise<void> {
    const child = fork(NODE, { execArgv: ['--import', 'tsx'], env: { ...this.#env, CLOCK_SHIFT: `${clockShift}` } })
    this.#child = child
    const guard = killWithThisProcess(child)
    child.once('exit', () => guard.kill('SIGKILL'))
    const ended = once(child, 'exit').then(() => { throw new Error('A node did not start') })
    await Promise.race([once(child, 'message'), ended])
  }

  /** Sends a signal, and resolves to the exit code or the signal that ended the process. Rejects when it does not end. */
  async end (signal: NodeJS.Signals): Promise<unknown> {
    const child = this.#child
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, 'exit', { signal: AbortSignal.timeout(END_TIMEOUT) })
    child.kill(signal)
    const [code, by]: unknown[] = await exited
    return code ?? by
  }

  freeze (): void {
    this.#child?.kill('SIGSTOP')
  }

  thaw (): void {
    this.#child?.kill('SIGCONT')
  }

  /** Blocks its event loop for that many milliseconds. */
  block (ms: number): void {
    this.#order({ block: ms })
  }

  /** The sessions that live in this process; none when it has ended. */
  async sessions (): Promise<LocalSession[]> {
    return (await this.report()).sessions
  }

  async report (): Promise<NodeReport> {
    const child = this.#child
    if (child?.connected !== true) return { sessions: [], resources: [] }
    const answered = once(child, 'message')
    this.#order({ report: true })
    const [answer]: NodeReport[] = await answered
    return answer ?? { sessions: [], resources: [] }
  }

  #order (order: NodeOrder): void {
    this.#child?.send(order)
  }
}

export class TestCluster {
  readonly nodes: readonly ClusterNode[]
  /** The URL of the proxy. */
  readonly url: URL

  constructor (nodes: readonly ClusterNode[], url: URL) {
    this.nodes = nodes
    this.url = url
  }

  node (index: number): ClusterNode {
    const node = this.nodes[index]
    if (node === undefined) throw new Error(`There is no node ${index}`)
    return node
  }

  /** The ids of all sessions; one that lives on two nodes is in it twice. */
  async liveIds (): Promise<string[]> {
    const lists = await Promise.all(this.nodes.map((node) => node.sessions()))
    return lists.flat().map(({ id }) => id).sort()
  }

  async owner (id: string): Promise<ClusterNode> {
    for (const node of this.nodes) {
      if ((await node.sessions()).some((session) => session.id === id)) return node
    }
    throw new Error('The session lives nowhere')
  }

  /** Resolves when every one of these sessions has its GET stream, and nothing else, open. */
  async whenListening (ids: readonly string[]): Promise<void> {
    await eventually('all clients listen', async () => {
      const lists = await Promise.all(this.nodes.map((node) => node.sessions()))
      const open = new Set(lists.flat().filter(({ activeRequests }) => activeRequests === 1).map(({ id }) => id))
      return ids.every((id) => open.has(id))
    })
  }
}

/** Nodes behind a proxy, all gone when the test is over. */
export async function startCluster (t: Test, { nodes: count = 3, ...settings }: ClusterOptions): Promise<TestCluster> {
  const nodes: ClusterNode[] = []
  for (let i = 0; i < count; i++) nodes.push(new ClusterNode({ ...settings, port: await freePort() }))
  t.teardown(() => Promise.all(nodes.map((node) => node.end('SIGKILL'))))
  await Promise.all(nodes.map((node) => node.start()))

  const proxy = createRoundRobinProxy(nodes.map(({ port }) => port)).listen(0, '127.0.0.1')
  t.teardown(() => { proxy.close().closeAllConnections() })
  await once(proxy, 'listening')
  const address = proxy.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  return new TestCluster(nodes, new URL(`http://127.0.0.1:${port}/mcp`))
}

/** The SDK's client. Statuses of all answers that it got are in `statuses`. */
export class TestClient {
  readonly client: Client
  readonly statuses: number[] = []
  readonly #transport: StreamableHTTPClientTransport

  /**
   * @param openAt where to open the session
   * @param listenAt where to open the GET stream; everything else goes to the URL
   */
  constructor (url: URL, openAt: URL, listenAt = url) {
    this.client = new Client({ name: 'tester', version: '7' }, { capabilities: { elicitation: {}, roots: { listChanged: true } } })
    this.#transport = new StreamableHTTPClientTransport(url, {
      fetch: async (target, init) => {
        const opens = typeof init?.body === 'string' && init.body.includes('"method":"initialize"')
        const response = await fetch(opens ? openAt : init?.method === 'GET' ? listenAt : target, init)
        this.statuses.push(response.status)
        return response
      },
      reconnectionOptions: { initialReconnectionDelay: 50, maxReconnectionDelay: 500, reconnectionDelayGrowFactor: 1.5, maxRetries: 50 }
    })
  }

  get id (): string {
    return this.#transport.sessionId ?? ''
  }

  async connect (t: Test): Promise<this> {
    t.teardown(() => this.client.close())
    await this.client.connect(this.#transport)
    return this
  }

  /** What the tool says, parsed. */
  async call (name: string, args: Record<string, unknown> = {}): Promise<unknown> {
    const { content } = await this.client.callTool({ name, arguments: args })
    return textOf(content)
  }
}

/** Clients with a session each, opened all at once, on these nodes in turn. All that they send afterwards goes to the URL. */
export function connectClients (t: Test, url: URL, count: number, nodes: readonly ClusterNode[]): Promise<TestClient[]> {
  const clients = Array.from({ length: count }, (_, i) => new TestClient(url, nodes[i % nodes.length]?.url ?? url))
  return Promise.all(clients.map((client) => client.connect(t)))
}

export function idsOf (clients: readonly TestClient[]): string[] {
  return clients.map(({ id }) => id).sort()
}

/** A request by hand, where the SDK's client hides too much. */
export function send (url: URL, message: object | undefined, headers: Record<string, string> = {}, signal = AbortSignal.timeout(30_000)): Promise<Response> {
  return fetch(url, {
    method: message === undefined ? 'GET' : 'POST',
    headers: { accept: 'application/json, text/event-stream', 'content-type': 'application/json', ...headers },
    signal,
    ...(message !== undefined && { body: JSON.stringify(message) })
  })
}

let calls = 0

/** A request with an id that no other has: of two requests with one id in a session, one is never answered. */
export function toolCall (name: string, args: object = {}): object {
  return { jsonrpc: '2.0', id: `call ${++calls}`, method: 'tools/call', params: { name, arguments: args } }
}

export function initialize (): object {
  const params = { protocolVersion: '2025-11-25', capabilities: { roots: {} }, clientInfo: { name: 'by hand', version: '1' } }
  return { jsonrpc: '2.0', id: 0, method: 'initialize', params }
}

/** Opens a session by hand, and returns its id. */
export async function openSession (url: URL, headers: Record<string, string> = {}): Promise<string> {
  const response = await send(url, initialize(), headers)
  await response.text()
  const id = response.headers.get('mcp-session-id')
  if (id === null) throw new Error(`No session was opened: ${response.status}`)
  const initialized = await send(url, { jsonrpc: '2.0', method: 'notifications/initialized' }, { ...headers, 'mcp-session-id': id })
  await initialized.text()
  return id
}

/** What a tool has said, in a body of a single answer: JSON, or an event stream. */
export function readAnswer (body: string): unknown {
  const [, data = '{}'] = /^(?:data: )?(\{.*)$/m.exec(body) ?? []
  const { result }: { result?: { content: unknown } } = JSON.parse(data)
  return textOf(result?.content)
}

function textOf (content: unknown): unknown {
  if (Array.isArray(content) && typeof content[0]?.text === 'string') return JSON.parse(content[0].text)
  throw new Error(`No text in ${JSON.stringify(content)}`)
}

/** Asks again and again until the answer is yes: for what happens in other processes. */
export async function eventually (what: string, check: () => Promise<boolean>, timeout = 20_000): Promise<void> {
  const deadline = performance.now() + timeout
  while (!await check()) {
    if (performance.now() > deadline) throw new Error(`Waited ${timeout} ms in vain until ${what}`)
    await wait(20)
  }
}
