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
  // With the time at which each was opened. Below a TLS socket there is a TCP socket: both are here.
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

  /** Ends the connections that are used for nothing. Does nothing while the server still listens. */
  endUnused (): void {
    if (this.#server.listening) return
    // After a standstill timers fire before sockets are read: let those be read first.
    setImmediate(() => {
      for (const session of this.#http2Sessions) session.close()
      const latest = performance.now() - FIRST_BYTE_TIMEOUT
      for (const [socket, openedAt] of this.#sockets) if (socket.bytesRead === 0 && openedAt <= latest) socket.destroy()
      if (this.#hasNothingToSend()) this.#server.closeIdleConnections?.()
    })
  }

  /** Cuts off every connection. Does nothing while the server still listens. */
  destroy (): void {
    if (this.#server.listening) return
    for (const socket of this.#sockets.keys()) socket.destroy()
  }

  // Node.js takes a connection for idle as soon as its last answer is complete, even if that is not sent yet.
  #hasNothingToSend (): boolean {
    for (const socket of this.#sockets.keys()) if (socket.writableLength > 0) return false
    return true
  }
}
