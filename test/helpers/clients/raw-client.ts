import type { Test } from 'tap'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { until } from '../waiting/until.js'

/** A client that writes its own bytes: it can do what HTTP clients are too polite for. */
export class RawClient {
  readonly socket: Socket
  received = ''

  constructor (socket: Socket) {
    this.socket = socket
    socket.setEncoding('latin1')
    socket.on('data', (chunk) => { this.received += String(chunk) })
    // Some tests are about connections that the server resets.
    socket.on('error', () => {})
  }

  send (...lines: string[]): void {
    this.socket.write(lines.join('\r\n') + '\r\n\r\n')
  }

  get (path: string, ...headers: string[]): void {
    this.send(`GET ${path} HTTP/1.1`, 'host: 127.0.0.1', ...headers)
  }

  async see (text: string): Promise<void> {
    await until(() => this.received.includes(text), `the client sees ${JSON.stringify(text)}`)
  }

  vanish (): void {
    this.socket.resetAndDestroy()
  }
}

export async function connectRaw (t: Test, port: number): Promise<RawClient> {
  const socket = connect(port, '127.0.0.1')
  t.teardown(() => socket.destroy())
  await once(socket, 'connect')
  return new RawClient(socket)
}

/** A client that has opened a GET stream, and reads nothing of it. */
export async function openUnreadStream (t: Test, { port }: URL, sessionId: string): Promise<RawClient> {
  const client = await connectRaw(t, Number(port))
  client.get('/mcp', 'accept: text/event-stream', `mcp-session-id: ${sessionId}`)
  await client.see('text/event-stream')
  client.socket.pause()
  return client
}
