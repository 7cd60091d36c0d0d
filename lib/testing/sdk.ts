import { isMissingPackage } from '../base/missing-package.js'
import type { ConnectableClient, TestClient } from './test-client.js'

export interface TransportOptions {
  readonly fetch: typeof fetch
  readonly requestInit: { readonly headers: Record<string, string> }
  readonly sessionId?: string
}

/** What the client of the test kit calls itself. */
export const CLIENT_INFO = { name: 'fastify-mcp-sessions/testing', version: '1.0.0' }

/** A client of SDK 1 or, where that is not installed, of SDK 2. */
export async function createClient (): Promise<TestClient> {
  return firstInstalled([createClient1, createClient2])
}

export async function createClient1 (): Promise<TestClient> {
  const { Client } = await import('@modelcontextprotocol/sdk/client/index.js')
  return new Client(CLIENT_INFO)
}

export async function createClient2 (): Promise<TestClient> {
  const { Client } = await import('@modelcontextprotocol/client')
  return new Client(CLIENT_INFO)
}

/**
 * The first client whose package is installed.
 *
 * @throws Error that says what to install, when none is
 */
export async function firstInstalled<T> ([create, ...others]: ReadonlyArray<() => Promise<T>>): Promise<T> {
  if (create === undefined) {
    throw new Error('Install @modelcontextprotocol/sdk or @modelcontextprotocol/client: connect() makes a client of theirs')
  }
  try {
    return await create()
  } catch (error) {
    if (isMissingPackage(error)) return firstInstalled(others)
    throw error
  }
}

/** The transport for the client, of the same SDK. */
export async function createTransport (client: ConnectableClient, url: URL, options: TransportOptions): Promise<object> {
  // Not by its class: an SDK that is both imported and required has two of each.
  const { StreamableHTTPClientTransport: Transport } = 'getProtocolEra' in client
    ? await import('@modelcontextprotocol/client')
    : await import('@modelcontextprotocol/sdk/client/streamableHttp.js')
  return new Transport(url, options)
}
