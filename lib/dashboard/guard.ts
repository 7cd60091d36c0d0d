import type { FastifyRequest } from 'fastify'
import { isLoopback } from '../base/loopback.js'
import { parseHost, parseOrigin } from '../http/host-name.js'

/** What the page sends along, and what no page of another origin can without being asked first. */
export const ACTION_HEADER = 'x-mcp-sessions-dashboard'

// Who passes a request on says so in one of these.
const FORWARDING = /^(?:forwarded|via|x-forwarded(?:-.+)?|x-real-ip|x-client-ip|x-cluster-client-ip|true-client-ip|cf-connecting-ip|fly-client-ip)$/

type Asked = Pick<FastifyRequest, 'headers' | 'host' | 'socket'>

/**
 * What keeps a request from being one of this machine; undefined: nothing. A name that somebody has made point to
 * 127.0.0.1 does not count: a browser takes pages under it for its own.
 */
export function findStranger ({ headers, host, socket }: Asked): string | undefined {
  if (!isLoopback(socket.remoteAddress)) return "authorize is 'loopback', and the request comes from another machine"
  const forwarding = Object.keys(headers).find((name) => FORWARDING.test(name))
  if (forwarding !== undefined) return `authorize is 'loopback', and a proxy has passed the request on (${forwarding})`
  if (!isLoopback(parseHost(host)?.name)) return "authorize is 'loopback', and the Host is not a name of this machine: use localhost or 127.0.0.1"
  return undefined
}

/** What keeps a request from being allowed to read; undefined: nothing. A browser lets no other page read, unless the app has told it so. */
export function findForeignReader ({ headers, host }: Asked): string | undefined {
  const site = headers['sec-fetch-site']
  if (site === undefined) return findForeignOrigin(headers.origin, host)
  return site === 'same-origin' || site === 'none' ? undefined : 'The request comes from a page of another site'
}

/** What keeps a request from being allowed to end a session; undefined: nothing. */
export function findForeignAction ({ headers, host }: Asked): string | undefined {
  if (headers[ACTION_HEADER] !== 'end') return `The header ${ACTION_HEADER}: end is missing`
  const site = headers['sec-fetch-site']
  // No page can set it: where a browser says so, a proxy may have changed the Host.
  if (site !== undefined) return site === 'same-origin' ? undefined : 'The request comes from a page of another site'
  return findForeignOrigin(headers.origin, host)
}

// Whatever the scheme: behind a proxy that ends TLS it is another one.
function findForeignOrigin (text: string | undefined, host: string): string | undefined {
  if (text === undefined) return undefined
  const origin = parseOrigin(text)
  const own = origin && parseOrigin(`${origin.scheme}://${host}`)
  const isOwn = own !== undefined && own.name === origin?.name && own.port === origin.port
  return isOwn ? undefined : 'The Origin is not that of the dashboard; a proxy has to pass on the Host'
}
