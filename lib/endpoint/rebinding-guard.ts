import type { FastifyRequest, onRequestHookHandler } from 'fastify'
import { ForbiddenOriginError, type SessionError } from '../base/errors.js'
import type { PluginContext } from '../http/plugin-context.js'

export interface AllowedNames {
  readonly allowedHosts: readonly string[] | undefined
  readonly allowedOrigins: readonly string[] | undefined
}

/**
 * The `onRequest` hook that checks `Host` and `Origin`, so that a web page cannot reach a server on the
 * reader's own machine under a name that it has made point there.
 *
 * @see https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#security-warning
 */
export function createRebindingGuard ({ allowedHosts, allowedOrigins }: AllowedNames, { reject, cluster }: PluginContext): onRequestHookHandler {
  const allowed = { allowedHosts: allowedHosts?.map((host) => host.toLowerCase()), allowedOrigins }

  return function checkNames (request, reply, done) {
    const error = findForbidden(request, allowed)
    // What another node has passed on was checked there, where it came in.
    if (error === undefined || cluster?.isForwarded(request)) {
      done()
      return
    }
    request.log.warn({ host: request.host, origin: request.headers.origin }, `${error.message}; see the options allowedHosts and allowedOrigins`)
    reject(request, reply, error)
  }
}

function findForbidden (request: FastifyRequest, { allowedHosts, allowedOrigins }: AllowedNames): SessionError | undefined {
  const isLocal = isLoopback(request.socket.localAddress)
  if (!isAllowedHost(request.host)) return new ForbiddenOriginError('this Host')
  const { origin } = request.headers
  if (origin !== undefined && !isAllowedOrigin(origin)) return new ForbiddenOriginError('this Origin')
  return undefined

  function isAllowedHost (host: string): boolean {
    const { hostname } = toUrl(`http://${host}`)
    if (allowedHosts !== undefined) return allowedHosts.includes(host.toLowerCase()) || allowedHosts.includes(hostname)
    return !isLocal || isLoopback(hostname)
  }

  function isAllowedOrigin (origin: string): boolean {
    return allowedOrigins === undefined ? isAllowedHost(toUrl(origin).host) : allowedOrigins.includes(origin)
  }
}

const nowhere = { host: '', hostname: '' }

function toUrl (url: string): { host: string, hostname: string } {
  return URL.canParse(url) ? new URL(url) : nowhere
}

// 127.0.0.0/8 and ::1, RFC 6890; the names below localhost, RFC 6761, section 6.3.
function isLoopback (name: string | undefined): boolean {
  if (name === undefined) return false
  return name === 'localhost' || name.endsWith('.localhost') ||
    name === '::1' || name === '[::1]' || /^(?:::ffff:)?127(?:\.\d{1,3}){3}$/.test(name)
}
