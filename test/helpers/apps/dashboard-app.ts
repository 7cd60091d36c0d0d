import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import { request, type IncomingHttpHeaders, type IncomingMessage } from 'node:http'
import type { Test } from 'tap'
import mcpSessions, { type McpSessionsOptions } from '../../../index.js'
import sessionsDashboard, { type DashboardState, type SessionsDashboardOptions } from '../../../lib/dashboard/index.js'
import { listen, portOf } from './app.js'
import { until } from '../waiting/until.js'

export interface DashboardSetup {
  prefix?: string
  authorize?: SessionsDashboardOptions['authorize']
  sessions?: McpSessionsOptions
  server?: FastifyServerOptions
  /** Called before the dashboard is registered. */
  before?: (app: FastifyInstance) => void | Promise<void>
}

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly text: string
}

export type Ask = (path: string, options?: { method?: string, headers?: Record<string, string> }) => Promise<Answer>

/** An app with a dashboard that listens, closed when the test is over. */
export async function buildDashboard (t: Test, { prefix = '/sessions', authorize = () => {}, sessions = {}, server = {}, before }: DashboardSetup = {}): Promise<{ app: FastifyInstance, ask: Ask, port: number }> {
  const app = Fastify({ forceCloseConnections: true, ...server })
  t.teardown(() => app.close())
  await app.register(mcpSessions, { drainTimeout: 100, ...sessions })
  await before?.(app)
  await app.register(sessionsDashboard, { prefix, authorize })
  const port = await listen(app)
  return { app, port, ask: (path, options) => ask(port, path, options) }
}

/** A request with any headers, also those that fetch() does not let its callers set. */
export async function ask (port: number, path: string, { method = 'GET', headers = {} }: { method?: string, headers?: Record<string, string> } = {}): Promise<Answer> {
  const response = await open(port, path, method, headers)
  let text = ''
  for await (const chunk of response.setEncoding('utf8')) text += chunk
  return { status: Number(response.statusCode), headers: response.headers, text }
}

function open (port: number, path: string, method: string, headers: Record<string, string>): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    request({ host: '127.0.0.1', port, path, method, headers, agent: false }, resolve).on('error', reject).end()
  })
}

export function readState ({ status, text }: Answer): DashboardState {
  if (status !== 200) throw new Error(`Answered ${status}: ${text}`)
  return JSON.parse(text)
}

/** The states that an event stream has sent. */
export class Events {
  readonly response: IncomingMessage
  text = ''
  hasEnded = false

  constructor (response: IncomingMessage) {
    this.response = response
    response.setEncoding('utf8')
    response.on('data', (chunk) => { this.text += String(chunk) })
    response.on('close', () => { this.hasEnded = true })
    response.on('error', () => {})
  }

  static async open (t: Test, app: FastifyInstance, path = '/sessions/events'): Promise<Events> {
    const events = new Events(await open(portOf(app), path, 'GET', {}))
    t.teardown(() => events.response.destroy())
    return events
  }

  get states (): DashboardState[] {
    return Array.from(this.text.matchAll(/^event: state\ndata: (.*)\n\n/gm), ([, json = '']) => JSON.parse(json))
  }

  async see (what: string, matches: (state: DashboardState) => boolean): Promise<DashboardState> {
    await until(() => this.states.some(matches), what)
    const state = this.states.find(matches)
    if (state === undefined) throw new Error('It has gone again')
    return state
  }
}
