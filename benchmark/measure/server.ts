// A server process: an app with the plugin or the same app without it. It says
// where it listens, and how much CPU time it has used whenever it is asked.
import Fastify from 'fastify'
import { built } from '../built.js'

const app = Fastify()
let id = '3f0c5b0e-8a53-4f5e-9d0b-0a7f2f6d7c11'
if (process.argv[2] === 'plugin') {
  await app.register(built.mcpSessions)
  app.addHook('onReady', async () => { id = app.sessionManager.create() })
}
app.get('/plain', async () => ({ hello: 'world' }))
app.get('/session', { config: { mcpSession: 'required' } }, async () => ({ hello: 'world' }))
const url = await app.listen({ port: 0, host: '127.0.0.1' })

process.on('message', () => {
  const { user, system } = process.cpuUsage()
  process.send?.({ cpu: user + system })
})
process.send?.({ port: Number(new URL(url).port), id })
