// The parts of an SDK 1 that a test of it needs. Its types changed with its versions, so they are looked at, not trusted.

export interface OldClient {
  connect (transport: OldTransport): Promise<void>
  close (): Promise<void>
  ping (): Promise<unknown>
  listTools (): Promise<{ tools: Array<{ name: string }> }>
  callTool (params: object, resultSchema?: undefined, options?: { onprogress?: (progress: { progress: number }) => void }): Promise<{ content: Array<{ text?: string }> }>
  setRequestHandler (schema: unknown, handler: () => Promise<object>): void
  setNotificationHandler (schema: unknown, handler: (notification: { params: { data: unknown } }) => void): void
}

export interface OldTransport {
  readonly sessionId?: string | undefined
  terminateSession (): Promise<void>
}

export interface OldSdk {
  readonly Client: new (info: object, options: object) => OldClient
  readonly StreamableHTTPClientTransport: new (url: URL) => OldTransport
  readonly schemas: {
    readonly LATEST_PROTOCOL_VERSION: string
    readonly LoggingMessageNotificationSchema: unknown
    readonly CreateMessageRequestSchema: unknown
    /** Since 1.12. */
    readonly ElicitRequestSchema?: unknown
  }
}

/** @param name under which it is installed */
export async function loadSdk (name: string): Promise<OldSdk> {
  const [client, transport, schemas]: object[] = await Promise.all(
    ['client/index.js', 'client/streamableHttp.js', 'types.js'].map((path) => import(`${name}/${path}`)))
  const sdk = { ...client, ...transport, schemas }
  if (!isSdk(sdk)) throw new Error(`${name} is no SDK`)
  return sdk
}

function isSdk (value: object): value is OldSdk {
  return typeof Reflect.get(value, 'Client') === 'function' && typeof Reflect.get(value, 'StreamableHTTPClientTransport') === 'function'
}
