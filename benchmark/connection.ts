import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

export interface Answer {
  status: number
  /** Status line and headers, as they came. */
  head: string
  body: string
}

interface Waiting {
  resolve (answer: Answer): void
  reject (reason: Error): void
}

/**
 * A connection that is kept open, with one request on it at a time. It reads just enough of HTTP to know
 * where an answer ends: the less a load costs, the less it disturbs what is measured.
 */
export class Connection {
  readonly #socket: Socket
  #received = ''
  #waiting: Waiting | undefined

  private constructor (socket: Socket) {
    this.#socket = socket
    socket.setEncoding('latin1')
    socket.on('data', (chunk: string) => this.#read(chunk))
    socket.on('close', () => this.#waiting?.reject(new Error('The server has closed a connection')))
  }

  static async open (url: string): Promise<Connection> {
    const { hostname, port } = new URL(url)
    const socket = connect({ host: hostname, port: Number(port), noDelay: true })
    await once(socket, 'connect')
    return new Connection(socket)
  }

  /** @param request head and body, of characters that are one byte each */
  send (request: string): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (this.#socket.destroyed) {
        reject(new Error('The server has closed a connection'))
        return
      }
      this.#waiting = { resolve, reject }
      this.#socket.write(request, 'latin1')
    })
  }

  close (): void {
    this.#waiting = undefined
    this.#socket.destroy()
  }

  #read (chunk: string): void {
    this.#received += chunk
    const answer = parseAnswer(this.#received)
    if (answer === undefined) return
    const waiting = this.#waiting
    this.#received = ''
    this.#waiting = undefined
    waiting?.resolve(answer)
  }
}

/** Undefined while there is more to come. */
function parseAnswer (text: string): Answer | undefined {
  const end = text.indexOf('\r\n\r\n')
  if (end === -1) return undefined
  const head = text.slice(0, end)
  const rest = text.slice(end + 4)
  const status = Number(head.slice(9, 12))
  if (status === 204) return { status, head, body: '' }
  const length = /\r\ncontent-length: (\d+)/i.exec(head)?.[1]
  const body = length === undefined ? joinChunks(rest) : rest.length < Number(length) ? undefined : rest
  return body === undefined ? undefined : { status, head, body }
}

function joinChunks (text: string): string | undefined {
  let body = ''
  let start = 0
  while (true) {
    const lineEnd = text.indexOf('\r\n', start)
    if (lineEnd === -1) return undefined
    const data = lineEnd + 2
    const size = Number.parseInt(text.slice(start, lineEnd), 16)
    start = data + size + 2
    if (text.length < start) return undefined
    if (size === 0) return body
    body += text.slice(data, data + size)
  }
}
