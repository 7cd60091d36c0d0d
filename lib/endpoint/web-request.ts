import { DEFAULT_NEGOTIATED_PROTOCOL_VERSION } from '@modelcontextprotocol/sdk/types.js'
import type { FastifyRequest } from 'fastify'
import type { IncomingHttpHeaders } from 'node:http'
import type { Session } from '../session/session.js'

/**
 * A Fastify request for the SDK's transport, which reads the method, the URL
 * and the headers and takes the body parsed. Making a whole `Request` costs
 * more than all the rest that is done to a call, so only these are there.
 */
export function toTransportRequest (request: FastifyRequest): Request {
  const transportRequest: Request = Object.create(Request.prototype, {
    method: { value: request.method },
    url: { value: toUrl(request) },
    headers: { value: new IncomingHeaders(request.headers) }
  })
  return transportRequest
}

/** A POST of this process to the transport of a session. */
export function toReplayRequest ({ id, protocolVersion = DEFAULT_NEGOTIATED_PROTOCOL_VERSION }: Session): Request {
  return new Request('http://localhost', {
    method: 'POST',
    headers: {
      accept: 'application/json, text/event-stream',
      'content-type': 'application/json',
      'mcp-session-id': id,
      'mcp-protocol-version': protocolVersion
    }
  })
}

/** A Fastify request as a whole web `Request`, without its body, which has been read. */
export function toWebRequest (request: FastifyRequest, signal: AbortSignal): Request {
  return new Request(toUrl(request), {
    method: request.method,
    headers: new Headers(Array.from(new IncomingHeaders(request.headers).entries())),
    signal
  })
}

// The Host header is the client's to choose, and need not be one.
function toUrl (request: FastifyRequest): string {
  const url = `${request.protocol}://${request.host}${request.url}`
  return URL.canParse(url) ? url : new URL(request.url, 'http://localhost').href
}

/** The headers of Node.js read in place, as far as a transport reads them. */
class IncomingHeaders implements Pick<Headers, 'get' | 'has'> {
  readonly #headers: IncomingHttpHeaders

  constructor (headers: IncomingHttpHeaders) {
    this.#headers = headers
  }

  get (name: string): string | null {
    return join(this.#headers[name.toLowerCase()])
  }

  has (name: string): boolean {
    return this.#headers[name.toLowerCase()] !== undefined
  }

  * entries (): Generator<[string, string]> {
    for (const name in this.#headers) {
      const value = join(this.#headers[name])
      // The pseudo headers of HTTP/2 are not headers to the web.
      if (value !== null && !name.startsWith(':')) yield [name, value]
    }
  }
}

function join (value: string | string[] | undefined): string | null {
  if (value === undefined) return null
  return typeof value === 'string' ? value : value.join(', ')
}
