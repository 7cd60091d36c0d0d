import { connectionHelp } from './connection-help.js'
import { buildApp } from './endpoint.js'
import { buildHandWiredApp } from './hand-wired.js'

const isHandWired = process.argv[2] === 'hand-wired'
const app = isHandWired ? await buildHandWiredApp({}, true) : await buildApp({}, { logger: true })
const url = await app.listen({ port: Number(process.env['PORT'] ?? 3000), host: '127.0.0.1' })
console.log(connectionHelp(url))

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => app.close())
}
