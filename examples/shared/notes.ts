import type { FastifyInstance } from 'fastify'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { setTimeout as wait } from 'node:timers/promises'
import { z } from 'zod'

// They are kept in memory, so each process has its own.
const notes: string[] = ['Sessions end when nobody uses them.']

export interface NotesApiOptions {
  /** False: a load balancer should send no more requests. Default: always true. */
  isReady?: () => boolean
}

/** A REST API as it was before MCP was added. */
export async function notesApi (app: FastifyInstance, { isReady = () => true }: NotesApiOptions): Promise<void> {
  app.get('/notes', async () => notes)

  app.get<{ Params: { index: number } }>('/notes/:index', {
    schema: { params: { type: 'object', properties: { index: { type: 'integer', minimum: 0 } } } }
  }, async (request, reply) => {
    return notes[request.params.index] ?? reply.code(404).send({ message: 'No such note' })
  })

  app.post<{ Body: { text: string } }>('/notes', {
    schema: { body: { type: 'object', required: ['text'], properties: { text: { type: 'string' } } } }
  }, async (request, reply) => {
    notes.push(request.body.text)
    return reply.code(201).send({ index: notes.length - 1 })
  })

  app.get('/health', { logLevel: 'warn' }, async (_request, reply) => {
    const activeSessions = app.sessionManager.getActiveSessionCount()
    const readiness = app.mcp.readiness()
    if (!isReady()) return reply.code(503).send({ status: 'stopping', activeSessions })
    return readiness.isReady ? { status: 'ok', activeSessions } : reply.code(503).send({ status: readiness.reason, activeSessions })
  })
}

/** The same notes for MCP clients: one server for each session. */
export function buildNotesServer (): McpServer {
  const server = new McpServer({ name: 'notes', version: '1.0.0' })

  server.registerTool('list_notes', { description: 'All notes' }, async () => text(notes.join('\n')))

  server.registerTool('add_note', {
    description: 'Adds a note',
    inputSchema: { text: z.string() }
  }, async ({ text: note }) => text(`Note ${notes.push(note) - 1} added`))

  server.registerTool('count_down', {
    description: 'Takes its time, and says how far it is',
    inputSchema: { seconds: z.number().min(0).max(60) }
  }, async ({ seconds }, { _meta, sendNotification, signal }) => {
    for (let left = seconds; left > 0; left--) {
      await wait(Math.min(left, 1) * 1000, undefined, { signal })
      if (_meta?.progressToken === undefined) continue
      await sendNotification({
        method: 'notifications/progress',
        params: { progressToken: _meta.progressToken, progress: seconds - left + 1, total: seconds }
      })
    }
    return text('Lift-off')
  })

  return server
}

function text (value: string): { content: [{ type: 'text', text: string }] } {
  return { content: [{ type: 'text', text: value }] }
}
