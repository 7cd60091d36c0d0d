import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'

// How long what waits for the link to be open again sleeps, in milliseconds.
const POLL = 10

/** A way to a TCP port of this machine that can be cut, fall silent, or become slow. */
export class TcpLink {
  readonly port: number
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  #stranded: ReadonlySet<Socket> = new Set()
  #mode: 'open' | 'cut' | 'silent' = 'open'
  #delay = 0

  private constructor (server: Server, port: number) {
    this.#server = server
    this.port = port
  }

  /** @param greets whether it says with a byte of its own that there is a connection to the target */
  static async to (target: number, greets = false): Promise<TcpLink> {
    const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    const link = new TcpLink(server, typeof address === 'object' && address !== null ? address.port : 0)
    server.on('connection', (socket) => {
      const far = connect({ port: target, host: '127.0.0.1', allowHalfOpen: true })
      if (greets) far.once('connect', () => socket.write('.'))
      link.#join(socket, far)
    })
    return link
  }

  /** Every connection breaks, and no other is taken. */
  cut (): void {
    this.#mode = 'cut'
    this.#stranded = new Set()
    for (const socket of this.#sockets) socket.destroy()
  }

  /** Connections are there and new ones are taken, but nothing gets through; it comes when the link is open again. */
  silence (): void {
    this.#mode = 'silent'
  }

  /** The connections that are there fall silent until the link is opened; new ones are as they should be. */
  strand (): void {
    this.#stranded = new Set(this.#sockets)
  }

  /** What is sent comes that many milliseconds late, one piece after the other. */
  slowDown (delay: number): void {
    this.#delay = delay
  }

  open (): void {
    this.#mode = 'open'
    this.#delay = 0
    this.#stranded = new Set()
  }

  async close (): Promise<void> {
    this.cut()
    this.#server.close()
    await once(this.#server, 'close')
  }

  #join (near: Socket, far: Socket): void {
    if (this.#mode === 'cut') {
      near.destroy()
      far.destroy()
      return
    }
    for (const socket of [near, far]) {
      this.#sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        this.#sockets.delete(socket)
        near.destroy()
        far.destroy()
      })
    }
    this.#carry(near, far).catch(() => far.destroy())
    this.#carry(far, near).catch(() => near.destroy())
  }

  async #carry (from: Socket, to: Socket): Promise<void> {
    // An iterator would destroy the socket at its end, while the other direction still runs.
    for await (const chunk of from.iterator({ destroyOnReturn: false })) {
      if (this.#delay > 0) await wait(this.#delay)
      await this.#whenLoud(from)
      if (!to.write(chunk)) await once(to, 'drain')
    }
    await this.#whenLoud(from)
    to.end()
  }

  async #whenLoud (from: Socket): Promise<void> {
    while (this.#mode === 'silent' || this.#stranded.has(from)) await wait(POLL)
  }
}
