import type { FastifyInstance } from 'fastify'
import { networkInterfaces } from 'node:os'
import { Server as TlsServer } from 'node:tls'
import { isLoopback } from '../base/loopback.js'

const ANY_ADDRESS = new Set(['0.0.0.0', '::', '[::]'])

/** The URL at which the other nodes reach this one, as far as it can be seen from here. */
export function findOwnUrl (fastify: FastifyInstance): string {
  const [bound] = fastify.addresses().filter((address) => typeof address === 'object')
  // The app may have made its server itself, with `serverFactory`.
  const protocol = fastify.initialConfig.https || fastify.server instanceof TlsServer ? 'https' : 'http'
  // An app that does not listen, such as in a test, can still have sessions; nobody can pass requests on to it.
  if (bound === undefined) return `${protocol}://localhost:0`
  const address = ANY_ADDRESS.has(bound.address) ? findOwnAddress() : bound.address
  return `${protocol}://${address.includes(':') ? `[${address}]` : address}:${bound.port}`
}

function findOwnAddress (): string {
  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? [])
  return addresses.find(({ family, internal }) => family === 'IPv4' && !internal)?.address ?? '127.0.0.1'
}

/** Whether a URL leads to the machine that it is used on. */
export function isLoopbackUrl (url: string): boolean {
  return URL.canParse(url) && isLoopback(new URL(url).hostname)
}

/**
 * What is wrong with a loopback URL of this node: where Redis is on another machine, other nodes can be, too. Undefined:
 * nothing that can be seen from here.
 *
 * @param redisHost undefined for a Redis of several servers, which need not be in one place
 */
export function findLoopbackFault (url: string, redisHost: string | undefined): string | undefined {
  if (redisHost === undefined || isLoopback(redisHost) || !isLoopbackUrl(url)) return undefined
  return `This node advertises ${url}, and Redis is at ${redisHost}`
}

/** What is wrong with a URL that other nodes are to use, and how to write it. Undefined: nothing. */
export function findAdvertiseFault (value: unknown): string | undefined {
  if (typeof value !== 'string' || !URL.canParse(value)) return 'an http:// or https:// URL, such as http://10.0.0.7:3000'
  const { protocol, host, hostname, port, pathname, search, hash, username, password } = new URL(value)
  const origin = `${protocol}//${host}`
  if (protocol !== 'http:' && protocol !== 'https:') return 'an http:// or https:// URL, such as http://10.0.0.7:3000'
  if (ANY_ADDRESS.has(hostname)) return `a URL with an address at which others reach this node: ${hostname} is only one to listen at`
  if (port === '0') return 'a URL with the port at which the app listens, not 0'
  if (username !== '' || password !== '') return `a URL without credentials, for nodes sign what they pass on: ${origin}`
  if (pathname !== '/' || search !== '' || hash !== '' || value.endsWith('?') || value.endsWith('#')) {
    return `a URL without a path or query, for the path is that of each request: ${origin}`
  }
  return undefined
}
