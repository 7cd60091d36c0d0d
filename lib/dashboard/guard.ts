import type { FastifyRequest } from 'fastify'
import { isLoopback } from '../base/loopback.js'
import { parseHost, parseOrigin } from '../http/host-name.js'

/** The header that the page sends along. A page of another origin cannot send it unless CORS lets it. */
const ACTION_HEADER = 'x-mcp-sessions-dashboard'

// The headers by which a proxy says that it has passed a request on.
const FORWARDING = new RegExp('^(?:forwarded|via|x-forwarded(?:-.+)?|x-real-ip|x-client-ip|x-cluster-client-ip|true-client-ip|' +
  'cf-connecting-ip|fly-client-ip)$')

type Asked = Pick<FastifyRequest, 'headers' | 'host' | 'socket'>

/**
 * Why a request does not count as one of this machine. Undefined: it does. A name that somebody has made point to 127.0.0.1
 * does not count: the pages that a browser loads from it could read everything here.
 */
export function findStranger ({ headers, host, socket }: Asked): string | undefined {
  if (!isLoopback(socket.remoteAddress)) return "authorize is 'loopback', and the request comes from another machine"
  const forwarding = Object.keys(headers).find((name) => FORWARDING.test(name))
  if (forwarding !== undefined) return `authorize is 'loopback', and a proxy has passed the request on (${forwarding})`
  if (isLoopback(parseHost(host)?.name)) return undefined
  return "authorize is 'loopback', and the Host is not a name of this machine: use localhost or 127.0.0.1"
}

/** Why a request may not read. Undefined: it may. A browser lets no page of another site read, unless the app allows it by CORS. */
export function findForeignReader ({ headers, host }: Asked): string | undefined {
  const site = headers['sec-fetch-site']
  if (site === undefined) return findForeignOrigin(headers.origin, host)
  return site === 'same-origin' || site === 'none' ? undefined : 'The request comes from a page of another site'
}

/** Why a request may not end a session. Undefined: it may. */
export function findForeignAction ({ headers, host }: Asked): string | undefined {
  if (headers[ACTION_HEADER] !== 'end') return `The header ${ACTION_HEADER}: end is missing`
  const site = headers['sec-fetch-site']
  // Only the browser can set it. Where it is there, the Host need not be compared, which a proxy may have changed.
  if (site !== undefined) return site === 'same-origin' ? undefined : 'The request comes from a page of another site'
  return findForeignOrigin(headers.origin, host)
}

// Compares host and port, and not the scheme, which is another one behind a proxy that ends TLS.
function findForeignOrigin (text: string | undefined, host: string): string | undefined {
  if (text === undefined) return undefined
  const origin = parseOrigin(text)
  const own = origin && parseOrigin(`${origin.scheme}://${host}`)
  const isOwn = own !== undefined && own.name === origin?.name && own.port === origin.port
  return isOwn ? undefined : 'The Origin is not that of the dashboard; a proxy has to pass on the Host'
}
