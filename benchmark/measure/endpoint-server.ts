// A server process: the same three tools behind one of the endpoints that are compared.
import type { FastifyInstance } from 'fastify'
import type { CreateServer, TelemetryOptions } from '../../index.js'
import { built } from '../built.js'
import { answer } from './answer.js'
import { mountBare, mountBareServer } from './bare.js'
import { mountByHand, mountFastifyMcp, mountPlatformaticMcp } from './peers.js'
import { createApp, serve } from './serve.js'
import { StubServer } from './stub-server.js'
import { setUpTelemetry } from './telemetry.js'
import { createLeanServer, createServer, createServerAround } from './tools.js'

const [, , kind, mode, variant] = process.argv
const create = variant === 'shared' ? createLeanServer : createServer
const app = createApp()
await mount(app)
await serve([app], '/mcp')

async function mount (app: FastifyInstance): Promise<void> {
  switch (kind) {
    case 'endpoint': return mountEndpoint(app, create)
    case 'telemetry': {
      const { telemetry, around } = setUpTelemetry(variant, app.server)
      return mountEndpoint(app, around === undefined ? create : () => createServerAround(around), telemetry)
    }
    case 'stub': return mountEndpoint(app, () => new StubServer())
    case 'by-hand': return mountByHand(app, mode, create)
    case 'fastify-mcp': return mountFastifyMcp(app)
    case 'platformatic-mcp': return mountPlatformaticMcp(app)
    case 'bare': return mountBare(app, (params) => answer({ method: 'tools/call', params }))
    case 'bare-server': return mountBareServer(app, create)
    default: throw new Error(`There is no ${kind}`)
  }
}

async function mountEndpoint (app: FastifyInstance, createServer: () => ReturnType<CreateServer>, telemetry: TelemetryOptions | false = false): Promise<void> {
  if (mode !== 'sse' && mode !== 'auto') throw new Error(`There is no mode ${mode}`)
  const responseMode: 'sse' | 'auto' = mode
  const options = { createServer, responseMode }
  await app.register(built.mcpSessions, { maxSessions: 100_000, telemetry })
  if (variant === 'reused') await app.register(built.mcpEndpoint, { ...options, reuseServers: 100_000 })
  else await app.register(built.mcpEndpoint, options)
}
