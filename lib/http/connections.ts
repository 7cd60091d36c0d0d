import type { Server } from 'node:http'
import type { Http2Session } from 'node:http2'
import type { Socket } from 'node:net'

// How long a connection is kept open after its last answer once the server is about to close, in milliseconds.
const LAST_KEEP_ALIVE = 50

/**
 * The connections of a server. When it closes, Node.js waits for all of them, and knows of no end for one that
 * never sent a byte, whose client does not read, or whose request never ends.
 */
export class Connections {
  readonly #server: Server
  // Below a TLS socket there is another one: both are here.
  readonly #sockets = new Set<Socket>()
  readonly #http2Sessions = new Set<Http2Session>()

  constructor (server: Server) {
    this.#server = server
    server.on('connection', (socket: Socket) => keepUntilClosed(this.#sockets, socket))
    server.on('secureConnection', (socket: Socket) => keepUntilClosed(this.#sockets, socket))
    server.on('session', (session: Http2Session) => keepUntilClosed(this.#http2Sessions, session))
  }

  /** From now on a connection ends with its answer, for the server is about to close. */
  stopKeepAlive (): void {
    if ('keepAliveTimeout' in this.#server) this.#server.keepAliveTimeout = LAST_KEEP_ALIVE
  }

  /** When the server has stopped listening, ends the connections that no request has come by, and lets no new ones in. */
  endUnused (): void {
    if (this.#server.listening) return
    for (const session of this.#http2Sessions) session.close()
    for (const socket of this.#sockets) if (socket.bytesRead === 0) socket.destroy()
  }

  /** When the server has stopped listening, cuts off every connection. */
  destroy (): void {
    if (this.#server.listening) return
    for (const socket of this.#sockets) socket.destroy()
  }
}

function keepUntilClosed<T extends Socket | Http2Session> (open: Set<T>, connection: T): void {
  open.add(connection)
  connection.on('close', () => open.delete(connection))
}
