import Fastify, { type FastifyInstance } from 'fastify'

const HOUR = 3_600_000

/** An app that keeps its connections while other servers have their turn, those that have said nothing yet, too. */
export function createApp (): FastifyInstance {
  return Fastify({ keepAliveTimeout: HOUR, http: { connectionsCheckingInterval: HOUR } })
}

/** Listens, says where, and says what this process has used whenever it is asked. */
export async function serve (apps: readonly FastifyInstance[], path = ''): Promise<void> {
  const urls: string[] = []
  for (const app of apps) urls.push(await app.listen({ port: 0, host: '127.0.0.1' }) + path)
  reportUsage(urls)
}

/** Says where this process listens, and what it has used whenever it is asked. */
export function reportUsage (urls: readonly string[]): void {
  process.on('message', (question) => {
    if (question === 'heap') globalThis.gc?.()
    const { user, system } = process.cpuUsage()
    process.send?.({ cpu: user + system, heap: process.memoryUsage().heapUsed })
  })
  process.once('disconnect', () => process.exit())
  process.send?.({ urls })
}
