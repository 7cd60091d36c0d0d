/** What `connect()` needs of a client: that of either SDK has it. */
export interface ConnectableClient {
  /** Opens a session over the transport, or goes on with one. */
  connect (transport: object): Promise<void>
  /** Ends its streams. The session stays. */
  close (): Promise<void>
}

/**
 * What the client that `connect()` makes can be asked for. It is a `Client` of the SDK that is installed, and can more
 * than is typed here: hand in a client of your own for its whole type.
 */
export interface TestClient extends ConnectableClient {
  /** `tools/call` */
  callTool (params: { name: string, arguments?: Record<string, unknown> }): Promise<{ [key: string]: unknown }>
  /** `tools/list` */
  listTools (): Promise<{ tools: Array<{ name: string }> }>
  /** `prompts/get` */
  getPrompt (params: { name: string, arguments?: Record<string, string> }): Promise<{ messages: Array<{ role: string }> }>
  /** `prompts/list` */
  listPrompts (): Promise<{ prompts: Array<{ name: string }> }>
  /** `resources/read` */
  readResource (params: { uri: string }): Promise<{ contents: Array<{ uri: string }> }>
  /** `resources/list` */
  listResources (): Promise<{ resources: Array<{ uri: string, name: string }> }>
}
