import { isIPv4 } from 'node:net'

/** A host, as the `Host` header names one. */
export interface HostName {
  /** As a URL has it: lower case, international names in ASCII, IPv6 in brackets. */
  readonly name: string
  /** Empty: the port that belongs to the protocol. */
  readonly port: string
}

/** What the `Origin` header says. The origin `null` has the scheme `null` and no host. */
export interface Origin extends HostName {
  readonly scheme: string
}

/** The host of requests and origins that have none. */
export const NOWHERE: HostName = { name: '', port: '' }

// A name or an address, with or without a port. No credentials, no path, and nothing that a URL would decode or leave out.
const HOST = /^(\[[\da-f:.]+\]|[^\s:[\]/?#@\\%*]+)(?::(\d{1,5}))?$/i
// What most requests have: lower case ASCII whose last label is no number. A URL would leave it as it is, and take ten times
// as long.
const PLAIN = /^(?:[a-z\d-]+\.)*[a-z][a-z\d-]*$/
const ORIGIN = /^([a-z][a-z\d+.-]*):\/\/(.*)$/i
const defaultPorts: { readonly [scheme: string]: string } = { http: '80', https: '443' }

/** Reads a `Host` header. Undefined for what is no host. */
export function parseHost (text: string, scheme = 'http'): HostName | undefined {
  const [, name = '', port = ''] = HOST.exec(text) ?? []
  if (name === '' || name.startsWith('.') || Number(port) > 65_535) return undefined
  const normal = isNormal(name) ? name : normalize(`${scheme}://${name}`)
  return normal === undefined ? undefined : { name: normal, port: port === '' ? '' : String(Number(port)) }
}

function isNormal (name: string): boolean {
  return (PLAIN.test(name) && !name.includes('xn--')) || isIPv4(name)
}

function normalize (url: string): string | undefined {
  return URL.canParse(url) ? new URL(url).hostname.toLowerCase() : undefined
}

/** Reads an `Origin` header. Undefined for what is no origin. */
export function parseOrigin (text: string): Origin | undefined {
  // What pages from a file send: https://html.spec.whatwg.org/multipage/browsers.html#origin
  if (text === 'null' || text === 'file://') return { scheme: text, ...NOWHERE }
  const [, scheme = '', rest = ''] = ORIGIN.exec(text.toLowerCase()) ?? []
  const host = parseHost(rest, scheme)
  return host && { scheme, name: host.name, port: host.port === defaultPorts[scheme] ? '' : host.port }
}
