import { once } from 'node:events'
import { Agent, request, type ClientRequest, type IncomingMessage } from 'node:http'
import { setTimeout as wait } from 'node:timers/promises'
import type { Random } from '../helpers/chance/random.js'

export interface SoakClientOptions {
  readonly name: string
  /** Of the nodes that serve the same sessions. */
  readonly urls: readonly URL[]
  readonly random: Random
  /** Milliseconds after which, with nothing from its client, a session is parked. */
  readonly parkAfter: number
  /** Called with what has come of each request. */
  readonly onOutcome: (outcome: Outcome) => void
}

export interface Outcome {
  readonly what: string
  /** Undefined: the client has gone before the answer. */
  readonly status: number | undefined
  /** What is wrong with the answer. */
  readonly complaint?: string | undefined
}

interface Reply {
  readonly status: number
  readonly text: string
  readonly sessionId: string | undefined
}

const REVISION = '2025-11-25'
const MOST_STEPS = 10
// Milliseconds between two steps, at most.
const PACE = 200
const PATIENCE = 30_000

/** A client as in real life: it comes, calls, listens, vanishes half way, returns after a while, and hardly ever says goodbye. */
export class SoakClient {
  readonly #options: SoakClientOptions
  #agent = new Agent({ keepAlive: true })
  #session = ''
  #count = 0

  constructor (options: SoakClientOptions) {
    this.#options = options
  }

  async run (signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#live(signal)
      } catch (error) {
        this.#options.onOutcome({ what: 'failure', status: undefined, complaint: String(error) })
      }
      // Whatever is still open breaks.
      this.#session = ''
      this.#agent.destroy()
      this.#agent = new Agent({ keepAlive: true })
      await this.#pause(PACE)
    }
  }

  async #live (signal: AbortSignal): Promise<void> {
    const { random } = this.#options
    await this.#open()
    const steps = random.below(MOST_STEPS)
    for (let step = 0; step < steps && this.#session !== '' && !signal.aborted; step++) {
      await this.#step()
      await this.#pause(PACE)
    }
    if (this.#session !== '' && random.below(5) === 0) this.#note('delete', await this.#send('DELETE'))
  }

  async #step (): Promise<void> {
    const { random, parkAfter } = this.#options
    const dice = random.below(100)
    if (dice < 50) await this.#call('echo')
    else if (dice < 60) await Promise.all([this.#call('echo'), this.#call('slow', { ms: random.below(100) })])
    else if (dice < 70) await this.#call('tell')
    else if (dice < 80) await this.#listen()
    else if (dice < 90) await this.#vanish()
    else await wait(parkAfter * 2)
  }

  async #open (): Promise<void> {
    const reply = await this.#post('initialize', { protocolVersion: REVISION, capabilities: {}, clientInfo: { name: this.#options.name, version: '1' } })
    this.#note('open', reply, reply.status === 200 && reply.sessionId === undefined ? 'no session id' : undefined)
    this.#session = reply.sessionId ?? ''
    if (this.#session !== '') this.#note('initialized', await this.#send('POST', '{"jsonrpc":"2.0","method":"notifications/initialized"}'))
  }

  async #call (name: string, args: object = {}): Promise<void> {
    const text = `${this.#options.name}/${++this.#count}`
    const reply = await this.#post('tools/call', { name, arguments: { text, ...args } })
    const isGood = reply.status !== 200 || reply.text.includes(`"text":"${text}"`)
    // One that had to make room for another while its call ran: the call is told so, and the next gets 404.
    const hasEnded = reply.text.includes('"Session closed"')
    this.#note(name, reply, isGood || hasEnded ? undefined : `not ${text}: ${reply.text}`)
  }

  /** A stream that stays open until something ends it, or the client goes. */
  async #listen (): Promise<void> {
    const response = await this.#head('GET')
    this.#note('listen', { status: response.statusCode ?? 0, text: '', sessionId: undefined })
    response.on('error', () => {})
    response.resume()
  }

  /** The connection goes while a call is running. */
  async #vanish (): Promise<void> {
    const { random, onOutcome } = this.#options
    const body = JSON.stringify({ jsonrpc: '2.0', id: ++this.#count, method: 'tools/call', params: { name: 'slow', arguments: { text: 'gone', ms: random.below(500) } } })
    const outgoing = this.#request('POST', body)
    outgoing.on('error', () => {})
    outgoing.on('response', (response) => { response.on('error', () => {}) })
    outgoing.end(body)
    await this.#pause(100)
    outgoing.destroy()
    onOutcome({ what: 'vanish', status: undefined })
  }

  #post (method: string, params: object): Promise<Reply> {
    return this.#send('POST', JSON.stringify({ jsonrpc: '2.0', id: ++this.#count, method, params }))
  }

  async #send (method: string, body?: string): Promise<Reply> {
    const response = await this.#head(method, body)
    let text = ''
    response.setEncoding('utf8')
    for await (const chunk of response) text += String(chunk)
    const sessionId = response.headers['mcp-session-id']
    return { status: response.statusCode ?? 0, text, sessionId: typeof sessionId === 'string' ? sessionId : undefined }
  }

  async #head (method: string, body?: string): Promise<IncomingMessage> {
    const outgoing = this.#request(method, body)
    if (method !== 'GET') outgoing.setTimeout(PATIENCE, () => outgoing.destroy(new Error(`No answer to ${method} ${body}`)))
    outgoing.end(body)
    try {
      const [response] = await once(outgoing, 'response')
      return response
    } catch (error) {
      // The server has ended a connection on which nothing was said, just when it was used again: so it is with HTTP.
      if (outgoing.reusedSocket && error instanceof Error && 'code' in error && error.code === 'ECONNRESET') return this.#head(method, body)
      throw error
    }
  }

  #request (method: string, body?: string): ClientRequest {
    const { random, urls, name } = this.#options
    const url = random.pick(urls)
    if (url === undefined) throw new Error('There is no server')
    return request(url, {
      method,
      agent: this.#agent,
      headers: {
        accept: method === 'GET' ? 'text/event-stream' : 'application/json, text/event-stream',
        authorization: name,
        ...(body !== undefined && { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }),
        ...(this.#session !== '' && { 'mcp-session-id': this.#session, 'mcp-protocol-version': REVISION })
      }
    })
  }

  // A session that had to make room is no fault: its client opens another.
  #note (what: string, { status, text }: Reply, complaint?: string): void {
    if (status === 404) this.#session = ''
    const isExpected = status === 200 || status === 202 || status === 404
    this.#options.onOutcome({ what, status, complaint: complaint ?? (isExpected ? undefined : `${status}: ${text}`) })
  }

  async #pause (most: number): Promise<void> {
    await wait(this.#options.random.below(most))
  }
}
