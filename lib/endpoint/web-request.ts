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

/**
 * The URL of a request. The client can put into the Host header whatever it likes: where that makes no URL, or one with
 * credentials, which a `Request` does not take, the host is `localhost`.
 */
export function toUrl ({ protocol, host, url: target }: FastifyRequest): string {
  // The target of a request can be a whole URL, too.
  const path = target.startsWith('/') ? target : target.replace(/^[a-z]+:\/\/[^/]*/i, '')
  const url = `${protocol}://${host}${path}`
  return !host.includes('@') && URL.canParse(url) ? url : `http://localhost${path}`
}
