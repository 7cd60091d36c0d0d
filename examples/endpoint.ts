import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import mcpSessions, { mcpEndpoint, type McpSessionsOptions } from '../index.js'
import { buildNotesServer, notesApi } from './notes.js'

export async function buildApp (options: McpSessionsOptions = {}, serverOptions: FastifyServerOptions = {}): Promise<FastifyInstance> {
  const app = Fastify(serverOptions)
  await app.register(mcpSessions, options)
  await app.register(notesApi)
  await app.register(mcpEndpoint, { createServer: buildNotesServer })
  return app
}
