import type { FastifyRequest } from 'fastify'

/** A Fastify request as a web `Request`, without its body, which has been read. */
export function toWebRequest (request: FastifyRequest, signal?: AbortSignal): Request {
  const headers = new Headers()
  for (const [name, value] of Object.entries(request.headers)) {
    // The pseudo headers of HTTP/2 are not headers to the web.
    if (value !== undefined && !name.startsWith(':')) headers.append(name, typeof value === 'string' ? value : value.join(', '))
  }
  return new Request(toUrl(request), { method: request.method, headers, ...(signal !== undefined && { signal }) })
}

/** The URL of a request. The Host header is the client's to choose, and need not be one. */
export function toUrl (request: FastifyRequest): string {
  const url = `${request.protocol}://${request.host}${request.url}`
  // A request must not have a name and a password in its URL.
  return URL.canParse(url) && !request.host.includes('@') ? url : new URL(request.url, 'http://localhost').href
}
