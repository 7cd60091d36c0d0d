/** What `connect()` needs of a client: that of either SDK has it. */
export interface ConnectableClient {
  connect (transport: object): Promise<void>
  close (): Promise<void>
}

/**
 * What the client that `connect()` makes can be asked for. It is a `Client` of the SDK that is installed, and can more
 * than is typed here: hand in a client of your own for its whole type.
 */
export interface TestClient extends ConnectableClient {
  callTool (params: { name: string, arguments?: Record<string, unknown> }): Promise<{ [key: string]: unknown }>
  listTools (): Promise<{ tools: Array<{ name: string }> }>
  getPrompt (params: { name: string, arguments?: Record<string, string> }): Promise<{ messages: Array<{ role: string }> }>
  listPrompts (): Promise<{ prompts: Array<{ name: string }> }>
  readResource (params: { uri: string }): Promise<{ contents: Array<{ uri: string }> }>
  listResources (): Promise<{ resources: Array<{ uri: string, name: string }> }>
}
