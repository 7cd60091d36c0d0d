import { connectionHelp } from './connection-help.js'
import { buildHandWiredApp } from './hand-wired.js'

const port = Number(process.env['PORT'] ?? 3000)
const app = await buildHandWiredApp({}, true)

// Again and again: Ctrl-C reaches a process more than once when a package runner passes it on.
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => app.close())
}

try {
  const url = await app.listen({ port, host: '127.0.0.1' })
  console.log(connectionHelp(url))
} catch (error) {
  console.error(`\nCannot listen on port ${process.env['PORT'] ?? port}: ${error instanceof Error ? error.message : error}`)
  console.error('Choose another port: PORT=3001 npm start\n')
  process.exitCode = 1
  await app.close()
}
