import { isInitializedNotification, isInitializeRequest, LoggingLevelSchema, type InitializeRequest, type JSONRPCMessage } from '@modelcontextprotocol/sdk/types.js'
import type { SessionState } from '../http/session-cluster.js'

type Message = JSONRPCMessage & { readonly method: string }
type Params = Readonly<Record<string, unknown>> | undefined

// Of the URIs that a session is subscribed to, in characters: a client may ask for more and more of them.
const MAX_SUBSCRIBED = 65_536

/**
 * What a client has said to set its session up, so that it can be said again to
 * another server: how it initialized, its log level and its subscriptions. Of
 * those the oldest are forgotten when they are too many to keep.
 */
export class ClientSetup {
  readonly #path: string
  readonly #onForget: () => void
  readonly #subscriptions: Set<string>
  #subscribed = 0
  #initialize: InitializeRequest['params'] | undefined
  #initialized: boolean
  #logLevel: string | undefined

  /**
   * @param path of the endpoint that the session belongs to
   * @param onForget called for each subscription that is forgotten
   */
  constructor (path: string, onForget: () => void, state: SessionState = {}) {
    const { initialize, initialized, logLevel, subscriptions } = state
    this.#path = path
    this.#onForget = onForget
    this.#initialize = readParams(initialize)
    this.#initialized = initialized === true
    this.#logLevel = typeof logLevel === 'string' ? logLevel : undefined
    this.#subscriptions = new Set(Array.isArray(subscriptions) ? subscriptions.map(String) : [])
    for (const uri of this.#subscriptions) this.#subscribed += uri.length
  }

  /** The handshake of a session that is to be brought back at this path; undefined if it belongs elsewhere. */
  static restore (path: string, onForget: () => void, state: SessionState | undefined): ClientSetup | undefined {
    if (state === undefined || state['path'] !== path || readParams(state['initialize']) === undefined) return undefined
    return new ClientSetup(path, onForget, state)
  }

  /** Takes note of a message from the client, and returns whether it changed anything. */
  observe (message: JSONRPCMessage): boolean {
    if (!('method' in message)) return false
    switch (message.method) {
      case 'initialize':
        // Once in a session: what comes later is the replay, or is refused.
        if (this.#initialize !== undefined || !isInitializeRequest(message)) return false
        this.#initialize = message.params
        return true
      case 'notifications/initialized':
        if (this.#initialized || !isInitializedNotification(message)) return false
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

  // A level that the server refuses leaves the last one as it was.
  #changeLogLevel (level: string | undefined): boolean {
    if (level === this.#logLevel || !LoggingLevelSchema.safeParse(level).success) return false
    this.#logLevel = level
    return true
  }

  #changeSubscription (params: Params, subscribe: boolean): boolean {
    const uri = readString(params, 'uri')
    if (uri === undefined || this.#subscriptions.has(uri) === subscribe) return false
    if (subscribe && uri.length > MAX_SUBSCRIBED) {
      this.#onForget()
      return false
    }
    if (subscribe) this.#subscribe(uri)
    else this.#unsubscribe(uri)
    return true
  }

  #subscribe (uri: string): void {
    this.#subscriptions.add(uri)
    this.#subscribed += uri.length
    for (const oldest of this.#subscriptions) {
      if (this.#subscribed <= MAX_SUBSCRIBED) break
      this.#unsubscribe(oldest)
      this.#onForget()
    }
  }

  #unsubscribe (uri: string): void {
    this.#subscriptions.delete(uri)
    this.#subscribed -= uri.length
  }
}

function readParams (params: unknown): InitializeRequest['params'] | undefined {
  const message: unknown = { method: 'initialize', params }
  return isInitializeRequest(message) ? message.params : undefined
}

function readString (params: Params, key: string): string | undefined {
  const value = params?.[key]
  return typeof value === 'string' ? value : undefined
}
