import type { SessionState } from '../http/session-cluster.js'
import { isInitializeParams, type InitializeParams } from './initialize.js'
import { isRequest, type JSONRPCMessage } from './transport/json-rpc.js'

type Message = JSONRPCMessage & { readonly method: string }
type Params = Readonly<Record<string, unknown>> | undefined

// RFC 5424, section 6.2.1, under the names that MCP gives them.
const LOG_LEVELS: readonly unknown[] = ['debug', 'info', 'notice', 'warning', 'error', 'critical', 'alert', 'emergency']

export interface SetupBounds {
  /** How many bytes are kept in all. */
  readonly maxBytes: number
  /** Called for each subscription that is forgotten. */
  readonly onForget: () => void
}

/**
 * What a client has said to set its session up, so that it can be said again to
 * another server: its `initialize`, its log level and its subscriptions. When
 * these are too many to keep, the oldest subscriptions are forgotten.
 */
export class ClientSetup {
  readonly #path: string
  readonly #bounds: SetupBounds
  readonly #subscriptions: Set<string>
  // Bytes that the subscriptions take.
  #subscribed = 0
  #initialize: InitializeParams | undefined
  #initialized: boolean
  #logLevel: string | undefined

  /** @param path at which the session was opened */
  constructor (path: string, bounds: SetupBounds, state: SessionState = {}) {
    const { initialize, initialized, logLevel, subscriptions } = state
    this.#path = path
    this.#bounds = bounds
    this.#initialize = isInitializeParams(initialize) ? initialize : undefined
    this.#initialized = initialized === true
    this.#logLevel = typeof logLevel === 'string' ? logLevel : undefined
    this.#subscriptions = new Set(Array.isArray(subscriptions) ? subscriptions.map(String) : [])
    for (const uri of this.#subscriptions) this.#subscribed += sizeOf(uri)
  }

  /** The setup of a session that is to be brought back at this path; undefined if it belongs elsewhere. */
  static restore (state: SessionState | undefined, path: string, bounds: SetupBounds): ClientSetup | undefined {
    if (state === undefined || state['path'] !== path || !isInitializeParams(state['initialize'])) return undefined
    return new ClientSetup(path, bounds, state)
  }

  hasSubscribed (uri: string): boolean {
    return this.#subscriptions.has(uri)
  }

  /** Takes note of a message from the client, and returns whether it changed anything. */
  observe (message: JSONRPCMessage): boolean {
    if (!('method' in message)) return false
    switch (message.method) {
      case 'initialize':
        // Only the first in a session: a later one is the replay for a new server, or is refused.
        if (this.#initialize !== undefined || !isInitializeParams(message.params)) return false
        this.#initialize = message.params
        return true
      case 'notifications/initialized':
        if (this.#initialized || isRequest(message)) return false
        this.#initialized = true
        return true
      case 'logging/setLevel':
        return this.#changeLogLevel(readString(message.params, 'level'))
      case 'resources/subscribe':
        return this.#changeSubscription(message.params, true)
      case 'resources/unsubscribe':
        return this.#changeSubscription(message.params, false)
      default:
        return false
    }
  }

  toState (): SessionState {
    return {
      path: this.#path,
      initialize: this.#initialize,
      initialized: this.#initialized,
      logLevel: this.#logLevel,
      subscriptions: Array.from(this.#subscriptions)
    }
  }

  /** The messages that bring a new server to where the last one was, in their order. */
  * messages (): Generator<Message> {
    let id = 0
    const request = (method: string, params: Record<string, unknown>): Message => ({
      jsonrpc: '2.0', id: `restore-${++id}`, method, params
    })
    if (this.#initialize !== undefined) yield request('initialize', { ...this.#initialize })
    if (this.#initialized) yield { jsonrpc: '2.0', method: 'notifications/initialized' }
    if (this.#logLevel !== undefined) yield request('logging/setLevel', { level: this.#logLevel })
    for (const uri of this.#subscriptions) yield request('resources/subscribe', { uri })
  }

  // A level that does not exist is refused by the server, and changes nothing.
  #changeLogLevel (level: string | undefined): boolean {
    if (level === this.#logLevel || !LOG_LEVELS.includes(level)) return false
    this.#logLevel = level
    return true
  }

  #changeSubscription (params: Params, subscribe: boolean): boolean {
    const uri = readString(params, 'uri')
    if (uri === undefined || this.#subscriptions.has(uri) === subscribe) return false
    if (subscribe && sizeOf(uri) > this.#room()) {
      this.#bounds.onForget()
      return false
    }
    if (subscribe) this.#subscribe(uri)
    else this.#unsubscribe(uri)
    return true
  }

  #subscribe (uri: string): void {
    this.#subscriptions.add(uri)
    this.#subscribed += sizeOf(uri)
    const room = this.#room()
    for (const oldest of this.#subscriptions) {
      if (this.#subscribed <= room) break
      this.#unsubscribe(oldest)
      this.#bounds.onForget()
    }
  }

  #unsubscribe (uri: string): void {
    this.#subscriptions.delete(uri)
    this.#subscribed -= sizeOf(uri)
  }

  // Bytes that are left for subscriptions, besides `initialize`.
  #room (): number {
    return this.#bounds.maxBytes - Buffer.byteLength(JSON.stringify(this.#initialize ?? {}))
  }
}

// Bytes of a subscription as it is kept: in a list, as JSON, where a character can take six bytes.
function sizeOf (uri: string): number {
  return Buffer.byteLength(JSON.stringify(uri)) + 1
}

function readString (params: Params, key: string): string | undefined {
  const value = params?.[key]
  return typeof value === 'string' ? value : undefined
}
