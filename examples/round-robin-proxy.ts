import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from 'node:http'

/** A load balancer without a memory: each request goes to the next node, and to the one after it when that one takes no connection. */
export function createRoundRobinProxy (ports: readonly number[]): Server {
  let next = 0

  return createServer(function passOn (incoming, outgoing) {
    attempt(incoming, outgoing, next++, ports.length)
  })

  function attempt (incoming: IncomingMessage, outgoing: ServerResponse, turn: number, left: number): void {
    const { method, url, headers } = incoming
    // A connection of its own for each request: one that is kept may be closed by a node that stops.
    const upstream = request({ host: '127.0.0.1', port: ports[turn % ports.length], method, path: url, headers, agent: false })
    let connected = false

    upstream.on('socket', (socket) => socket.once('connect', () => {
      connected = true
      incoming.pipe(upstream)
    }))
    upstream.on('response', (response) => {
      outgoing.writeHead(response.statusCode ?? 502, response.headers)
      outgoing.flushHeaders()
      response.pipe(outgoing)
      response.on('error', () => outgoing.destroy())
    })
    upstream.on('error', () => {
      if (!connected && left > 1) attempt(incoming, outgoing, turn + 1, left - 1)
      else if (outgoing.headersSent) outgoing.destroy()
      else outgoing.writeHead(502).end('No node has answered\n')
    })
    outgoing.on('close', () => upstream.destroy())
  }
}
