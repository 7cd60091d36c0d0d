import type { FastifyInstance } from 'fastify'
import { networkInterfaces } from 'node:os'

const ANY_ADDRESS = new Set(['0.0.0.0', '::'])

/** The URL at which the other nodes reach this one, as far as it can be seen from here. */
export function findOwnUrl (fastify: FastifyInstance): string {
  const [bound] = fastify.addresses().filter((address) => typeof address === 'object')
  const protocol = fastify.initialConfig.https ? 'https' : 'http'
  // An app that does not listen, as in tests, has sessions of its own, and nobody passes it any.
  if (bound === undefined) return `${protocol}://localhost:0`
  const address = ANY_ADDRESS.has(bound.address) ? findOwnAddress() : bound.address
  return `${protocol}://${address.includes(':') ? `[${address}]` : address}:${bound.port}`
}

function findOwnAddress (): string {
  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? [])
  return addresses.find(({ family, internal }) => family === 'IPv4' && !internal)?.address ?? '127.0.0.1'
}
