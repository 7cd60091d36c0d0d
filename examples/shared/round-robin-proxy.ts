import { createServer, request, type IncomingHttpHeaders, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { setTimeout as wait } from 'node:timers/promises'

interface Node {
  readonly port: number
  isReady: boolean
}

const CHECK_INTERVAL = 100
const CHECK_TIMEOUT = 1000

/**
 * A load balancer without a memory: each request goes to the next node that says it is ready, and to the
 * one after it when that one takes no connection.
 */
export function createRoundRobinProxy (ports: readonly number[]): Server {
  const nodes: Node[] = ports.map((port) => ({ port, isReady: true }))
  let turn = 0

  const server = createServer(function passOn (incoming, outgoing) {
    const first = turn++ % nodes.length
    const inTurn = [...nodes.slice(first), ...nodes.slice(0, first)]
    // Nodes that do not seem to be ready come last: to try them is better than to give no answer.
    attempt(incoming, outgoing, [...inTurn.filter((node) => node.isReady), ...inTurn.filter((node) => !node.isReady)])
  })
  server.once('listening', () => {
    for (const node of nodes) watch(node)
  })
  return server

  async function watch (node: Node): Promise<void> {
    while (server.listening) {
      node.isReady = await isReady(node.port)
      await wait(CHECK_INTERVAL, undefined, { ref: false })
    }
  }
}

async function isReady (port: number): Promise<boolean> {
  try {
    const response = await fetch(`http://127.0.0.1:${port}/health`, { signal: AbortSignal.timeout(CHECK_TIMEOUT) })
    await response.body?.cancel()
    return response.ok
  } catch {
    return false
  }
}

function attempt (incoming: IncomingMessage, outgoing: ServerResponse, [node, ...others]: Node[]): void {
  const { method, url } = incoming
  const headers = endToEnd(incoming.headers)
  // A connection of its own for each request: one that is kept may be closed by a node that stops.
  const upstream = request({ host: '127.0.0.1', port: node?.port, method, path: url, headers, agent: false })
  let connected = false

  upstream.on('socket', (socket) => socket.once('connect', () => {
    connected = true
    incoming.pipe(upstream)
  }))
  upstream.on('response', (response) => {
    // The answer has begun, so that no other node can be asked any more.
    upstream.off('error', tryOthers).on('error', breakOff)
    response.on('error', breakOff)
    outgoing.writeHead(Number(response.statusCode), endToEnd(response.headers))
    outgoing.flushHeaders()
    response.pipe(outgoing)
  })
  upstream.on('error', tryOthers)
  outgoing.on('close', () => upstream.destroy())

  function tryOthers (): void {
    if (!connected && others.length > 0) attempt(incoming, outgoing, others)
    else outgoing.writeHead(502).end('No node has answered\n')
  }

  function breakOff (): void {
    outgoing.destroy()
  }
}

// Without the headers that are about a single connection.
function endToEnd ({ connection, 'keep-alive': keepAlive, ...headers }: IncomingHttpHeaders): IncomingHttpHeaders {
  return headers
}
