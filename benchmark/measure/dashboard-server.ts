// A server with many sessions and a dashboard. Of the sessions so many are used each second, and so many come and go.
import { built } from '../built.js'
import { createApp, serve } from './serve.js'

const [count = 0, used = 0, opened = 0] = process.argv.slice(2).map(Number)
const entry = new URL('../../dist/lib/dashboard/index.js', import.meta.url).href
const { sessionsDashboard }: typeof import('../../lib/dashboard/index.js') = await import(entry)

const app = createApp()
await app.register(built.mcpSessions)
await app.register(sessionsDashboard, { prefix: '/sessions', authorize: 'loopback' })
const { sessionManager: sessions } = app
const ids = Array.from({ length: count }, (_, i) => open(i))

// Ten times a second, at all times: it costs the same whether somebody looks or not.
let turn = 0
setInterval(() => {
  for (let i = 0; i < used / 10; i++) sessions.touch(next())
  for (let i = 0; i < opened / 10; i++) {
    const at = turn++ % count
    sessions.cleanup(ids[at] ?? '')
    ids[at] = open(turn)
  }
}, 100)
await serve([app], '/sessions/')

function open (i: number): string {
  return sessions.create({}, { principal: `user ${i % 997}`, clientInfo: { name: `client ${i % 13}`, version: `1.${i % 7}` }, protocolVersion: '2025-11-25' })
}

// Far from each other, as they are in a server.
function next (): string {
  turn += 7919
  return ids[turn % count] ?? ''
}
