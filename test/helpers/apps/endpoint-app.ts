import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import type { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import type { Test } from 'tap'
import mcpSessions, { mcpEndpoint, type McpSessionsOptions } from '../../../index.js'
import type { DualEndpointOptions, SessionEndpointOptions, SharedEndpointOptions } from '../../../lib/endpoint/options.js'
import { listen } from './app.js'
import { ToolServer } from '../mcp-servers/tool-server.js'

export interface EndpointSetup {
  sessions?: McpSessionsOptions
  endpoint?: Partial<SessionEndpointOptions> | DualEndpointOptions
  /** The options of an endpoint that reuses its servers, instead of `endpoint`. */
  shared?: Omit<SharedEndpointOptions, 'createServer' | 'reuseServers'> & Partial<SharedEndpointOptions>
  server?: FastifyServerOptions
  /** Registers what stands in front of the endpoint. */
  before?: (app: FastifyInstance) => void | Promise<void>
}

export interface EndpointApp {
  readonly app: FastifyInstance
  /** The servers that have been made, in their order. */
  readonly servers: ToolServer[]
  /** The server that was made last. */
  server (): ToolServer
  /** Listens on a free port, and resolves to the URL of the endpoint. */
  listen (): Promise<URL>
}

/** An app with an endpoint of tool servers, closed when the test is over. */
export async function buildEndpoint (t: Test, setup: EndpointSetup = {}): Promise<EndpointApp> {
  const app = Fastify(setup.server ?? {})
  const { servers, createServer } = recordServers()
  t.teardown(() => app.close())
  await app.register(mcpSessions, { drainTimeout: 100, ...setup.sessions })
  await setup.before?.(app)
  if (setup.shared === undefined) await app.register(mcpEndpoint, { createServer, ...setup.endpoint })
  else await app.register(mcpEndpoint, { createServer, reuseServers: true, ...setup.shared })
  return {
    app,
    servers,
    server () {
      const last = servers.at(-1)
      if (last === undefined) throw new Error('No server has been made')
      return last
    },
    async listen () {
      return new URL(`http://127.0.0.1:${await listen(app)}/mcp`)
    }
  }
}

/** A `createServer` that makes tool servers and keeps them. */
export function recordServers (): { servers: ToolServer[], createServer: () => McpServer } {
  const servers: ToolServer[] = []
  return {
    servers,
    createServer () {
      const server = new ToolServer()
      servers.push(server)
      return server.mcp
    }
  }
}
