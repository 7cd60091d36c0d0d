// A server process with three apps: two bare ones, and one with the plugin, which are made in the order that the
// arguments say. They are in one process because two processes of the same app are rarely equally fast.
import type { FastifyInstance } from 'fastify'
import { randomUUID } from 'node:crypto'
import { built } from '../built.js'
import { createApp, serve } from './serve.js'

const apps: FastifyInstance[] = []
for (const kind of process.argv.slice(2)) apps.push(await build(kind === 'plugin'))
await serve(apps)

async function build (withPlugin: boolean): Promise<FastifyInstance> {
  const app = createApp()
  if (withPlugin) await app.register(built.mcpSessions)
  app.get('/open', async () => withPlugin ? app.sessionManager.create() : randomUUID())
  app.get('/plain', async () => ({ hello: 'world' }))
  app.get('/session', { config: { mcpSession: 'required' } }, async () => ({ hello: 'world' }))
  return app
}
