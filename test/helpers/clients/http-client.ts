import { once } from 'node:events'
import { Agent, request, type IncomingHttpHeaders, type IncomingMessage } from 'node:http'
import type { Test } from 'tap'
import { until } from '../waiting/until.js'

export const REVISION = '2025-11-25'

export function initialize (id = 1, protocolVersion = REVISION, capabilities: object = {}): object {
  return {
    jsonrpc: '2.0', id, method: 'initialize', params: { protocolVersion, capabilities, clientInfo: { name: 'test', version: '1' } }
  }
}

export function call (id: number | string, name: string, args: object = {}): object {
  return { jsonrpc: '2.0', id, method: 'tools/call', params: { name, arguments: args } }
}

export interface Message {
  id?: unknown
  method?: string
  params?: object
  result?: object
  error?: { code: number, message: string }
}

/** An event of an SSE stream. */
export interface SseEvent {
  readonly id: string | undefined
  /** The message in `data`. Undefined: it is empty. */
  readonly message: Message | undefined
}

/** A response that is still coming in. */
export class Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly raw: IncomingMessage
  text = ''
  ended = false
  /** The connection broke before the end. */
  broken = false

  constructor (raw: IncomingMessage) {
    this.raw = raw
    this.status = raw.statusCode ?? 0
    this.headers = raw.headers
    raw.setEncoding('utf8')
    raw.on('data', (chunk) => { this.text += String(chunk) })
    raw.on('end', () => { this.ended = true })
    raw.on('error', () => { this.broken = true })
  }

  /** The events of a stream. Of a JSON answer each message counts as an event. */
  get events (): SseEvent[] {
    if (!this.isJson) return this.text.split('\n\n').flatMap(parseEvent)
    const body: Message | Message[] = this.ended ? JSON.parse(this.text) : []
    return [body].flat().map((message) => ({ id: undefined, message }))
  }

  get isJson (): boolean {
    return this.headers['content-type']?.startsWith('application/json') === true
  }

  /** The messages, without the events that carry none. */
  get messages (): Message[] {
    return this.events.flatMap(({ message }) => message ?? [])
  }

  async see (text: string): Promise<void> {
    await until(() => this.text.includes(text), `the stream says ${text}, after ${JSON.stringify(this.text)}`)
  }

  async end (): Promise<this> {
    await until(() => this.ended || this.broken, 'the response ends')
    return this
  }

  /** Breaks the connection without a word. */
  vanish (): void {
    this.raw.socket.resetAndDestroy()
  }
}

/** A client of one session, over a real port, that speaks plain HTTP. */
export class HttpClient {
  readonly url: URL
  readonly agent = new Agent({ keepAlive: true })
  sessionId = ''
  headers: Record<string, string> = {}

  constructor (t: Test, url: URL) {
    this.url = url
    t.teardown(() => this.agent.destroy())
  }

  /** Opens a session. */
  async open (protocolVersion = REVISION, capabilities: object = {}): Promise<Answer> {
    const answer = await (await this.post(initialize(1, protocolVersion, capabilities))).end()
    this.sessionId = String(answer.headers['mcp-session-id'])
    return answer
  }

  /** Resolves when the head of the response is here. */
  async post (body: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    return this.send('POST', headers, JSON.stringify(body))
  }

  async get (headers: Record<string, string> = {}): Promise<Answer> {
    return this.send('GET', headers)
  }

  async delete (): Promise<Answer> {
    return this.send('DELETE', {})
  }

  async send (method: string, headers: Record<string, string>, body?: string): Promise<Answer> {
    const outgoing = request(this.url, {
      method,
      agent: this.agent,
      headers: {
        accept: method === 'GET' ? 'text/event-stream' : 'application/json, text/event-stream',
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...(this.sessionId !== '' && { 'mcp-session-id': this.sessionId, 'mcp-protocol-version': REVISION }),
        ...this.headers,
        ...headers
      }
    })
    outgoing.end(body)
    const [response] = await once(outgoing, 'response')
    return new Answer(response)
  }
}

/** A client that has opened a session. To be asked something, it must have said in `initialize` that it is capable of it. */
export async function openSession (t: Test, url: URL, protocolVersion?: string, capabilities?: object): Promise<HttpClient> {
  const client = new HttpClient(t, url)
  await client.open(protocolVersion, capabilities)
  return client
}

function parseEvent (event: string): SseEvent[] {
  const lines = event.split('\n')
  const data = read(lines, 'data')
  if (data === undefined) return []
  return [{ id: read(lines, 'id'), message: data === '' ? undefined : JSON.parse(data) }]
}

function read (lines: string[], field: string): string | undefined {
  return lines.find((line) => line.startsWith(`${field}: `))?.slice(field.length + 2)
}
