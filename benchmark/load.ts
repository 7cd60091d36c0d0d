import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

const CONNECTIONS = 16

/**
 * Keeps connections open to a server and sends one request after the other on
 * each. All answers must be a 200 of one length, so that counting bytes is all
 * the parsing there is: the less the load costs, the less it disturbs.
 */
export class Load {
  readonly #sockets: Socket[]

  private constructor (sockets: Socket[]) {
    this.#sockets = sockets
  }

  static async open (port: number): Promise<Load> {
    const sockets = Array.from({ length: CONNECTIONS }, () => connect({ port, host: '127.0.0.1', noDelay: true }))
    await Promise.all(sockets.map((socket) => once(socket, 'connect')))
    return new Load(sockets)
  }

  async send (path: string, headers: string, count: number): Promise<void> {
    const request = Buffer.from(`GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\n${headers}\r\n`, 'latin1')
    const perSocket = Math.ceil(count / CONNECTIONS)
    await Promise.all(this.#sockets.map((socket) => sendInTurn(socket, request, perSocket)))
  }

  close (): void {
    for (const socket of this.#sockets) socket.destroy()
  }
}

function sendInTurn (socket: Socket, request: Buffer, count: number): Promise<void> {
  return new Promise((resolve, reject) => {
    let length = 0
    let received = 0
    const fail = (): void => reject(new Error('The server has closed a connection'))
    socket.once('close', fail)
    socket.on('data', function read (chunk: Buffer) {
      if (length === 0) {
        length = chunk.length
        if (!chunk.subarray(0, 12).equals(Buffer.from('HTTP/1.1 200'))) reject(new Error(chunk.toString('latin1')))
      }
      received += chunk.length
      if (received < length) return
      received -= length
      if (--count > 0) {
        socket.write(request)
        return
      }
      socket.off('data', read)
      socket.off('close', fail)
      resolve()
    })
    socket.write(request)
  })
}
