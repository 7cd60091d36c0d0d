import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import mcpSessions, { mcpEndpoint, type McpSessionsOptions } from 'fastify-mcp-sessions'
import { buildNotesServer, notesApi, type NotesApiOptions } from './notes.js'

/** The app of server.ts and prometheus.ts: the notes as a REST API, and the same for MCP clients. */
export async function buildApp (
  options: McpSessionsOptions = {}, serverOptions: FastifyServerOptions = {}, notes: NotesApiOptions = {}
): Promise<FastifyInstance> {
  const app = Fastify(serverOptions)
  await app.register(mcpSessions, options)
  await app.register(notesApi, notes)
  await app.register(mcpEndpoint, { createServer: buildNotesServer })
  return app
}
