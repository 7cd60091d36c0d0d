import { setTimeout as wait } from 'node:timers/promises'
import { initialize, readAnswer, send, toolCall } from '../helpers/cluster/cluster.js'
import type { Random } from '../helpers/chance/random.js'
import type { History, Operation } from './history.js'

export interface CountingClientOptions {
  /** Of the nodes, by their indexes. */
  urls: readonly URL[]
  /** The index of the node that a request goes to. */
  pickNode: () => number
  history: History
  random: Random
  /** Milliseconds between two calls, on average. */
  pace: number
  /** Milliseconds after which the client gives up on an answer. */
  patience: number
}

interface Asked {
  kind: Operation['kind']
  node: number
  message?: object
}

/** Calls the counter of its session again and again, each time at another node, and writes down what comes of it. */
export class CountingClient {
  /** Empty: it will open one. */
  session = ''
  readonly #options: CountingClientOptions
  #restingUntil = 0

  constructor (options: CountingClientOptions) {
    this.#options = options
  }

  async run (signal: AbortSignal): Promise<void> {
    const { random, pace } = this.#options
    while (!signal.aborted) {
      if (performance.now() >= this.#restingUntil) await this.#step()
      await wait(pace / 2 + random.below(pace))
    }
  }

  /** Sends nothing of its own accord for some milliseconds. */
  rest (ms: number): void {
    this.#restingUntil = performance.now() + ms
  }

  async open (): Promise<void> {
    const { pickNode } = this.#options
    const node = pickNode()
    const sent = performance.now()
    const opening: Operation = { kind: 'open', session: '', node, sent, over: sent, status: undefined }
    try {
      const response = await send(this.#url(node), initialize(), {}, this.#deadline())
      opening.status = response.status
      opening.said = await response.text()
      if (response.ok) opening.session = response.headers.get('mcp-session-id') ?? ''
    } catch {
      opening.status = undefined
    }
    this.#note(opening)
    if (opening.session === '') return
    this.session = opening.session
    await this.#ask(opening.session, { kind: 'notify', node: pickNode(), message: { jsonrpc: '2.0', method: 'notifications/initialized' } })
  }

  /** Counts at that node, and returns what came of it. Of a session that is unknown it lets go. */
  async count (node = this.#options.pickNode()): Promise<Operation> {
    const { session } = this
    const operation = await this.#ask(session, { kind: 'count', node, message: toolCall('tally') })
    if (operation.status === 404) this.#forget(session)
    return operation
  }

  /** Counts at every node and ends the session in the midst of it. */
  async endAmongCalls (): Promise<void> {
    const { session } = this
    const { urls, pickNode } = this.#options
    this.#forget(session)
    if (session === '') return
    const count = (node: number): Promise<Operation> => this.#ask(session, { kind: 'count', node, message: toolCall('tally') })
    await Promise.all([...urls.map((_url, node) => count(node)), this.#ask(session, { kind: 'delete', node: pickNode() })])
    // It must be gone by now, if the answer was yes.
    await Promise.all(urls.map((_url, node) => count(node)))
  }

  async end (node = this.#options.pickNode()): Promise<Operation> {
    const { session } = this
    this.#forget(session)
    return this.#ask(session, { kind: 'delete', node })
  }

  async #step (): Promise<void> {
    const { random } = this.#options
    if (this.session === '') return this.open()
    const dice = random.below(100)
    if (dice < 1) await this.end()
    else if (dice < 2) await this.endAmongCalls()
    else if (dice < 15) await Promise.all([this.count(), this.count()])
    else await this.count()
  }

  async #ask (session: string, { kind, node, message }: Asked): Promise<Operation> {
    const sent = performance.now()
    const operation: Operation = { kind, session, node, sent, over: sent, status: undefined }
    const headers = { 'mcp-session-id': session }
    try {
      const response = kind === 'delete'
        ? await fetch(this.#url(node), { method: 'DELETE', headers, signal: this.#deadline() })
        : await send(this.#url(node), message, headers, this.#deadline())
      operation.said = await response.text()
      operation.status = response.status
      if (kind === 'count' && response.ok) Object.assign(operation, readCount(operation.said))
    } catch {
      operation.status = undefined
    }
    this.#note(operation)
    return operation
  }

  #note (operation: Operation): void {
    operation.over = performance.now()
    operation.said = operation.status === 200 ? undefined : operation.said?.slice(0, 500)
    this.#options.history.operations.push(operation)
  }

  #forget (session: string): void {
    if (this.session === session) this.session = ''
  }

  #url (node: number): URL {
    const url = this.#options.urls[node]
    if (url === undefined) throw new Error(`There is no node ${node}`)
    return url
  }

  #deadline (): AbortSignal {
    return AbortSignal.timeout(this.#options.patience)
  }
}

// An answer can also be an error of JSON-RPC, when the session ended while the call ran.
function readCount (body: string): { count: number, instance: string } | undefined {
  if (!body.includes('"result"')) return undefined
  const answer = readAnswer(body)
  if (typeof answer !== 'object' || answer === null || !('count' in answer) || !('instance' in answer)) return undefined
  return { count: Number(answer.count), instance: String(answer.instance) }
}
