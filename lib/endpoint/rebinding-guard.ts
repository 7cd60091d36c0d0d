import type { FastifyRequest, onRequestHookHandler } from 'fastify'
import { ForbiddenOriginError, type SessionError } from '../base/errors.js'
import { isLoopback } from '../base/loopback.js'
import type { PluginContext } from '../http/plugin-context.js'
import { matchesHost, matchesOrigin, type HostPattern, type OriginPattern } from './allowed-names.js'
import { NOWHERE, parseHost, parseOrigin, type HostName } from '../http/host-name.js'

export interface AllowedNames {
  readonly allowedHosts: readonly HostPattern[] | undefined
  readonly allowedOrigins: readonly OriginPattern[] | undefined
}

/**
 * The `onRequest` hook that checks `Host` and `Origin`, so that a web page cannot reach a server on the
 * reader's own machine under a name that it has made point there.
 *
 * @see https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#security-warning
 */
export function createRebindingGuard (allowed: AllowedNames, { reject, cluster }: PluginContext): onRequestHookHandler {
  return function checkNames (request, reply, done) {
    const error = findForbidden(request, allowed)
    // What another node has passed on was checked there, where it came in.
    if (error === undefined || cluster?.isForwarded(request)) {
      done()
      return
    }
    const { host, headers: { origin }, log } = request
    log.warn({ host, origin }, `${error.message}; see the options allowedHosts and allowedOrigins`)
    reject(request, reply, error)
  }
}

function findForbidden (request: FastifyRequest, { allowedHosts, allowedOrigins }: AllowedNames): SessionError | undefined {
  const isLocal = isLoopback(request.socket.localAddress)
  // A request of HTTP/1.0 may have no host. One whose host cannot be read is refused.
  const host = request.host === '' ? NOWHERE : parseHost(request.host)
  if (host === undefined || !isAllowedHost(host)) return new ForbiddenOriginError('this Host')
  if (request.headers.origin !== undefined && !isAllowedOrigin(request.headers.origin)) return new ForbiddenOriginError('this Origin')
  return undefined

  function isAllowedHost (host: HostName): boolean {
    if (allowedHosts !== undefined) return allowedHosts.some((pattern) => matchesHost(pattern, host))
    return !isLocal || isLoopback(host.name)
  }

  function isAllowedOrigin (text: string): boolean {
    const origin = parseOrigin(text)
    if (allowedOrigins === undefined) return isAllowedHost(origin ?? NOWHERE)
    return origin !== undefined && allowedOrigins.some((pattern) => matchesOrigin(pattern, origin))
  }
}
