import type { FastifyReply, FastifyRequest } from 'fastify'
import type { IncomingHttpHeaders } from 'node:http'
import { ANSWER_HEADER, FORWARDED_HEADER, HOPS_HEADER } from './hop-signature.js'

/** Headers that belong to one connection (RFC 9110, section 7.6.1). A client's `Expect` was answered by this node. */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection', 'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'proxy-connection', 'te', 'trailer',
  'transfer-encoding', 'upgrade', 'expect', ANSWER_HEADER, HOPS_HEADER
])

/** The headers of a request as they go on to another node. */
export function passOnHeaders (request: FastifyRequest, signature: string): IncomingHttpHeaders {
  const { headers, socket } = request.raw
  const dropped = hopByHop(headers)
  const passedOn: IncomingHttpHeaders = {}
  for (const name in headers) {
    // Nodes speak HTTP/1.1 with each other, which has no pseudo headers.
    if (!dropped.has(name) && !name.startsWith(':')) passedOn[name] = headers[name]
  }
  if (request.raw.httpVersionMajor > 1) passedOn.host = request.host
  passedOn[FORWARDED_HEADER] = signature
  passedOn['x-forwarded-for'] = [headers['x-forwarded-for'], socket.remoteAddress].filter(Boolean).join(', ')
  return passedOn
}

/** Sets the headers of the owner's answer on the reply. Hooks of both nodes may have set the same cookie: it is sent once. */
export function takeOverHeaders (reply: FastifyReply, headers: IncomingHttpHeaders): void {
  const dropped = hopByHop(headers)
  for (const name in headers) {
    if (name === 'set-cookie') addCookies(reply, headers[name])
    else if (!dropped.has(name)) reply.header(name, headers[name])
  }
}

/** The names of the headers that are not passed on: `connection` can add some. */
function hopByHop ({ connection }: IncomingHttpHeaders): ReadonlySet<string> {
  if (connection === undefined || connection === 'keep-alive' || connection === 'close') return HOP_BY_HOP
  const named = String(connection).toLowerCase().split(',').map(name => name.trim())
  return new Set([...HOP_BY_HOP, ...named])
}

// reply.header() replaces all other headers, but adds to these.
function addCookies (reply: FastifyReply, cookies: string | string[] | undefined): void {
  const known = new Set([reply.getHeader('set-cookie')].flat())
  const added = [cookies].flat().filter(cookie => !known.has(cookie))
  if (added.length > 0) reply.header('set-cookie', added)
}
