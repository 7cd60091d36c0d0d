import type { FastifyInstance } from 'fastify'
import { checkNames, refuse } from '../base/option-checks.js'
import { requirePluginContext } from '../http/plugin-context.js'
import { PRINCIPAL_HEADER, vouchFor } from '../http/stand-in.js'
import { injectFetch } from './inject-fetch.js'
import { createClient, createTransport } from './sdk.js'
import { serveSession } from './serve-session.js'
import type { ConnectableClient, TestClient } from './test-client.js'

/** The options of `connect()`. */
export interface ConnectOptions<C extends ConnectableClient = TestClient> {
  /**
   * A client of your own, of either SDK, that is not connected yet.
   *
   * @default a new one of `@modelcontextprotocol/sdk` or, if that is not installed, of `@modelcontextprotocol/client`
   */
  client?: C | undefined
  /**
   * Where the endpoint is.
   *
   * @default '/mcp'
   */
  path?: string | undefined
  /**
   * Who is calling: stands in for what `identify` would say. Hooks that ask for a token still do: give them one in
   * `headers`, and leave this out.
   */
  principal?: string | undefined
  /** Headers of every request, such as `authorization`. */
  headers?: Readonly<Record<string, string>> | undefined
  /**
   * A session that is there already, such as one of `app.sessionManager.create()`.
   *
   * @default the client opens one
   */
  sessionId?: string | undefined
}

const NAMES = ['client', 'path', 'principal', 'headers', 'sessionId']

/**
 * Connects a client of the SDK to an MCP endpoint of the app, without a port. It is closed with the app, or before it
 * with `client.close()`.
 *
 * @throws TypeError that names the option which is wrong; what the client throws when it is turned away
 * @example
 * ```ts
 * const client = await connect(app, { principal: 'ann' })
 * const { content } = await client.callTool({ name: 'hello' })
 * ```
 */
export function connect<C extends ConnectableClient> (app: FastifyInstance, options: ConnectOptions<C> & { client: C }): Promise<C>
export function connect (app: FastifyInstance, options?: ConnectOptions): Promise<TestClient>
export async function connect (app: FastifyInstance, options: ConnectOptions<ConnectableClient> = {}): Promise<ConnectableClient> {
  checkNames(options, NAMES)
  const { path = '/mcp', principal, headers, sessionId } = options
  if (typeof path !== 'string' || !path.startsWith('/')) refuse('path', 'a string that starts with /', path)
  await app.ready()
  if (sessionId !== undefined) serveSession(app, sessionId, { path })
  const client = options.client ?? await createClient()
  const transport = await createTransport(client, new URL(path, 'http://localhost'), {
    fetch: injectFetch(app),
    requestInit: { headers: { ...headers, ...(principal !== undefined && { [PRINCIPAL_HEADER]: vouchFor(principal) }) } },
    ...(sessionId !== undefined && { sessionId })
  })
  await client.connect(transport)
  // Closed with the app: otherwise it would try to open its stream again and again after that.
  requirePluginContext(app).shutdown.add({ settle: () => client.close() })
  return client
}
