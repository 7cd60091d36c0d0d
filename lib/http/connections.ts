import type { Server } from 'node:http'
import type { Http2Session } from 'node:http2'
import type { Socket } from 'node:net'

// How long a client that has connected may take for its first byte, in milliseconds.
const FIRST_BYTE_TIMEOUT = 500

/**
 * The connections of a server. When it closes, Node.js waits for all of them, and knows of no end for one that
 * never sent a byte, whose client does not read, or whose request never ends.
 */
export class Connections {
  readonly #server: Server
  // With the time that they are open since. Below a TLS socket there is another one: both are here.
  readonly #sockets = new Map<Socket, number>()
  readonly #http2Sessions = new Set<Http2Session>()

  constructor (server: Server) {
    this.#server = server
    const keep = (socket: Socket): void => {
      this.#sockets.set(socket, performance.now())
      socket.on('close', () => this.#sockets.delete(socket))
    }
    server.on('connection', keep)
    server.on('secureConnection', keep)
    server.on('session', (session: Http2Session) => {
      this.#http2Sessions.add(session)
      session.on('close', () => this.#http2Sessions.delete(session))
    })
  }

  /** When the server has stopped listening, ends the connections that are used for nothing. */
  endUnused (): void {
    if (this.#server.listening) return
    // After a standstill a timer fires before what has come meanwhile is read.
    setImmediate(() => {
      for (const session of this.#http2Sessions) session.close()
      const latest = performance.now() - FIRST_BYTE_TIMEOUT
      for (const [socket, openedAt] of this.#sockets) if (socket.bytesRead === 0 && openedAt <= latest) socket.destroy()
      if (this.#hasNothingToSend()) this.#server.closeIdleConnections?.()
    })
  }

  /** When the server has stopped listening, cuts off every connection. */
  destroy (): void {
    if (this.#server.listening) return
    for (const socket of this.#sockets.keys()) socket.destroy()
  }

  // Node.js takes a connection for idle as soon as its last answer is complete, be it on its way or not.
  #hasNothingToSend (): boolean {
    for (const socket of this.#sockets.keys()) if (socket.writableLength > 0) return false
    return true
  }
}
