// The page with a scripted state, for what a real app cannot be brought to at will: nodes that are gone, a server that
// fails, an hour that has passed.
import Fastify, { type FastifyReply } from 'fastify'
import type { Test } from 'tap'
import type { DashboardState } from '../../lib/dashboard/index.js'
import { PROTECTION, readPage } from '../../lib/dashboard/page.js'
import { listen } from '../helpers/apps/app.js'

export type Row = DashboardState['sessions']['rows'][number]

export interface ScriptedServer {
  readonly url: string
  /** Sessions that were to be ended. */
  readonly ended: string[]
  /** What `state`, `events` and `end` are answered with; 200 is what they should be. */
  status: number
  /** How many streams are open. */
  readonly streams: number
  say (state: DashboardState): void
  /** Cuts the streams off. */
  cut (): void
}

export async function serveScript (t: Test, first: DashboardState): Promise<ScriptedServer> {
  const app = Fastify({ forceCloseConnections: true })
  t.teardown(() => app.close())
  const streams = new Set<FastifyReply>()
  let state = first
  const server = {
    url: '',
    ended: new Array<string>(),
    status: 200,
    get streams () { return streams.size },
    say (next: DashboardState): void {
      state = next
      for (const reply of streams) write(reply)
    },
    cut (): void {
      for (const reply of streams) reply.raw.destroy()
    }
  }
  const write = (reply: FastifyReply): void => { reply.raw.write(`event: state\ndata: ${JSON.stringify(state)}\n\n`) }

  for (const { path, headers, body } of await readPage()) {
    app.get(`/sessions${path}`, (_request, reply) => reply.headers({ ...PROTECTION, ...headers }).send(body))
  }
  app.get('/sessions/state', (_request, reply) => reply.code(server.status).send(server.status === 200 ? state : {}))
  app.get('/sessions/events', (_request, reply) => {
    if (server.status !== 200) {
      reply.code(server.status).send()
      return
    }
    reply.hijack()
    reply.raw.writeHead(200, { 'content-type': 'text/event-stream' })
    reply.raw.on('close', () => streams.delete(reply))
    streams.add(reply)
    write(reply)
  })
  app.post<{ Params: { hash: string } }>('/sessions/sessions/:hash/end', (request, reply) => {
    server.ended.push(request.params.hash)
    if (server.status === 200) return reply.code(204).send()
    return reply.code(server.status).send({ error: 'FAILED', message: 'The node of the session does not answer' })
  })
  server.url = `http://127.0.0.1:${await listen(app)}/sessions/`
  return server
}

/** @param count of sessions, the longest idle last */
export function makeState (count: number, rest: Partial<DashboardState> = {}): DashboardState {
  const rows = Array.from({ length: count }, (_, index) => makeRow(index, { node: rest.node ?? '' }))
  return {
    at: Date.now(),
    node: '',
    totals: { sessions: count, parked: 0, inFlight: 0, streams: 0 },
    sessions: { total: count, matching: count, rows },
    history: { interval: 60_000, buckets: [] },
    nodes: [],
    ...rest
  }
}

export function makeRow (index: number, rest: Partial<Row> = {}): Row {
  return {
    hash: hashOf(index),
    age: 3_600_000 + index * 60_000,
    idle: index * 1000,
    client: { name: 'weather-agent', version: `1.${index}.0` },
    era: 'session',
    revision: '2025-11-25',
    inFlight: index % 3,
    streams: index % 2,
    principal: index % 4 === 3 ? null : `user-${index}@example.com`,
    node: '',
    parked: index % 5 === 4,
    endable: true,
    ...rest
  }
}

export function hashOf (index: number): string {
  return (0xa1b2c3d4e5f6 + index * 7_919_317_131).toString(16)
}

/** An hour with something in each of its charts. */
export function makeHistory (count = 60): DashboardState['history'] {
  const last = Math.floor(Date.now() / 60_000) * 60_000
  return {
    interval: 60_000,
    buckets: Array.from({ length: count }, (_, index) => {
      const wave = Math.round(20 + 14 * Math.sin(index / 7) + index / 3)
      return {
        at: last - (count - 1 - index) * 60_000,
        active: wave * 4,
        opened: wave % 17,
        closed: { deleted: wave % 7, idle: wave % 5 },
        rejected: index % 6 === 0 ? { FST_ERR_MCP_SESSION_NOT_FOUND: 2, FST_ERR_MCP_SESSION_OPENING_RATE: 1 } : {}
      }
    })
  }
}

export const CLUSTER: Partial<DashboardState> = {
  node: 'alpha-1',
  nodes: [
    { id: 'alpha-1', url: 'http://10.0.3.17:3000', self: true, lease: 8400, sessions: 61 },
    { id: 'beta-2', url: 'http://10.0.3.18:3000', self: false, lease: 7100, sessions: 40 },
    { id: 'gamma-3', url: 'http://10.0.3.19:3000', self: false, lease: 0, sessions: 12 }
  ]
}
