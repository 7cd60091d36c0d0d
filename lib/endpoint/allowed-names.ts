import { isIPv6 } from 'node:net'
import { checkList, refuse } from '../base/option-checks.js'
import { isLoopback } from '../base/loopback.js'
import { parseHost, parseOrigin, type HostName, type Origin } from '../http/host-name.js'

/** What an entry of `allowedHosts` matches: one host, all hosts below one, or any host. */
export interface HostPattern extends HostName {
  /** Whether `name` is only how a name ends. */
  readonly isWildcard: boolean
}

/** What an entry of `allowedOrigins` matches: such hosts, with one scheme. */
export interface OriginPattern extends HostPattern {
  readonly scheme: string
}

const HOSTS = 'a list of hosts such as "a.com", "*.a.com:8080" or "[::1]"'
const ORIGINS = 'a list of origins such as "https://a.com", "https://*.a.com:8443" or "null"'
// Put in the place of the wildcard, to see whether the rest is a name. Any label will do.
const LABEL = 'x'
const HOST_WILDCARD = /^\*(?=\.[^.]|:|$)/
const ORIGIN_WILDCARD = /^[^/]+:\/\/\*(?=\.[^.]|:|$)/

/**
 * The option `allowedHosts`.
 *
 * @throws TypeError for an entry that no request could match, with what to write instead
 */
export function checkHosts (list: readonly string[] | undefined): readonly HostPattern[] | undefined {
  if (checkList('allowedHosts', list)?.length === 0) {
    throw new TypeError('Option "allowedHosts" must be left out rather than empty: an empty list refuses every request')
  }
  return list?.map((entry) => parseHostPattern(entry) ?? refuse('allowedHosts', HOSTS + hint(suggestHost(entry)), entry))
}

/**
 * The option `allowedOrigins`. An empty list is one: requests without an origin, which browsers do not send, pass.
 *
 * @throws TypeError for an entry that no request could match, with what to write instead
 */
export function checkOrigins (list: readonly string[] | undefined): readonly OriginPattern[] | undefined {
  return checkList('allowedOrigins', list)
    ?.map((entry) => parseOriginPattern(entry) ?? refuse('allowedOrigins', ORIGINS + hint(suggestOrigin(entry)), entry))
}

/** A pattern without a port is for all ports. A host without one is at 80 or at 443, depending on what the client speaks. */
export function matchesHost (pattern: HostPattern, host: HostName): boolean {
  const { port } = pattern
  return matchesName(pattern, host) &&
    (port === '' || port === host.port || (host.port === '' && (port === '80' || port === '443')))
}

/** A pattern without a port is for the port of its scheme, unless it is for any host: then it is for all ports. */
export function matchesOrigin (pattern: OriginPattern, origin: Origin): boolean {
  return pattern.scheme === origin.scheme && matchesName(pattern, origin) && (pattern.port === origin.port || isAny(pattern))
}

function matchesName ({ name, isWildcard }: HostPattern, host: HostName): boolean {
  return isWildcard ? host.name.endsWith(name) : host.name === name
}

function isAny ({ name, port, isWildcard }: HostPattern): boolean {
  return isWildcard && name === '' && port === ''
}

function parseHostPattern (entry: string): HostPattern | undefined {
  if (HOST_WILDCARD.test(entry)) return toWildcard(parseHost(entry.replace('*', LABEL)))
  const host = parseHost(isIPv6(entry) ? `[${entry}]` : entry)
  return host && { ...host, isWildcard: false }
}

function parseOriginPattern (entry: string): OriginPattern | undefined {
  if (ORIGIN_WILDCARD.test(entry)) return toWildcard(parseOrigin(entry.replace('*', LABEL)))
  const origin = parseOrigin(entry)
  return origin && { ...origin, isWildcard: false }
}

function toWildcard<Host extends HostName> (host: Host | undefined): (Host & { readonly isWildcard: true }) | undefined {
  return host && { ...host, name: host.name.slice(LABEL.length), isWildcard: true }
}

function hint (entry: string | undefined): string {
  return entry === undefined ? '' : `: write "${entry}"`
}

function suggestHost (entry: string): string | undefined {
  const bare = stripUrl(entry).replace(/:\*$/, '')
  return parseHostPattern(bare) && bare
}

function suggestOrigin (entry: string): string | undefined {
  const bare = stripUrl(entry)
  const [, scheme = isLoopback(parseHost(bare)?.name) ? 'http' : 'https'] = /^\s*([a-z][a-z\d+.-]*):\/\//i.exec(entry) ?? []
  const origin = `${scheme}://${bare}`
  return parseOriginPattern(origin) && origin
}

// Leaves of a URL its host. A domain written as cookies have it begins with a dot, which means what "*." means here.
function stripUrl (entry: string): string {
  return entry.trim()
    .replace(/^(?:[a-z][a-z\d+.-]*:)?\/\//i, '')
    .replace(/[/?#].*$/s, '')
    .replace(/^.*@/, '')
    .replace(/^[*.](?=[^.:])/, '*.')
}
